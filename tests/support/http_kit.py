"""Servers that misbehave, and names that lead anywhere, for tests of requests."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from dataflare.capabilities.capability_failure import CapabilityFailure
from dataflare.capabilities.http_network import dial
from dataflare.wit_types.http import Request

HELLO = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"


class Server:
    """A server that does with each connection what `behave` does, once a request has been read.

    `behave(connection, request)` returns whether another request may follow.
    """

    def __init__(self, behave: Callable[..., object], *, tls: ssl.SSLContext | None = None) -> None:
        self._behave = behave
        self._tls = tls
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._threads: list[threading.Thread] = []
        self.port = self._socket.getsockname()[1]
        self.requests: list[bytes] = []
        self.connections = 0
        self.stopped = threading.Event()
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        self.stopped.set()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for thread in (self._accepting, *self._threads):
            thread.join(5)

    def _accept(self) -> None:
        while not self.stopped.is_set():
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.connections += 1
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            connection.settimeout(5)
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
            with connection:
                while (request := self._read(connection)) and self._behave(connection, request):
                    pass

    def _read(self, connection: socket.socket) -> bytes:
        data = b""
        while b"\r\n\r\n" not in data:
            part = connection.recv(65_536)
            if not part:
                return b""
            data += part
        self.requests.append(data)
        return data


def say_hello(connection: Any, request: bytes) -> bool:
    connection.sendall(HELLO)
    return True


def failure_of(broker: Any, url: str, **options: Any) -> CapabilityFailure:
    with pytest.raises(CapabilityFailure) as caught:
        broker.send(Request("GET", url, **{"headers": (), **options}))
    return caught.value


class Names:
    """A resolver that gives one answer after the other, and keeps giving the last one."""

    def __init__(self, *answers: Any) -> None:
        self._answers = list(answers)
        self.asked: list[tuple[str, int]] = []

    def resolve(self, host: str, port: int) -> Any:
        self.asked.append((host, port))
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, OSError):
            raise answer
        return answer


class Dialled:
    """Connects to a server in place of any address, and keeps the addresses."""

    def __init__(self, port: int, *, dead: set[str] = frozenset()) -> None:
        self._port = port
        self._dead = dead
        self.addresses: list[str] = []

    def __call__(self, address: Any, port: int, timeout_s: float) -> Any:
        self.addresses.append(str(address))
        if str(address) in self._dead:
            raise ConnectionRefusedError(111, "Connection refused")
        return dial(ipaddress.ip_address("127.0.0.1"), self._port, timeout_s)


class Certificates:
    """A certificate for `a.test` that signs itself; `client` trusts it."""

    def __init__(self, directory: Path) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a.test")])
        now = datetime.datetime.now(datetime.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("a.test")]), False)
            .sign(key, hashes.SHA256())
        )
        path = directory / "both.pem"
        path.write_bytes(
            certificate.public_bytes(serialization.Encoding.PEM)
            + key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        self.server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.server.load_cert_chain(path)
        self.names: list[str | None] = []
        self.server.sni_callback = lambda connection, name, context: self.names.append(name)
        self.client = ssl.create_default_context(cafile=path)
