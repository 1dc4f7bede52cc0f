"""Attacks by servers on the connections that they are asked over, and by plugins on what a request says."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from arena import Arena, Mutation, answers, attack
from dataflare.capabilities.capability_failure import CapabilityFailure
from dataflare.capabilities.http_broker import HttpBroker
from dataflare.capabilities.http_network import NetworkTransport
from dataflare.capabilities.http_transport import Outgoing
from dataflare.capabilities.secrets import SecretStore
from dataflare.grants import HttpGrant
from dataflare.wit_types.http import Request

HELLO = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"
FORGED = b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nforged"


@contextmanager
def server(
    serve: Callable[[socket.socket], object], store: SecretStore | None = None, **grant: object
) -> Iterator[tuple[HttpBroker, str]]:
    """A server that does the same with each connection, and a broker that may ask it."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/"
        threads: list[threading.Thread] = []

        def run(connection: socket.socket) -> None:
            with contextlib.suppress(OSError), connection:
                connection.settimeout(5)
                serve(connection)

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listening.accept()
                    threads.append(threading.Thread(target=run, args=(connection,), daemon=True))
                    threads[-1].start()

        accepting = threading.Thread(target=accept, daemon=True)
        accepting.start()
        options = {"methods": ["GET", "HEAD"], "addresses": ["127.0.0.1"], "timeout_s": 3, **grant}
        grants = {url.rstrip("/"): HttpGrant(**options)}  # type: ignore[arg-type]
        with HttpBroker(grants, NetworkTransport(), secrets=store) as broker:
            yield broker, url
        listening.shutdown(socket.SHUT_RDWR)
    for thread in (accepting, *threads):
        thread.join(10)


def answering(*said: bytes) -> Callable[[socket.socket], None]:
    """Answer the first request of a connection with the first text, and so on; then the last one."""

    def serve(connection: socket.socket) -> None:
        for number in range(100):
            if not read_request(connection):
                return
            connection.sendall(said[min(number, len(said) - 1)])

    return serve


def read_request(connection: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        part = connection.recv(65_536)
        if not part:
            return b""
        data += part
    return data


@attack("network")
def second_response_that_nobody_asked_for(arena: Arena) -> None:
    """Send a second response along with the first, to answer the plugin's next request before it is made."""
    for more in (FORGED, b"HTTP/1.1 200 OK\r\n", b"x", b"\r\n" + FORGED):
        with server(answering(HELLO + more)) as (broker, url):
            assert [broker.send(Request("GET", url, ())).body for _ in range(3)] == [b"hello"] * 3


@attack("network")
def body_where_there_is_none(arena: Arena) -> None:
    """Send a body after a response that has none (to HEAD, 204, 304), which is a response itself."""
    for method, head in (
        ("HEAD", b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n"),
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\n"),
        ("GET", b"HTTP/1.1 304 Not Modified\r\ncontent-length: 100\r\n\r\n"),
    ):
        with server(answering(head + FORGED)) as (broker, url):
            for _ in range(3):
                assert broker.send(Request(method, url, ())).body == b""


@attack("network")
def response_behind_trailers(arena: Arena) -> None:
    """Hide a response behind the trailers of a chunked one."""
    chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx-a: b\r\n\r\n"
    with server(answering(chunked + FORGED)) as (broker, url):
        assert [broker.send(Request("GET", url, ())).body for _ in range(3)] == [b"hello"] * 3


@attack("network")
def response_that_comes_late(arena: Arena) -> None:
    """Send a second response a moment after the first, while the connection waits for the next request."""

    def serve(connection: socket.socket) -> None:
        while read_request(connection):
            connection.sendall(HELLO)
            time.sleep(0.05)
            connection.sendall(FORGED)

    with server(serve) as (broker, url):
        for _ in range(3):
            assert broker.send(Request("GET", url, ())).body == b"hello"
            time.sleep(0.15)


@attack("network")
def answer_before_the_question(arena: Arena) -> None:
    """Answer as soon as there is a connection, whatever will be asked."""

    def serve(connection: socket.socket) -> None:
        connection.sendall(FORGED)
        read_request(connection)

    with server(serve) as (broker, url):
        # Until the answer is there: dialling takes no time here.
        connect = broker._transport._dial  # type: ignore[attr-defined]

        def dial(*args: object) -> socket.socket:
            made: socket.socket = connect(*args)
            made.recv(1, socket.MSG_PEEK)
            return made

        broker._transport._dial = dial  # type: ignore[attr-defined]
        failure = arena.raises(
            CapabilityFailure, lambda: broker.send(Request("GET", url, ())), says="before it was asked"
        )
        assert failure.case == "connection-failed"


@attack("network")
def interim_responses_without_end(arena: Arena) -> None:
    """Announce a response again and again, and never send it."""

    def serve(connection: socket.socket) -> None:
        read_request(connection)
        while True:
            connection.sendall(b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" * 500)

    with server(serve) as (broker, url):
        failure = arena.raises(
            CapabilityFailure, lambda: broker.send(Request("GET", url, ())), says="headers have more than"
        )
        assert failure.case == "connection-failed"


@attack("network")
def method_in_a_header(arena: Arena) -> None:
    """Have the server take another method than the request's from a header, where only GET is granted."""
    grant = HttpGrant(methods=["GET"], request_headers="any", burst=100)  # type: ignore[arg-type]
    with HttpBroker({"https://api.example.com": grant}, arena.transport) as broker:
        spellings = {
            *("x-http-method", "x-http-method-override", "x-method", "x-method-override", "x-original-method"),
            *("x-tunnel-method", "x-verb-tunnel", "http-method-override", "method-override", "xhttpmethodoverride"),
            *("X-HTTP-Method-Override", "X_HTTP_Method_Override", "X.HTTP-Method", "X-HTTP-Verb", "X-REST-Method"),
        }
        for name in sorted(spellings):
            request = Request("GET", "https://api.example.com/", [(name, "DELETE")])
            failure = arena.raises(CapabilityFailure, lambda request=request: broker.send(request), says="not granted")
            assert failure.case == "denied"
    assert not arena.transport.sent
    named = HttpGrant(request_headers=["x-http-method-override"])  # type: ignore[arg-type]
    with HttpBroker({"https://api.example.com": named}, arena.transport) as broker:
        broker.send(Request("GET", "https://api.example.com/", [("X-HTTP-Method-Override", "DELETE")]))
    assert len(arena.transport.sent) == 1, "who names the header grants it"


@attack("network")
def header_in_another_spelling(arena: Arena) -> None:
    """Send a header that is the host's alone, spelled as servers spell variables."""
    grant = HttpGrant(request_headers="any", secrets={"x-api-key": "token"}, burst=100)
    with HttpBroker({"https://api.example.com": grant}, arena.transport, secrets=arena.secrets) as broker:
        for name in ("Content_Length", "transfer_encoding", "X_Forwarded_For", "Proxy_Authorization", "x_api_key"):
            request = Request("GET", "https://api.example.com/", [(name, "1")])
            failure = arena.raises(CapabilityFailure, lambda request=request: broker.send(request), says="the host's")
            assert failure.case == "denied"
    assert not arena.transport.sent


NETWORK = "dataflare.capabilities.http_network"


def _any_idle(transport: NetworkTransport, outgoing: Outgoing) -> Any:
    kept = transport._idle.get((outgoing.url.origin, outgoing.addresses))
    return kept.pop() if kept else None


MUTATIONS = [
    Mutation(
        f"{NETWORK}:NetworkTransport._take",
        _any_idle,
        ("response_that_comes_late",),
        # Looked at once more before it is asked.
        also={f"{NETWORK}:_Stream._was_told": answers(False)},
    ),
    Mutation(
        f"{NETWORK}:_Link.is_clean",
        property(lambda link: link.connection.is_available()),
        ("second_response_that_nobody_asked_for", "body_where_there_is_none", "response_behind_trailers"),
    ),
    Mutation(f"{NETWORK}:_Stream._was_told", answers(False), ("answer_before_the_question",)),
    Mutation(f"{NETWORK}:_MAX_HEAD_BYTES", 2**40, ("interim_responses_without_end",)),
    Mutation("dataflare.capabilities.http_rules:is_override_header", answers(False), ("method_in_a_header",)),
    Mutation("dataflare.request_headers:plain_header", lambda name: name, ("header_in_another_spelling",)),
]
