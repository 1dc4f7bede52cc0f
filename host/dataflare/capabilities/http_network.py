"""Requests over the network, to addresses that were checked.

A host's name is resolved once for each connection, and the connection goes to one of the resulting addresses that
passed the check. No lower layer resolves the name again, so a second answer cannot redirect the connection. httpcore
speaks HTTP on it. Unlike httpx, which is built on it, httpcore has no proxies, redirects, cookies or environment
settings, and it accepts connections that the caller opens.
"""

from __future__ import annotations

import contextlib
import functools
import select
import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, TypeVar

import httpcore
import httpx

from dataflare.capabilities.capability_failure import CapabilityFailure
from dataflare.capabilities.http_address import Address, AddressRules, Resolver, SystemResolver, is_address
from dataflare.capabilities.http_rules import Deadline
from dataflare.capabilities.http_transport import Incoming, Outgoing
from dataflare.errors import UsageError
from dataflare.grants import Origin
from dataflare.locks import Lock

__all__ = ["Dial", "NetworkTransport", "dial"]

Dial = Callable[[Address, int, float], socket.socket]
"""Connects to an address and a port within this many seconds, or raises `OSError`."""

_MAX_LOOKUPS = 8
_MAX_IDLE = 4
_MAX_HEAD_BYTES = 256 * 1024
"""Maximum bytes until the end of a response's headers, interim responses (1xx) included."""
# These may be sent twice (RFC 9110, section 9.2.2).
_IDEMPOTENT = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PUT"})
T = TypeVar("T")


def dial(address: Address, port: int, timeout_s: float) -> socket.socket:
    """Connect to an address over TCP."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    connection = socket.socket(family, socket.SOCK_STREAM)
    try:
        connection.settimeout(timeout_s)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.connect((str(address), port))
    except BaseException:
        connection.close()
        raise
    return connection


class NetworkTransport:
    """Sends requests over HTTP/1.1, with TLS for `https`. Any thread may use it. Close it, or use it in a `with` block.

    A connection is kept for the next request to the same origin under the same address rules.

    Args:
        resolver: Finds the addresses of hosts; `None` for the system's resolver.
        dial: Connects to an address.
        tls: The settings that verify servers; by default with the certificates that httpx trusts: certifi's, or those
            of `SSL_CERT_FILE` or `SSL_CERT_DIR`.
        idle_s: How long an idle connection is kept, in seconds.
    """

    def __init__(
        self,
        *,
        resolver: Resolver | None = None,
        dial: Dial = dial,
        tls: ssl.SSLContext | None = None,
        idle_s: float = 15.0,
    ) -> None:
        self._resolver = resolver or SystemResolver()
        self._dial = dial
        self._tls = tls
        self._idle_s = idle_s
        self._lock = Lock()
        self._lookups = threading.BoundedSemaphore(_MAX_LOOKUPS)
        self._idle: dict[tuple[Origin, AddressRules], list[_Link]] = {}
        self._closed = False

    def __enter__(self) -> NetworkTransport:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the idle connections, and refuse further requests; idempotent."""
        with self._lock:
            self._closed = True
            links = [link for kept in self._idle.values() for link in kept]
            self._idle.clear()
        for link in links:
            link.connection.close()

    @contextmanager
    def exchange(self, outgoing: Outgoing) -> Iterator[Incoming]:
        link = self._take(outgoing) or self._new_link(outgoing)
        link.backend.begin(outgoing.deadline)
        origin = outgoing.url.origin
        request = httpcore.Request(
            method=outgoing.method.encode(),
            url=httpcore.URL(
                scheme=origin.scheme.encode(),
                host=origin.host.strip("[]").encode(),
                port=origin.port,
                target=outgoing.url.target.encode(),
            ),
            headers=[(name.encode(), value.encode()) for name, value in outgoing.headers],
            content=outgoing.body,
        )
        try:
            try:
                response = link.connection.handle_request(request)
            except (httpcore.NetworkError, httpcore.RemoteProtocolError):
                if not link.used or outgoing.method not in _IDEMPOTENT:
                    raise
                # The server closed the idle connection at the same time; that says nothing about the request.
                link.connection.close()
                link = self._new_link(outgoing)
                response = link.connection.handle_request(request)
            link.backend.head_bytes_left = None
            try:
                headers = [(name.decode().lower(), _decode(value)) for name, value in response.headers]
                if not 200 <= response.status <= 599:
                    raise CapabilityFailure("other", f"{origin} answered with the status {response.status}")
                yield Incoming(response.status, headers, response.iter_stream())
            finally:
                response.close()
        except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.RemoteProtocolError) as error:
            text = str(error) or type(error).__name__
            raise CapabilityFailure("connection-failed", f"{origin}: {text}") from error
        except httpcore.LocalProtocolError as error:
            raise CapabilityFailure("invalid-request", str(error)) from error
        finally:
            self._give_back(outgoing, link)

    def _take(self, outgoing: Outgoing) -> _Link | None:
        key = (outgoing.url.origin, outgoing.addresses)
        while True:
            with self._lock:
                if self._closed:
                    raise UsageError("the transport is closed")
                kept = self._idle.get(key)
                link = kept.pop() if kept else None
            if link is None or (link.is_clean and not link.connection.has_expired()):
                return link
            link.connection.close()

    def _new_link(self, outgoing: Outgoing) -> _Link:
        origin = outgoing.url.origin
        with self._lock:
            if self._tls is None and origin.scheme == "https":
                self._tls = httpx.create_ssl_context()
        backend = _Backend(self._connect, outgoing.addresses, outgoing.deadline)
        connection = httpcore.HTTPConnection(
            httpcore.Origin(origin.scheme.encode(), origin.host.strip("[]").encode(), origin.port),
            ssl_context=self._tls,
            keepalive_expiry=self._idle_s,
            network_backend=backend,
        )
        return _Link(connection, backend)

    def _give_back(self, outgoing: Outgoing, link: _Link) -> None:
        key = (outgoing.url.origin, outgoing.addresses)
        with self._lock:
            kept = self._idle.setdefault(key, [])
            if not self._closed and len(kept) < _MAX_IDLE and link.is_clean:
                link.used = True
                kept.append(link)
                return
        link.connection.close()

    def _connect(self, host: str, port: int, rules: AddressRules, deadline: Deadline) -> socket.socket:
        found = [host] if is_address(host) else self._resolve(host, port, deadline)
        addresses = rules.select(host, found)
        for place, address in enumerate(addresses, start=1):
            # An address that does not answer must leave time for the others.
            share_s = deadline.remaining_s() / (len(addresses) - place + 1)
            try:
                return self._dial(address, port, share_s)
            except OSError as error:
                last = error
        if isinstance(last, TimeoutError):
            raise deadline.failure()
        raise httpcore.ConnectError(f"no connection to {host}: {last.strerror or last}") from last

    def _resolve(self, host: str, port: int, deadline: Deadline) -> list[str]:
        # The system's resolver has no time limit and cannot be stopped. After a timeout it keeps running in its own
        # thread; the number of these threads is limited.
        if not self._lookups.acquire(timeout=deadline.remaining_s()):
            raise deadline.failure()
        answer: Future[list[str]] = Future()

        def look_up() -> None:
            try:
                answer.set_result(self._resolver.resolve(host, port))
            except BaseException as error:
                answer.set_exception(error)
            finally:
                self._lookups.release()

        try:
            threading.Thread(target=look_up, name=f"dataflare-lookup-{host}", daemon=True).start()
        except RuntimeError as error:  # the system has no more threads
            self._lookups.release()
            raise CapabilityFailure("other", f"{host} cannot be resolved: {error}") from error
        try:
            return answer.result(timeout=deadline.remaining_s())
        except TimeoutError:
            raise deadline.failure() from None
        except OSError as error:
            raise httpcore.ConnectError(f"{host} cannot be resolved: {error.strerror or error}") from error


class _Link:
    """A connection, its backend, and whether a request was already sent on it."""

    __slots__ = ("backend", "connection", "used")

    def __init__(self, connection: httpcore.HTTPConnection, backend: _Backend) -> None:
        self.connection = connection
        self.backend = backend
        self.used = False

    @property
    def is_clean(self) -> bool:
        """Whether a new request can be sent such that its response is the next data to read.

        Data that the server sent after its response (a second response, or an unexpected body) would be read as the
        answer to the next request. Only h11, below httpcore, knows of such data; if it cannot be asked, the connection
        is not reused.
        """
        if not self.connection.is_available():
            return False
        try:
            rest, ended = self.connection._connection._h11_state.trailing_data  # type: ignore[union-attr]
        except AttributeError:
            return False
        return not rest and not ended


class _Backend(httpcore.NetworkBackend):
    """The network backend of httpcore. `deadline` is that of the current request."""

    def __init__(
        self,
        connect: Callable[[str, int, AddressRules, Deadline], socket.socket],
        rules: AddressRules,
        deadline: Deadline,
    ) -> None:
        self._connect = connect
        self._rules = rules
        self.begin(deadline)

    def begin(self, deadline: Deadline) -> None:
        """Begin a request with this deadline."""
        self.deadline = deadline
        self.head_bytes_left: int | None = _MAX_HEAD_BYTES
        """Bytes that may still be read of the response's head; `None` after the head."""
        self.asked = False
        """Whether any part of the request was sent."""

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        return _Stream(self._connect(host, port, self._rules, self.deadline), self)


class _Stream(httpcore.NetworkStream):
    """A socket on which every step ends at the deadline, even if data arrive slowly."""

    def __init__(self, connection: socket.socket, backend: _Backend) -> None:
        self._socket = connection
        self._backend = backend

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        data = self._timed(httpcore.ReadError, lambda: self._socket.recv(max_bytes))
        left = self._backend.head_bytes_left
        if left is not None:
            if left <= 0:
                raise httpcore.RemoteProtocolError(f"the response's headers have more than {_MAX_HEAD_BYTES} bytes")
            self._backend.head_bytes_left = left - len(data)
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        if not self._backend.asked:
            self._backend.asked = True
            if self._was_told():
                raise httpcore.RemoteProtocolError("the server answered before it was asked")
        rest = memoryview(buffer)
        while rest:
            rest = rest[self._timed(httpcore.WriteError, functools.partial(self._socket.send, rest)) :]

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        def wrap() -> ssl.SSLSocket:
            # An attacker on the network must not be able to truncate a response that ends with the connection.
            return ssl_context.wrap_socket(self._socket, server_hostname=server_hostname, suppress_ragged_eofs=False)

        try:
            return _Stream(self._timed(httpcore.ConnectError, wrap), self._backend)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._socket.close()

    def get_extra_info(self, info: str) -> Any:
        if info == "ssl_object":
            return self._socket if isinstance(self._socket, ssl.SSLSocket) else None
        if info == "is_readable":
            return self._is_readable()
        return None

    def _was_told(self) -> bool:
        """Whether the server has sent unrequested data; the end of the connection does not count."""
        if isinstance(self._socket, ssl.SSLSocket):
            return self._socket.pending() > 0  # other data belong to TLS itself
        self._socket.setblocking(False)
        with contextlib.suppress(OSError):
            return bool(self._socket.recv(1, socket.MSG_PEEK))
        return False

    def _is_readable(self) -> bool:
        if isinstance(self._socket, ssl.SSLSocket) and self._socket.pending():
            return True
        with contextlib.suppress(OSError, ValueError):
            poll = select.poll()
            poll.register(self._socket, select.POLLIN)
            return bool(poll.poll(0))
        return True

    def _timed(self, error_type: type[Exception], step: Callable[[], T]) -> T:
        deadline = self._backend.deadline
        self._socket.settimeout(deadline.remaining_s())
        try:
            return step()
        except TimeoutError:
            raise deadline.failure() from None
        except ssl.SSLCertVerificationError as error:
            raise error_type(f"the certificate is not accepted: {error.verify_message}") from error
        except OSError as error:
            raise error_type(error.strerror or str(error)) from error


def _decode(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")
