"""Build the documentation as a site, in build/site: `make docs`.

The pages are those that the repository shows, at the same places, so that a link works in both. The navigation has the
order of docs/README.md.
"""

from __future__ import annotations

import logging
import re
import shutil
import sys
from pathlib import Path

from mkdocs.commands.build import build
from mkdocs.config import load_config

ROOT = Path(__file__).resolve().parents[2]
PAGES = ROOT / "build" / "site-pages"
PROJECT = (
    "guest-sdks/README.md",
    "plugins/README.md",
    "benches/README.md",
    "conformance/SPEC.md",
    "conformance/FORMAT.md",
    "conformance/ADAPTER.md",
    "conformance/PROBE.md",
    "CONTRIBUTING.md",
    "changes/README.md",
    "SECURITY.md",
    "CHANGELOG.md",
)
TOP = ("README.md", "wit/README.md", *PROJECT)
_HEADING = re.compile(r"^## (?P<title>[^:\n]+)", re.MULTILINE)
_ENTRY = re.compile(r"^- \[(?P<title>[^\]]+)\]\((?P<link>[^)#]+)\)", re.MULTILINE)


def navigation(index: str) -> list[object]:
    """Make the navigation from the text of docs/README.md: a section for each heading, a page for each entry."""
    parts: list[object] = [{"Start": ["README.md", "docs/README.md"]}]
    headings = list(_HEADING.finditer(index))
    for heading, end in zip(headings, [*(found.start() for found in headings[1:]), len(index)], strict=True):
        entries = _ENTRY.finditer(index, heading.end(), end)
        parts.append({heading["title"]: [{entry["title"]: _place(entry["link"])} for entry in entries]})
    decisions = [f"docs/adr/{path.name}" for path in sorted((ROOT / "docs" / "adr").glob("[0-9]*.md"))]
    return [
        *parts,
        {"Decisions": decisions},
        {"Project": list(PROJECT)},
    ]


def _place(link: str) -> str:
    """Where a page that docs/README.md links to lies in the repository."""
    return (ROOT / "docs" / link).resolve().relative_to(ROOT).as_posix()


def main() -> int:
    """Copy the pages and build the site; every warning, such as a link that leads nowhere, is a failure."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    shutil.rmtree(PAGES, ignore_errors=True)
    for path in [*(ROOT / name for name in TOP), *(ROOT / "docs").rglob("*.md")]:
        target = PAGES / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    nav = navigation((ROOT / "docs" / "README.md").read_text(encoding="utf-8"))
    build(load_config(str(Path(__file__).with_name("mkdocs.yml")), nav=nav, strict=True))
    print(f"built: {ROOT / 'build' / 'site' / 'index.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
