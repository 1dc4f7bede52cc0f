"""HTTP requests that the host makes for the plugin; `plugin.yaml` lists `http` under `needs`.

The operator grants origins and methods. A response with an error status is a response, until `require_success` is
asked:

```python
page = http.request("GET", f"{url}/people?page=2", headers={"accept": "application/json"})
people = page.require_success().json()
```

A request without a response raises an `HttpError`: one of its subclasses where the reason is known. One that a plugin
does not catch reaches the operator as the error that its class is a kind of, so that the host retries where that helps.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Self

from dataflare_plugin import errors
from dataflare_plugin.bindings import interface
from dataflare_plugin.errors import host_call

__all__ = [
    "ConnectionFailed",
    "Denied",
    "HttpError",
    "InvalidRequest",
    "RateLimited",
    "Response",
    "TimedOut",
    "TooLarge",
    "request",
]

_http = interface("http")
_WAIT_MS: Final = 1_000
_LONGEST_WAIT_MS: Final = 3_600_000
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class HttpError(errors.PluginError):
    """There is no response; the text says why. This class itself: for another reason than those below."""


class Denied(HttpError, errors.Denied):
    """The operator did not grant this origin, method, header or address."""


class InvalidRequest(HttpError):
    """The URL, the method or a header is not well formed."""


class ConnectionFailed(HttpError, errors.Unavailable):
    """No connection could be made, or it broke; a retry can help."""


class TimedOut(HttpError, errors.Unavailable):
    """The response did not end within the limit; a retry can help."""


class TooLarge(HttpError, errors.Denied):
    """The request or the response is larger than the operator allows; ask for less at a time."""


class RateLimited(HttpError, errors.RateLimited):
    """More requests than the operator allows; a retry after `retry_after_ms` milliseconds can help."""


def _timed_out(limit_ms: int) -> TimedOut:
    return TimedOut(f"the response did not end within {limit_ms} ms")


def _too_large(limit_bytes: int) -> TooLarge:
    return TooLarge(f"the request or the response is larger than {limit_bytes} bytes, the operator's limit")


_call = host_call(
    {
        "Denied": Denied,
        "InvalidRequest": InvalidRequest,
        "ConnectionFailed": ConnectionFailed,
        "TimedOut": _timed_out,
        "TooLarge": _too_large,
        "RateLimited": RateLimited,
    },
    HttpError,
)


@dataclass(frozen=True)
class Response:
    """A complete response.

    Args:
        url: What was asked for.
        status: 100 to 599.
        headers: Names in lower case and values, in order; a name may occur several times.
        body: The body.
    """

    url: str
    status: int
    headers: Sequence[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        """The first value of a header; `None` if it is not there."""
        return next((value for known, value in self.headers if known == name.lower()), None)

    def json(self) -> Any:
        """The body as JSON.

        Raises:
            InvalidInput: It is not JSON.
        """
        try:
            return json.loads(self.body)
        except ValueError as error:
            raise errors.InvalidInput(f"{self.url}: the response is not JSON: {error}") from None

    @property
    def retry_after_ms(self) -> int | None:
        """How long to wait, as `Retry-After` says in seconds or as a date, at most an hour; `None` if it does not."""
        said = (self.header("retry-after") or "").strip()
        if said.isascii() and said.isdecimal():
            return min(int(said[:9]) * 1000, _LONGEST_WAIT_MS)
        then, now = _moment(said), _moment(self.header("date") or "")
        if then is None or now is None:
            return None
        return min(max(0, round((then - now).total_seconds() * 1000)), _LONGEST_WAIT_MS)

    def require_success(self) -> Self:
        """Return the response if its status is 200 to 299.

        Raises:
            RateLimited: The status is 429, or 503 with `Retry-After`.
            Unavailable: It is another one from 500 on.
            Denied: It is 401 or 403: the credentials are not accepted.
            InvalidConfig: It is any other one.
        """
        wait_ms, says = self.retry_after_ms, f"{self.url}: status {self.status}"
        if 200 <= self.status < 300:
            return self
        if self.status == 429 or (self.status == 503 and wait_ms is not None):
            raise RateLimited(wait_ms or _WAIT_MS)
        if self.status >= 500:
            raise errors.Unavailable(says)
        if self.status in (401, 403):
            raise errors.Denied(f"{says}: the credentials are not accepted")
        raise errors.InvalidConfig(says)


def request(
    method: str,
    url: str,
    *,
    headers: Mapping[str, str] | Sequence[tuple[str, str]] = (),
    body: bytes | None = None,
    timeout_ms: int | None = None,
) -> Response:
    """Make a request and wait for its response.

    Args:
        method: `GET`, `POST` and so on, in capitals.
        url: Absolute, `https` or `http`.
        headers: Names and values.
        body: The body; `None` if there is no body.
        timeout_ms: The time limit until the response has ended; `None` takes the operator's, which is also the maximum.

    Raises:
        HttpError: There is no response.
    """
    pairs = list(headers.items()) if isinstance(headers, Mapping) else list(headers)
    found = _call(_http.send, _http.Request(method, url, pairs, body, timeout_ms))
    return Response(url, found.status, [(name, value) for name, value in found.headers], bytes(found.body))


def _moment(text: str) -> datetime | None:
    """An HTTP date, such as `Sun, 06 Nov 1994 08:49:37 GMT`; `None` for anything else."""
    try:
        # Without `strptime`, which imports a module when it is first called: a component has none then.
        _, day, month, year, time, _zone = text.split()
        hour, minute, second = time.split(":")
        numbers = int(year), _MONTHS.index(month) + 1, int(day), int(hour), int(minute), int(second)
        return datetime(*numbers, tzinfo=UTC)
    except (ValueError, OverflowError):
        return None
