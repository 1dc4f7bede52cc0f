"""A hook of the site's generator: what pages hold for the repository alone goes.

Links to files that are not pages become plain text, and fenced blocks lose the marks that say how they are tested: the
generator would not take such a block for code.
"""

from __future__ import annotations

import re
from typing import Any

_MARKS = re.compile(r"^( *```\w+) .+$", re.MULTILINE)
_LINK = re.compile(r"\[(?P<text>[^\]]+)\]\((?P<target>[^)\s]+)\)")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace links that lead neither to a page, nor to a heading, nor to another site, and remove marks."""
    shown = _MARKS.sub(r"\1", markdown)
    return _LINK.sub(lambda link: link[0] if _is_page(link["target"]) else link["text"], shown)


def _is_page(target: str) -> bool:
    return target.startswith(("#", "http://", "https://")) or target.partition("#")[0].endswith(".md")
