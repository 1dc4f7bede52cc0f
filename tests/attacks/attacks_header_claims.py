"""Attacks by request headers that claim what is not so: another host or path, or another client."""

from __future__ import annotations

import re

from arena import Arena, Mutation, attack
from dataflare.capabilities.capability_failure import CapabilityFailure
from dataflare.capabilities.http_broker import HttpBroker
from dataflare.capabilities.http_transport import Canned, MemoryTransport
from dataflare.grants import HttpGrant
from dataflare.wit_types.http import Request


def _none_is_sent(*names: str) -> None:
    grant = HttpGrant(methods=["GET"], request_headers="any")  # type: ignore[arg-type]
    transport = MemoryTransport(lambda _: Canned())
    with HttpBroker({"https://a.example": grant}, transport) as broker:
        for name in names:
            try:
                broker.send(Request("GET", "https://a.example/", [(name, "b.example")]))
            except CapabilityFailure as failure:
                assert failure.case == "denied"
    assert not transport.sent, [each.headers for each in transport.sent]


@attack("network")
def host_or_path_in_a_header(arena: Arena) -> None:
    """Name another host, or another path, in a header where any header is granted: a proxy may take it from there."""
    _none_is_sent("X-Host", "X-Original-Host", "x_backend_host", "X-Original-URL", "X-Rewrite-Url", "X-HTTP-Action")


@attack("network")
def client_in_a_header(arena: Arena) -> None:
    """Claim to be another client, which servers believe of a proxy, where any header is granted."""
    _none_is_sent("Client-IP", "True-Client-IP", "CF-Connecting-IP", "X_Client_IP", "X-Forward-For", "X-Remote-User")


GRANTS = "dataflare.grants"
MUTATIONS = [
    Mutation(f"{GRANTS}:_OVERRIDE", re.compile("method|verb|override"), ("host_or_path_in_a_header",)),
    Mutation(f"{GRANTS}:_CLIENT", re.compile("x-real-ip"), ("client_in_a_header",)),
]
