"""The interface that sends checked requests, and an implementation with responses in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from dataflare.capabilities.http_address import AddressRules, is_address
from dataflare.capabilities.http_rules import Deadline, Url

__all__ = ["Canned", "Incoming", "MemoryTransport", "Outgoing", "Transport"]


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A checked request with all its headers, for a transport to send. Its `repr` shows no headers."""

    method: str
    url: Url
    headers: Sequence[tuple[str, str]] = field(repr=False)
    body: bytes = field(repr=False)
    addresses: AddressRules = field(repr=False)
    deadline: Deadline = field(repr=False)


@dataclass(frozen=True, slots=True)
class Incoming:
    """The beginning of a response: status, headers with names in lower case, and the body in parts as they arrive."""

    status: int
    headers: Sequence[tuple[str, str]]
    chunks: Iterable[bytes]


class Transport(Protocol):
    """Sends requests. Any thread may use it; failures are `CapabilityFailure` with a case of `http-error`.

    A transport connects only to addresses that `Outgoing.addresses` allows, ends at `Outgoing.deadline`, follows no
    redirect and keeps no cookie.
    """

    def exchange(self, outgoing: Outgoing) -> AbstractContextManager[Incoming]:
        """Send a request; the response can be read within the `with` block."""

    def close(self) -> None:
        """Close the connections; idempotent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Canned:
    """A response in memory. `takes_ms`: its simulated duration; nothing actually waits."""

    status: int = 200
    headers: Sequence[tuple[str, str]] = ()
    body: bytes | Iterable[bytes] = b""
    takes_ms: int = 0


class MemoryTransport:
    """A transport with responses in memory, under the same rules. Sent requests are kept in `sent`.

    Args:
        answer: Makes the response to a request.
        addresses: Addresses by host; any other host name gets a public address.
    """

    def __init__(
        self, answer: Callable[[Outgoing], Canned], *, addresses: Mapping[str, Sequence[str]] | None = None
    ) -> None:
        self._answer = answer
        self._addresses = dict(addresses or {})
        self.sent: list[Outgoing] = []

    @contextmanager
    def exchange(self, outgoing: Outgoing) -> Iterator[Incoming]:
        host = outgoing.url.origin.host.strip("[]")
        outgoing.addresses.select(host, self._addresses.get(host) or [host if is_address(host) else "8.8.8.8"])
        self.sent.append(outgoing)
        canned = self._answer(outgoing)
        if canned.takes_ms / 1000 > outgoing.deadline.remaining_s():
            raise outgoing.deadline.failure()
        headers = [(name.lower(), value) for name, value in canned.headers]
        chunks = [canned.body] if isinstance(canned.body, bytes) else canned.body
        yield Incoming(canned.status, headers, () if outgoing.method == "HEAD" else chunks)

    def close(self) -> None:
        """Do nothing: there are no connections."""
