"""Whether the tools of each language are on this machine."""

from __future__ import annotations

from dataclasses import dataclass

from dataflare.errors import DataflareError
from dataflare.toolchain.languages import load_tools, names

__all__ = ["Finding", "examine"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A language: the tools that its plugins are built with, or what is missing and how to get it."""

    language: str
    tools: str = ""
    missing: str = ""
    hint: str = ""

    def words(self) -> dict[str, str]:
        """What there is to say, by name."""
        return {key: value for key in ("tools", "missing", "hint") if (value := getattr(self, key))}


def examine() -> list[Finding]:
    """Look for the tools of all languages; nothing is installed."""
    found = []
    for language in names():
        try:
            found.append(Finding(language=language, tools=load_tools(language)()))
        except DataflareError as error:
            found.append(Finding(language=language, missing=error.message, hint=error.hint))
    return found
