"""The rules for a plugin's requests, for all transports: form, headers, time and rate."""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Sequence
from dataclasses import dataclass

from dataflare.capabilities.capability_failure import CapabilityFailure
from dataflare.capabilities.clock import Clock
from dataflare.grants import HttpGrant, Origin
from dataflare.locks import Lock
from dataflare.request_headers import is_override_header, is_reserved_header, plain_header

__all__ = ["Deadline", "RateLimiter", "Url", "check_headers", "is_header_value", "is_method", "parse_url"]

_MAX_URL_CHARACTERS = 8_192
_MAX_HEADERS = 100
_MAX_HEADER_BYTES = 65_536
_URL = re.compile(r"([a-z][a-z0-9+.-]*://[^/?#]*)([^#]*)(?:#.*)?", re.ASCII | re.IGNORECASE)
_URL_CHARACTERS = "!#$%&'()*+,-./:;=?@[]_~"
_WELL_FORMED = re.compile(rf"[A-Za-z0-9{re.escape(_URL_CHARACTERS)}]*")
_METHOD = re.compile(r"[A-Z][A-Z-]{0,31}")
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")
_HEADER_VALUE = re.compile(r"(?:[\x21-\x7e](?:[\t\x20-\x7e]*[\x21-\x7e])?)?")


@dataclass(frozen=True, slots=True)
class Url:
    """The target of a request: an origin, and the path with its query as in the request line."""

    origin: Origin
    target: str

    def __str__(self) -> str:
        return f"{self.origin}{self.target}"

    @property
    def shown(self) -> str:
        """Return the URL for messages: without its query, which may contain credentials."""
        return f"{self.origin}{self.target.partition('?')[0]}"

    def follow(self, location: str) -> Url:
        """Return the target of a redirect.

        Raises:
            CapabilityFailure: `other` if that is not a URL.
        """
        try:
            absolute = urllib.parse.urljoin(str(self), location)
            # Servers write spaces and letters of any kind there.
            return parse_url(urllib.parse.quote(absolute, safe=_URL_CHARACTERS))
        except (CapabilityFailure, ValueError) as error:
            raise CapabilityFailure("other", f"{self.shown} redirects to what is not a URL") from error


def parse_url(text: str) -> Url:
    """Parse a URL. A URL that another parser could read differently is refused.

    Raises:
        CapabilityFailure: `invalid-request`. The message has at most the origin of the text.
    """
    if len(text) > _MAX_URL_CHARACTERS:
        raise CapabilityFailure("invalid-request", f"the URL has more than {_MAX_URL_CHARACTERS} characters")
    match = _URL.fullmatch(text) if _WELL_FORMED.fullmatch(text) else None
    if match is None:
        raise CapabilityFailure(
            "invalid-request", "the URL is not absolute, or has a character that has to be written as %XX"
        )
    if "@" in match[1]:
        raise CapabilityFailure("invalid-request", "the URL has a user or a password; use a header")
    try:
        origin = Origin.parse(match[1])
    except ValueError as error:
        raise CapabilityFailure("invalid-request", str(error)) from error
    target = match[2] if match[2].startswith("/") else f"/{match[2]}"
    return Url(origin, target)


def is_method(text: str) -> bool:
    """Whether a text is a valid HTTP method."""
    return _METHOD.fullmatch(text) is not None


def check_headers(headers: Sequence[tuple[str, str]], grant: HttpGrant) -> list[tuple[str, str]]:
    """Check a plugin's headers; return them with names in lower case.

    Raises:
        CapabilityFailure: `invalid-request` for a malformed header, `denied` for one that is not granted. No message
            contains a value.
    """
    if len(headers) > _MAX_HEADERS or sum(len(name) + len(value) for name, value in headers) > _MAX_HEADER_BYTES:
        raise CapabilityFailure(
            "invalid-request", f"there are more than {_MAX_HEADERS} headers, or {_MAX_HEADER_BYTES} bytes of them"
        )
    checked = []
    for name, value in headers:
        if _HEADER_NAME.fullmatch(name) is None:
            raise CapabilityFailure("invalid-request", f"{name[:128]!r} is not a header's name")
        if not is_header_value(value):
            raise CapabilityFailure(
                "invalid-request", f"the value of {name!r} has characters other than visible ASCII, or space around it"
            )
        lower = name.lower()
        if is_reserved_header(lower) or plain_header(lower) in map(plain_header, grant.secrets):
            raise CapabilityFailure("denied", f"the header {lower!r} is the host's to set")
        if lower not in grant.request_headers if grant.request_headers != "any" else is_override_header(lower):
            raise CapabilityFailure("denied", f"the header {lower!r} is not granted")
        checked.append((lower, value))
    return checked


def is_header_value(text: str) -> bool:
    """Whether a text can be a header's value: visible ASCII, with spaces and tabs within it."""
    return _HEADER_VALUE.fullmatch(text) is not None


class Deadline:
    """The time by which a response must end. Any thread may use it."""

    __slots__ = ("_clock", "_end_ns", "limit_ms")

    def __init__(self, clock: Clock, limit_ms: int) -> None:
        self._clock = clock
        self._end_ns = clock.monotonic_ns() + limit_ms * 10**6
        self.limit_ms = limit_ms

    def within(self, limit_ms: int) -> Deadline:
        """Return the earlier of this deadline and one in `limit_ms` milliseconds from now."""
        other = Deadline(self._clock, limit_ms)
        return other if other._end_ns < self._end_ns else self

    def remaining_s(self) -> float:
        """Return the remaining seconds, more than 0.

        Raises:
            CapabilityFailure: `timed-out` if no time is left.
        """
        left_ns = self._end_ns - self._clock.monotonic_ns()
        if left_ns <= 0:
            raise self.failure()
        return left_ns / 1e9

    def failure(self) -> CapabilityFailure:
        """Make the error for a passed deadline."""
        return CapabilityFailure("timed-out", self.limit_ms)


class RateLimiter:
    """A token bucket of `burst` requests that refills at `per_s` requests per second. Any thread may use it."""

    def __init__(self, clock: Clock, *, per_s: float, burst: int) -> None:
        self._clock = clock
        self._per_s = per_s
        self._burst = burst
        self._lock = Lock()
        self._held = float(burst)
        self._filled_ns = clock.monotonic_ns()

    def take(self) -> None:
        """Take one request.

        Raises:
            CapabilityFailure: `rate-limited`, with the milliseconds until the next request is possible.
        """
        with self._lock:
            now_ns = self._clock.monotonic_ns()
            self._held = min(self._burst, self._held + (now_ns - self._filled_ns) / 1e9 * self._per_s)
            self._filled_ns = now_ns
            if self._held < 1:
                wait_ms = int((1 - self._held) / self._per_s * 1000) + 1
                raise CapabilityFailure("rate-limited", min(wait_ms, 2**32 - 1))
            self._held -= 1
