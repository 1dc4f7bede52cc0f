"""`dataflare:host/http`: requests that the host makes for a plugin."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from dataflare.capabilities.capability_failure import returns_result
from dataflare.wit_types.http import Request, Response

__all__ = ["HttpClient", "imports"]


class HttpClient(Protocol):
    """Makes one plugin's requests.

    Any thread may use it; a call raises `CapabilityFailure` with a case of `http-error`.
    """

    def send(self, request: Request) -> Response:
        """Make a request and wait for its response."""


def imports(client: HttpClient) -> dict[str, Callable[..., Any]]:
    """Make the functions of the interface, by their names in the WIT."""
    return {"send": returns_result(client.send)}
