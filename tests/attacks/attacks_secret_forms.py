"""Attacks that get a secret back in another form than it was given."""

from __future__ import annotations

import base64
import html
import json
import re
import socket
import urllib.parse
from collections.abc import Callable
from functools import partial

from arena import Arena, Mutation, attack
from attacks_http import read_request, server
from dataflare.capabilities.capability_failure import CapabilityFailure
from dataflare.capabilities.http_broker import HttpBroker
from dataflare.capabilities.http_transport import Canned, MemoryTransport
from dataflare.capabilities.secrets import MemorySecrets
from dataflare.grants import HttpGrant
from dataflare.wit_types.http import Request

SPECIAL = """it's-a"back\\slash/and&<more>+too"""
ORIGIN = "https://api.example.com"
FORMS: dict[str, Callable[[str], str]] = {
    "json": json.dumps,
    "json of php": lambda text: json.dumps(text).replace("/", r"\/"),
    "json of go": lambda text: json.dumps(text).replace("&", r"\u0026").replace("<", r"\u003c").replace(">", r"\u003e"),
    "json of .net": lambda text: re.sub(
        "[<>&'+\"]", lambda found: rf"\u{ord(found[0]):04X}", text.replace("\\", r"\\")
    ),
    "html": html.escape,
    "html of javascript": lambda text: html.escape(text).replace("&#x27;", "&#39;"),
    "url": urllib.parse.quote,
    "url in small letters": lambda text: re.sub(
        "%..", lambda found: found[0].lower(), urllib.parse.quote(text, safe="")
    ),
    "form": urllib.parse.quote_plus,
    "repr": repr,
    "repr of bytes": lambda text: repr(text.encode()),
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
}


@attack("secrets")
def injected_secret_in_another_form(arena: Arena) -> None:
    """Have the server repeat the secret that the host added, escaped as servers of many languages do."""
    grant = HttpGrant(secrets={"x-key": "special", "x-plain": "base64"}, burst=1000)
    secrets = {"special": SPECIAL, "base64": "ab+/cd+/ef=="}
    for escape in FORMS.values():
        for secret in secrets.values():
            for canned in (Canned(body=escape(secret).encode()), Canned(headers=[("x-echo", escape(secret))])):
                transport = MemoryTransport(lambda _, canned=canned: canned)
                with HttpBroker({ORIGIN: grant}, transport, secrets=MemorySecrets(secrets)) as broker:
                    send = partial(broker.send, Request("GET", f"{ORIGIN}/", ()))
                    assert arena.raises(CapabilityFailure, send, says="repeats a secret").case == "denied"


@attack("secrets")
def injected_secret_in_a_broken_response(arena: Arena) -> None:
    """Have the server put the secret where a response is malformed, so that the error quotes it with escapes."""
    for head in (b"%s\r\n\r\n", b"HTTP/1.1 200 OK\r\nx y: %s\r\n\r\n", b"HTTP/1.1 %s\r\n\r\n"):

        def serve(connection: socket.socket, head: bytes = head) -> None:
            read_request(connection)
            connection.sendall(head.replace(b"%s", SPECIAL.encode()))

        store = MemorySecrets({"special": SPECIAL})
        with server(serve, store, secrets={"x-key": "special"}) as (broker, url):
            failure = arena.raises_any(CapabilityFailure, lambda: broker.send(Request("GET", url, ())))
            assert "slash" not in str(failure), failure


MUTATIONS = [
    Mutation(
        "dataflare.capabilities.http_broker:secret_forms",
        lambda secret: {secret},
        ("injected_secret_in_another_form", "injected_secret_in_a_broken_response"),
    ),
]
