"""The rules of `http`: a request is checked against its grants before it is sent, and again at each redirect.

A `Transport` sends the requests; the rules are the same for all transports.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from typing import Any, Protocol

from dataflare.capabilities.capability_failure import CapabilityFailure
from dataflare.capabilities.clock import Clock, SystemClock
from dataflare.capabilities.http import HttpClient, imports
from dataflare.capabilities.http_address import AddressRules
from dataflare.capabilities.http_body import ENCODINGS, read_body
from dataflare.capabilities.http_network import NetworkTransport
from dataflare.capabilities.http_rules import (
    Deadline,
    RateLimiter,
    Url,
    check_headers,
    is_header_value,
    is_method,
    parse_url,
)
from dataflare.capabilities.http_transport import Incoming, Outgoing, Transport
from dataflare.capabilities.secrets import SecretStore, ask
from dataflare.errors import ConfigError
from dataflare.grants import Grants, HttpGrant, Origin
from dataflare.request_headers import SAFE_HEADERS
from dataflare.secret_forms import secret_forms
from dataflare.wit_types.http import Request, Response

__all__ = ["HttpBroker", "provide"]

_log = logging.getLogger("dataflare.http")
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
# Headers about one connection, or about the encoding of the body, which is decoded here.
_HOP_HEADERS = frozenset(
    {"connection", "keep-alive", "proxy-authenticate", "te", "trailer", "transfer-encoding", "upgrade"}
)
_BODY_HEADERS = frozenset({"content-encoding", "content-language", "content-type"})
_HIDDEN = "[secret]"
# A shorter text occurs by chance, and a secret that short is not secure anyway.
_MIN_SECRET_CHARACTERS = 6


class HttpBroker:
    """Makes one plugin's requests, as its grants allow. Any thread may use it. Close it, or use it in a `with` block.

    The plugin does not see the secrets that grants add: a response that repeats one, as it is or as `secret_forms`
    escapes it, is withheld, and no message contains one. A secret that the server returns in another form (compressed,
    encrypted, or in parts) is not detected.

    Args:
        grants: By origin, as in `Grants.http`.
        transport: Sends the requests; closed with the broker.
        secrets: The store of the secrets that grants add to requests; `None` if there is none.
        clock: Measures time limits and rates; `None` for the system's clock.
        plugin: The plugin's name, for the log.
        refusal: Called with an origin, a method and whether a redirect led there: before each request, when its
            response begins, and at each part of a body. Returns why the origin may no longer be used; empty if it may.

    Raises:
        ConfigError: A grant adds a secret, but the host has no store.
    """

    def __init__(
        self,
        grants: Mapping[str, HttpGrant],
        transport: Transport,
        *,
        secrets: SecretStore | None = None,
        clock: Clock | None = None,
        plugin: str = "",
        refusal: Callable[[str, str, bool], str] = lambda _origin, _method, _redirected: "",
    ) -> None:
        self._refusal = refusal
        self._clock = clock or SystemClock()
        self._grants = {Origin.parse(origin): grant for origin, grant in grants.items()}
        self._addresses = {origin: AddressRules(grant.addresses) for origin, grant in self._grants.items()}
        self._limiters = {
            origin: RateLimiter(self._clock, per_s=grant.requests_per_s, burst=grant.burst)
            for origin, grant in self._grants.items()
        }
        self._transport = transport
        self._secrets = secrets
        self._plugin = plugin
        for origin, grant in self._grants.items():
            if grant.secrets and secrets is None:
                raise ConfigError("there is no store for its secrets", where=f"grants.http.{origin}.secrets")

    def __enter__(self) -> HttpBroker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; idempotent."""
        self._transport.close()

    def send(self, request: Request) -> Response:
        # All secrets that were added to the request or to its redirects, in all their forms.
        hidden: set[str] = set()
        began_ns = self._clock.monotonic_ns()
        outcome = "failed"
        try:
            response = self._send(request, hidden)
            _check_echo(response, hidden)
            outcome = str(response.status)
            return response
        except CapabilityFailure as failure:
            outcome = failure.case
            text = failure.error.value
            if isinstance(text, str) and any(secret in text for secret in hidden):
                # The cause would reveal it too.
                raise CapabilityFailure(failure.case, _redact(text, hidden)) from None
            raise
        finally:
            took_ms = (self._clock.monotonic_ns() - began_ns) // 10**6
            _log.debug("plugin %r: %s in %d ms", self._plugin, outcome, took_ms)

    def _send(self, request: Request, hidden: set[str]) -> Response:
        if not is_method(request.method):
            raise CapabilityFailure("invalid-request", f"{request.method[:32]!r} is not a method in capitals")
        url = parse_url(request.url)
        first = self._grant(url, request.method)
        method, body = request.method, request.body
        headers = check_headers(request.headers, first)
        limit_ms = _milliseconds(first.timeout_s)
        deadline = Deadline(self._clock, limit_ms if request.timeout_ms is None else min(limit_ms, request.timeout_ms))
        followed = 0
        while True:
            grant = self._grant(url, method)
            if body is not None and len(body) > grant.max_request_bytes:
                raise CapabilityFailure("too-large", grant.max_request_bytes)
            outgoing = self._prepare(method, url, headers, body, grant, deadline, hidden)
            self._limiters[url.origin].take()
            deadline.remaining_s()
            self._check(url, method, redirected=followed > 0)
            _log.debug("plugin %r: %s %s", self._plugin, method, url.shown)
            with self._transport.exchange(outgoing) as incoming:
                self._check(url, method)
                location = _location(incoming) if first.max_redirects else None
                if location is None:
                    chunks = self._checked(incoming.chunks, url, method)
                    return _read(incoming, chunks, method, grant.max_response_bytes)
                status = incoming.status
            if followed == first.max_redirects:
                raise CapabilityFailure("other", f"more than {first.max_redirects} redirects in a row")
            followed += 1
            if any(secret in location for secret in hidden):
                raise CapabilityFailure("denied", f"{url.shown} redirects with a secret that the host added")
            target = url.follow(location)
            if status == 303 or (status in (301, 302) and method == "POST"):
                method, body = ("HEAD" if method == "HEAD" else "GET"), None
                headers = [(name, value) for name, value in headers if name not in _BODY_HEADERS]
            if target.origin != url.origin:
                headers = _without_credentials(headers, self._grant(target, method))
            url = target

    def _checked(self, chunks: Iterable[bytes], url: Url, method: str) -> Iterator[bytes]:
        for chunk in chunks:
            self._check(url, method)
            yield chunk

    def _check(self, url: Url, method: str, *, redirected: bool = False) -> None:
        if reason := self._refusal(str(url.origin), method, redirected):
            raise CapabilityFailure("denied", reason)

    def _grant(self, url: Url, method: str) -> HttpGrant:
        grant = self._grants.get(url.origin)
        if grant is None:
            raise CapabilityFailure("denied", f"no request to {url.origin} is granted")
        if method not in grant.methods:
            raise CapabilityFailure("denied", f"{method} is not granted for {url.origin}")
        return grant

    def _prepare(
        self,
        method: str,
        url: Url,
        headers: list[tuple[str, str]],
        body: bytes | None,
        grant: HttpGrant,
        deadline: Deadline,
        hidden: set[str],
    ) -> Outgoing:
        sent = [("host", url.origin.authority), *headers, ("accept-encoding", "gzip")]
        if not any(name == "user-agent" for name, _ in headers):
            sent.append(("user-agent", "dataflare"))
        if body is not None or method in ("POST", "PUT", "PATCH"):
            sent.append(("content-length", str(len(body or b""))))
        for header, (before, name, after) in grant.injected.items():
            secret = self._secret(name)
            if len(secret) >= _MIN_SECRET_CHARACTERS:
                hidden |= secret_forms(secret)
            sent.append((header, before + secret + after))
        return Outgoing(
            method,
            url,
            sent,
            bytes(body or b""),
            self._addresses[url.origin],
            deadline.within(_milliseconds(grant.timeout_s)),
        )

    def _secret(self, name: str) -> str:
        try:
            secret = None if self._secrets is None else ask(self._secrets, name)
        except CapabilityFailure as failure:
            # The store's message is for the operator. The plugin may learn at most the name of a secret that it cannot
            # see.
            case = "connection-failed" if failure.case == "unavailable" else "other"
            raise CapabilityFailure(case, f"the secret {name!r} cannot be read now") from failure
        if secret is None:
            raise CapabilityFailure("other", f"there is no secret {name!r}, which the operator wants to be added")
        if not secret or not is_header_value(secret):
            raise CapabilityFailure("other", f"the secret {name!r} cannot be in a header")
        return secret


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))


def _location(incoming: Incoming) -> str | None:
    if incoming.status not in _REDIRECTS:
        return None
    return next((value for name, value in incoming.headers if name == "location"), None)


def _read(incoming: Incoming, chunks: Iterable[bytes], method: str, limit: int) -> Response:
    headers = [(name, value) for name, value in incoming.headers if name not in _HOP_HEADERS]
    encoding = ", ".join(value.strip().lower() for name, value in headers if name == "content-encoding")
    length = next((value for name, value in headers if name == "content-length"), "")
    if method != "HEAD" and incoming.status != 304 and length.isdecimal() and int(length) > limit:
        raise CapabilityFailure("too-large", limit)
    body = read_body(chunks, limit=limit, encoding=encoding)
    if encoding in ENCODINGS and method != "HEAD":
        headers = [(name, value) for name, value in headers if name not in ("content-encoding", "content-length")]
    return Response(incoming.status, headers, body)


def _without_credentials(headers: list[tuple[str, str]], grant: HttpGrant) -> list[tuple[str, str]]:
    """Return the headers that may be sent to another origin. A header that is not known to be harmless may be a
    credential."""
    allowed = SAFE_HEADERS if grant.request_headers == "any" else SAFE_HEADERS & grant.request_headers
    return [(name, value) for name, value in headers if name in allowed and name not in grant.secrets]


def _check_echo(response: Response, hidden: set[str]) -> None:
    for secret in hidden:
        if secret.encode() in response.body or any(secret in f"{name}: {value}" for name, value in response.headers):
            raise CapabilityFailure("denied", "the response repeats a secret that the host added to the request")


def _redact(text: str, hidden: set[str]) -> str:
    for secret in sorted(hidden, key=len, reverse=True):
        text = text.replace(secret, _HIDDEN)
    return text


class _Context(Protocol):
    @property
    def plugin(self) -> str: ...
    @property
    def grants(self) -> Grants: ...
    @property
    def transport(self) -> Callable[[], Transport] | None: ...
    @property
    def secrets(self) -> SecretStore | None: ...
    @property
    def clock(self) -> Clock: ...
    @property
    def request_refusal(self) -> Callable[[str, str, bool], str]: ...
    @property
    def remaining_s(self) -> Callable[[], float]: ...
    @property
    def resources(self) -> ExitStack: ...


def provide(context: _Context) -> dict[str, Callable[..., Any]]:
    """Make the functions that one plugin gets, by their names in the WIT.

    Raises:
        ConfigError: A grant adds a secret, but the host has no store.
    """
    broker = HttpBroker(
        context.grants.http,
        (context.transport or NetworkTransport)(),
        secrets=context.secrets,
        clock=context.clock,
        plugin=context.plugin,
        refusal=context.request_refusal,
    )
    return imports(_WithinCall(context.resources.enter_context(broker), context.remaining_s))


class _WithinCall:
    """An HTTP client whose requests end at the latest with the plugin's call."""

    def __init__(self, client: HttpClient, remaining_s: Callable[[], float]) -> None:
        self._client = client
        self._remaining_s = remaining_s

    def send(self, request: Request) -> Response:
        left_s = self._remaining_s()
        if left_s == math.inf:
            return self._client.send(request)
        left_ms = max(1, int(left_s * 1000))
        timeout_ms = left_ms if request.timeout_ms is None else min(left_ms, request.timeout_ms)
        return self._client.send(Request(request.method, request.url, request.headers, request.body, timeout_ms))
