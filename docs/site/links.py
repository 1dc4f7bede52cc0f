"""A hook of the site's generator: links to files that are not pages become plain text.

The repository has them; a site does not.
"""

from __future__ import annotations

import re
from typing import Any

_LINK = re.compile(r"\[(?P<text>[^\]]+)\]\((?P<target>[^)\s]+)\)")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace links that lead neither to a page, nor to a heading, nor to another site."""
    return _LINK.sub(lambda link: link[0] if _is_page(link["target"]) else link["text"], markdown)


def _is_page(target: str) -> bool:
    return target.startswith(("#", "http://", "https://")) or target.partition("#")[0].endswith(".md")
