# Written by `dataflare bindgen`. Write it anew rather than change it.
"""`dataflare:host/http@1.0.0`.

HTTP requests that the host makes for the plugin, to the origins and with the methods
that the operator granted.

- Redirects: the host follows the statuses 301, 302, 303, 307 and 308 that have a
  header `location`, at most as many in a row as the operator allows, and the plugin
  gets the last response. Each target is checked like a request of its own: it is
  `denied` if its origin or method is not granted. One redirect too many is `other`.
  An operator who allows none leaves redirects to the plugin, as responses. After
  303, and after 301 or 302 to a `POST`, the request becomes a `GET` without a body
  (a `HEAD` stays one). Headers that could hold credentials are not sent to another
  origin.
- Compression: the host accepts `gzip`, and expands such a body. The response then
  has no header `content-encoding` and no `content-length`. A body in any other
  encoding comes as it is, with its headers.
- Headers that belong to a connection, or to a proxy, are the host's, such as `host`,
  `content-length`, `accept-encoding` and `connection`: they are `denied`, and
  responses come without those of the connection.
- The host keeps no cookies and no cached responses. It does not make a failed
  request again, except at once and on a new connection, where a kept one had ended
  and the method is idempotent.

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
  address; an address that is not public needs a grant of its own. Or the response
  repeats a secret that the host added to the request.
- `invalid-request` with a `string`: The URL, the method or a header is not well
  formed.
- `connection-failed` with a `string`: No connection could be made, or it broke; a
  retry can help.
- `timed-out` with a `u32`: The response did not end within this many milliseconds,
  the limit; a retry can help.
- `too-large` with a `u32`: The body of the request or of the response is larger than
  this many bytes, the operator's limit. It holds for a body as it comes, and
  expanded.
- `rate-limited` with a `u32`: More requests than the operator allows, redirects
  included; a retry after this many milliseconds can help.
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
    """Absolute, `https` or `http`, in ASCII with other characters as `%XX`, without a
    user or a password. What follows `#` is not sent.
    """
    headers: _abc.Sequence[tuple[str, str]]
    """Names and values, in order; a name may occur several times. Values are visible
    ASCII, with spaces and tabs within.
    """
    body: bytes | None = None
    """The body; `none` if there is no body."""
    timeout_ms: int | None = None
    """The time limit until the response has ended, redirects included, in milliseconds.
    `none` takes the operator's limit, which is also the maximum.
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
    """A complete response, the last one after redirects.

    Since version 1.0.0.
    """

    status: int
    """100 to 599."""
    headers: _abc.Sequence[tuple[str, str]]
    """Names in lower case and values, in order; a name may occur several times."""
    body: bytes
    """The body, expanded if it was compressed with `gzip`."""

    if _t.TYPE_CHECKING:

        def __init__(
            self,
            status: int,
            headers: _abc.Sequence[tuple[str, str]],
            body: _df.BytesLike,
        ) -> None: ...
