"""Who carries the requests that the rules of `http` have let pass; here, responses that wait in memory."""

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
    """A request that has been checked, with all its headers, for a transport to carry. Its text shows no header."""

    method: str
    url: Url
    headers: Sequence[tuple[str, str]] = field(repr=False)
    body: bytes = field(repr=False)
    addresses: AddressRules = field(repr=False)
    deadline: Deadline = field(repr=False)


@dataclass(frozen=True, slots=True)
class Incoming:
    """The beginning of a response: names of headers in lower case, and the body as it comes."""

    status: int
    headers: Sequence[tuple[str, str]]
    chunks: Iterable[bytes]


class Transport(Protocol):
    """Who carries requests. Any thread may ask; failures are `CapabilityFailure` with a case of `http-error`.

    A transport connects only to addresses that `Outgoing.addresses` allows, ends at `Outgoing.deadline`, follows no
    redirect and keeps no cookie.
    """

    def exchange(self, outgoing: Outgoing) -> AbstractContextManager[Incoming]:
        """Send a request; the response can be read within the `with`."""

    def close(self) -> None:
        """Let go of connections; idempotent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Canned:
    """A response that waits in memory. `takes_ms`: how long it is said to take; nobody waits for it."""

    status: int = 200
    headers: Sequence[tuple[str, str]] = ()
    body: bytes | Iterable[bytes] = b""
    takes_ms: int = 0


class MemoryTransport:
    """Responses in memory, under the same rules. What was sent is kept in `sent`.

    Args:
        answer: Makes the response to a request.
        addresses: Addresses by host; a host that is not there, and is not an address, has a public one.
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
        """Nothing to let go of."""
