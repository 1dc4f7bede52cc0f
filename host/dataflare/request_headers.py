"""Which request headers a plugin may send: harmless ones, those of the host, and those that claim what is not so."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["RESERVED_HEADERS", "SAFE_HEADERS", "is_override_header", "is_reserved_header", "plain_header"]

SAFE_HEADERS: Final = frozenset(
    {
        *("accept", "accept-language", "cache-control", "content-encoding", "content-language", "content-type"),
        *("idempotency-key", "if-match", "if-modified-since", "if-none-match", "if-range", "if-unmodified-since"),
        *("prefer", "range", "user-agent"),
    }
)
"""Request headers that say nothing of who asks; a plugin may send them unless its grant says otherwise."""

RESERVED_HEADERS: Final = frozenset(
    {
        *("accept-encoding", "connection", "content-length", "expect", "host", "http2-settings", "keep-alive"),
        *("proxy", "te", "trailer", "transfer-encoding", "upgrade", "via", "x-via"),
    }
)
"""Request headers that are the host's alone, or a proxy's (a server that runs scripts takes `proxy` for its own).

So are all of `proxy-`, and those by which a proxy tells who the client is (`is_reserved_header`)."""


def _words(*names: str) -> str:
    """Match any of the names as whole words of a header."""
    return rf"(?:^|-)(?:{'|'.join(names)})(?:-|$)"


_CLIENT = re.compile(
    # Not `max-forwards`, which says nothing of the client.
    r"(?:^|-)x?forward(?!s(?:-|$))"
    r"|(?:client|connecting|custom|originating|real|remote|socket|user)-?ip(?:v?[46])?(?:-|$)"
    r"|(?:client|connecting|real|remote)-?(?:addr|address|user)(?:-|$)"
)
_OVERRIDE = re.compile(
    "|".join(
        (
            # Another method.
            "method|verb|override|request-?type",
            _words("action", "cmd", "command", "op", "operation"),
            # Another host.
            "host|original|upstream",
            _words("authority", "backend", "domain", "endpoint", "route", "routing", "server", "target"),
            # Another path, and another object that the server reads. A word may begin or end with `url`, but not
            # contain it: `security` contains `uri`.
            r"path|rewrite|redirect|destination|(?:^|-)ur[il]|ur[il]s?(?:-|$)",
            r"(?:^|-)(?:script|query)|document-?root|sendfile|(?:copy|move|rename)-?(?:from|source)",
            _words("accel", "invoke", "location", "middleware", "prefix"),
            # Another client than this one, or one that a proxy has authenticated.
            r"(?:^|-)(?:ip|remote|impersonate|cf|cloudfront|fastly)|(?:origin|peer|proxy|source|src|visitor)ip(?:-|$)",
            r"client-?(?:cert|dn|s-dn|subject|verify)|auth-?request|authenticated|webauth",
            _words("addr", "appengine", "azure", "consumer", "envoy", "mtls", "oidc", "principal", "real", "ssl"),
        )
    )
)
_ORDINARY: Final = frozenset({"access-control-request-method", "content-location", "x-amz-target"})
"""Headers that match a rule, and by which no server is taken to another method, host or path than the API's own."""


def is_reserved_header(name: str) -> bool:
    """Whether no plugin may send a header, whatever is granted; `name` is in lower case.

    That is so for `RESERVED_HEADERS`, all of `proxy-`, and headers that name the client's address or user as proxies
    do: a word that begins with `forward`, `client-ip`, `real-ip`, `remote-user` and similar, also written as one word.
    """
    plain = plain_header(name)
    return plain in RESERVED_HEADERS or plain.startswith("proxy-") or _CLIENT.search(plain) is not None


def is_override_header(name: str) -> bool:
    """Whether some servers take from this header another method, host, path or client than the request's own.

    No complete list of them exists, so a header counts by the words in its name, which is in lower case: those for a
    method (`method`, `verb`, `action`, `command`), a host (`host`, `server`, `backend`), a URL or a part of one
    (`uri`, `url`, `path`, `destination`, `script`, `query`), and a client (`ip`, `remote`, `client-cert`,
    `impersonate`). A plugin may send one only if `request_headers` names it; `"any"` does not include it, since that
    would grant every method and path, and every host behind the same server.
    """
    plain = plain_header(name)
    return _OVERRIDE.search(plain) is not None and plain not in _ORDINARY


def plain_header(name: str) -> str:
    """Return a header's name, which is in lower case, as servers know it that hand it on as a variable.

    To them, `content_length` is `content-length`.
    """
    return re.sub(r"[^a-z0-9]", "-", name)
