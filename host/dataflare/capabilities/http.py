"""`dataflare:host/http`: requests that the host makes for a plugin."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from dataflare.capabilities.capability_failure import returns_result

__all__ = ["HttpClient", "Request", "Response", "imports"]


@dataclass(frozen=True, slots=True)
class Request:
    """A request as a plugin makes it; nothing of it is checked yet.

    Args:
        method: In capitals.
        url: Absolute, `https` or `http`.
        headers: Names and values in order.
        body: `None` for none.
        timeout_ms: The most milliseconds until the response has ended; `None` for the operator's limit.
    """

    method: str
    url: str
    headers: Sequence[tuple[str, str]] = ()
    body: bytes | None = None
    timeout_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Response:
    """A response, whole: names of headers in lower case, the body decompressed."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


class HttpClient(Protocol):
    """Who makes one plugin's requests.

    Any thread may ask; a call raises `CapabilityFailure` with a case of `http-error`.
    """

    def send(self, request: Request) -> Response:
        """Make a request and wait for its response."""


def imports(client: HttpClient) -> dict[str, Callable[..., Any]]:
    """Make the functions of the interface, by their names in the WIT."""
    return {"send": returns_result(client.send)}
