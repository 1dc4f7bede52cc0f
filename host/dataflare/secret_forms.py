"""How a secret may be written where it is not written as it is."""

from __future__ import annotations

import base64
import html
import json
import re
import urllib.parse
from typing import Final

__all__ = ["secret_forms"]

_ESCAPED_BY_GO: Final = re.compile("[<>&]")
_ESCAPED_BY_NET: Final = re.compile("[<>&'+`]|\\\\\"")


def secret_forms(secret: str) -> frozenset[str]:
    """Return a secret's forms: itself, in Base64, and as URLs, JSON, HTML and Python escape it."""
    in_json = json.dumps(secret, ensure_ascii=False)[1:-1]
    percent = urllib.parse.quote(secret, safe="")
    in_bytes = repr(secret.encode())[2:-1]
    return frozenset(
        {
            secret,
            percent,
            re.sub("%..", lambda found: found[0].lower(), percent),
            urllib.parse.quote(secret),
            urllib.parse.quote_plus(secret),
            base64.b64encode(secret.encode()).decode().rstrip("="),
            base64.urlsafe_b64encode(secret.encode()).decode().rstrip("="),
            in_json,
            json.dumps(secret)[1:-1],
            # As PHP, Go and .NET write it.
            in_json.replace("/", r"\/"),
            _ESCAPED_BY_GO.sub(lambda found: rf"\u{ord(found[0]):04x}", in_json),
            _ESCAPED_BY_NET.sub(lambda found: rf"\u{ord(found[0][-1]):04X}", in_json),
            html.escape(secret),
            html.escape(secret, quote=False),
            html.escape(secret).replace("&#x27;", "&#39;"),
            html.escape(secret).replace("&#x27;", "&#39;").replace("&quot;", "&#34;"),
            repr(secret)[1:-1],
            in_bytes,
            # Python's quotes depend on the text around it.
            in_bytes.replace("'", r"\'"),
            secret.replace("\\", r"\\").replace("'", r"\'"),
        }
    )
