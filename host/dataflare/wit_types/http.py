# Written by `dataflare bindgen`. Write it anew rather than change it.
"""`dataflare:host/http@1.0.0`.

HTTP requests that the host makes for the plugin, to the origins and with the methods
that the operator granted.

Since version 1.0.0.
"""

from __future__ import annotations

import collections.abc as _abc
import dataclasses as _dataclasses
import typing as _t

if _t.TYPE_CHECKING:
    from dataflare import value_types as _df
else:
    from dataflare import values as _df

__all__ = ["HttpError", "Request", "Response"]


HttpError: _t.TypeAlias = _df.Variant
"""Why there is no response. A response with an error status is a response.

Since version 1.0.0.

- `denied` with a `string`: The operator did not grant this origin, method, header or
  address.
- `invalid-request` with a `string`: The URL, the method or a header is not well
  formed.
- `connection-failed` with a `string`: No connection could be made, or it broke; a
  retry can help.
- `timed-out` with a `u32`: The response did not end within this many milliseconds,
  the limit; a retry can help.
- `too-large` with a `u32`: The request or the response is larger than this many
  bytes, the operator's limit.
- `rate-limited` with a `u32`: More requests than the operator allows; a retry after
  this many milliseconds can help.
- `other` with a `string`: Anything else. The text is for logs: do not match it.
"""


@_dataclasses.dataclass(frozen=True, slots=True)
class Request:
    """A request.

    Since version 1.0.0.
    """

    method: str
    """`GET`, `POST` and so on, in capitals."""
    url: str
    """Absolute, `https` or `http`."""
    headers: _abc.Sequence[tuple[str, str]]
    """Names and values, in order; a name may occur several times."""
    body: bytes | None = None
    """The body; `none` if there is no body."""
    timeout_ms: int | None = None
    """The time limit until the response has ended, in milliseconds. `none` takes the
    operator's limit, which is also the maximum.
    """

    if _t.TYPE_CHECKING:

        def __init__(
            self,
            method: str,
            url: str,
            headers: _abc.Sequence[tuple[str, str]],
            body: _df.BytesLike | None = None,
            timeout_ms: int | None = None,
        ) -> None: ...


@_dataclasses.dataclass(frozen=True, slots=True)
class Response:
    """A complete response.

    Since version 1.0.0.
    """

    status: int
    """100 to 599."""
    headers: _abc.Sequence[tuple[str, str]]
    """Names in lower case and values, in order; a name may occur several times."""
    body: bytes
    """The body."""

    if _t.TYPE_CHECKING:

        def __init__(
            self,
            status: int,
            headers: _abc.Sequence[tuple[str, str]],
            body: _df.BytesLike,
        ) -> None: ...
