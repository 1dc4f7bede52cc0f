"""Attacks by request headers that claim what is not so: another host or path, or another client."""

from __future__ import annotations

import re

from arena import Arena, Mutation, answers, attack
from dataflare.capabilities.capability_failure import CapabilityFailure
from dataflare.capabilities.http_broker import HttpBroker
from dataflare.capabilities.http_transport import Canned, MemoryTransport
from dataflare.grants import Grants, HttpGrant
from dataflare.security.narrowing import narrowed_grants
from dataflare.wit_types.http import Request

ORIGIN = "https://a.example"


def _none_is_sent(*names: str) -> None:
    grant = HttpGrant(methods=["GET"], request_headers="any", burst=100)  # type: ignore[arg-type]
    transport = MemoryTransport(lambda _: Canned())
    with HttpBroker({ORIGIN: grant}, transport) as broker:
        for name in names:
            try:
                broker.send(Request("GET", f"{ORIGIN}/", [(name, "b.example")]))
            except CapabilityFailure as failure:
                assert failure.case == "denied", failure
    assert not transport.sent, [each.headers for each in transport.sent]


@attack("network")
def host_or_path_in_a_header(arena: Arena) -> None:
    """Name another host, or another path, in a header where any header is granted: a proxy may take it from there."""
    _none_is_sent("X-Host", "X-Original-Host", "x_backend_host", "X-Original-URL", "X-Rewrite-Url", "X-HTTP-Action")
    _none_is_sent("X-Server-Name", "Server_Name", "X-Target", "X-Backend", "X-Endpoint", "X-Upstream", "X-Vhost")


@attack("network")
def path_or_object_in_a_header(arena: Arena) -> None:
    """Name another path, or another object to copy, in a header whose name has a word for it, however it is spelled."""
    _none_is_sent("X-Request-URI", "Request_Uri", "XRequestUri", "url", "uri", "X-Proxy-Url", "X-HTTP-DestinationURL")
    _none_is_sent("Destination", "X-Path-Info", "path_info", "X-Invoke-Path", "X-Invoke-Query", "X-Matched-Path")
    _none_is_sent("Script-Name", "SCRIPT_NAME", "X-Script-Filename", "Query-String", "X-QueryString", "X-Next-Url")
    _none_is_sent("X-Middleware-Subrequest", "X-Middleware-Rewrite", "X-Accel-Mapping", "X-Sendfile-Type")
    _none_is_sent("X-Amz-Copy-Source", "X-Ms-Copy-Source", "X-Ms-Rename-Source", "X-Copy-From", "Location", "X-Prefix")


@attack("network")
def operation_in_a_header(arena: Arena) -> None:
    """Name another operation than the method's, where only reading is granted."""
    _none_is_sent("X-Action", "X-Operation", "X_Command", "X-Cmd", "HTTP-Request-Type", "X-Request-Type", "Next-Action")


@attack("network")
def client_in_a_header(arena: Arena) -> None:
    """Claim to be another client, which servers believe of a proxy, where any header is granted."""
    _none_is_sent("Client-IP", "True-Client-IP", "CF-Connecting-IP", "X_Client_IP", "X-Forward-For", "X-Remote-User")
    _none_is_sent("X-Forwarded", "Forwarded-For", "forwarded_for_ip", "X-Forward", "XForwardedFor", "X-Real-IPv6")
    _none_is_sent("X-Originating-IP", "X-Custom-IP-Authorization", "X-ProxyUser-Ip", "X-Azure-ClientIP", "x_realip")
    _none_is_sent("X-Azure-SocketIP", "X-Appengine-User-IP", "X-Cluster-Client-IP", "CF-Connecting-IPv6", "Remote-Addr")


@attack("network")
def client_that_a_proxy_would_name(arena: Arena) -> None:
    """Claim to come from another place, or to be somebody whom a proxy has authenticated."""
    _none_is_sent("IP", "X-IP-Address", "X-SrcIP", "X-Real-Port", "Remote-Groups", "X-Remote-Extra-Scope", "CF-Visitor")
    _none_is_sent("Impersonate-User", "X-Auth-Request-Email", "X-WebAuth-User", "X-Goog-Authenticated-User-Email")
    _none_is_sent("Client-Cert", "X-SSL-Client-S-DN", "X-ARR-ClientCert", "X-MS-Client-Principal", "X-Amzn-Oidc-Data")
    _none_is_sent("X-Appengine-Cron", "X-Azure-FDID", "X-Envoy-Internal", "X-Consumer-Username")


@attack("network")
def proxy_in_a_header(arena: Arena) -> None:
    """Name a proxy for the requests of the server itself, whose scripts take the header `Proxy` for their variable."""
    _none_is_sent("Proxy", "proxy", "Proxy-Authorization", "Proxy_Connection")


@attack("network")
def header_that_only_the_pipeline_names(arena: Arena) -> None:
    """Name a header for another method in the pipeline, where the policy grants any header but none of these."""
    allowed = Grants(http={ORIGIN: HttpGrant(request_headers="any")})
    wanted = Grants(http={ORIGIN: HttpGrant(request_headers=frozenset({"accept", "x-http-method-override"}))})
    found = narrowed_grants(allowed, wanted, plugin="plugin", source="policy.yaml")
    transport = MemoryTransport(lambda _: Canned())
    with HttpBroker(found.http, transport) as broker:
        broker.send(Request("GET", f"{ORIGIN}/", [("accept", "text/plain")]))
        request = Request("GET", f"{ORIGIN}/", [("X-HTTP-Method-Override", "DELETE")])
        failure = arena.raises(CapabilityFailure, lambda: broker.send(request), says="not granted")
        assert failure.case == "denied"
    assert len(transport.sent) == 1


HEADERS = "dataflare.request_headers"
MUTATIONS = [
    Mutation(
        f"{HEADERS}:_OVERRIDE",
        re.compile("method|verb|override|host"),
        (
            *("host_or_path_in_a_header", "path_or_object_in_a_header", "operation_in_a_header"),
            "client_that_a_proxy_would_name",
        ),
    ),
    Mutation(f"{HEADERS}:_CLIENT", re.compile("x-real-ip|client-ip"), ("client_in_a_header",)),
    Mutation(f"{HEADERS}:RESERVED_HEADERS", frozenset({"host"}), ("proxy_in_a_header",)),
    Mutation(
        "dataflare.security.narrowing:is_override_header", answers(False), ("header_that_only_the_pipeline_names",)
    ),
]
