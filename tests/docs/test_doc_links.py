from __future__ import annotations

import re
from pathlib import Path

import pytest

from doc_pages import ROOT, Page, pages

PAGES = pages()
LINK = re.compile(r"\]\(([^)\s]+)\)")
MEASURED = Path("docs/explanation/performance.md")
"""Written by `make bench`, so a checkout may be without it."""


def links(page: Page) -> list[str]:
    text = page.path.read_text(encoding="utf-8")
    return [found for found in LINK.findall(text) if not found.startswith(("https://", "http://"))]


def anchors(path: Path) -> set[str]:
    found = set()
    for line in path.read_text(encoding="utf-8").splitlines():
        if heading := re.match(r"#+ (.*)", line):
            bare = re.sub(r"[^\w\- ]", "", heading[1].lower())
            found.add(bare.replace(" ", "-"))
        found.update(re.findall(r'<a id="([^"]+)">', line))
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_and_headings_that_exist(page: Page):
    for link in links(page):
        file, _, anchor = link.partition("#")
        target = (page.path.parent / file).resolve() if file else page.path
        if target == ROOT / MEASURED and not target.exists():
            continue
        assert target.exists(), f"{page.name}: {link}"
        if anchor:
            assert anchor in anchors(target), f"{page.name}: {link}"


def test_index_of_documentation_leads_to_every_page():
    index = ROOT / "docs" / "README.md"
    listed = {(index.parent / link.partition("#")[0]).resolve() for link in links(Page(index))}
    found = {page.path for page in PAGES if page.path.is_relative_to(ROOT / "docs")}
    decisions = {path for path in found if path.parent.name == "adr" and path.name != "README.md"}
    assert found - decisions - {index} - listed == set()


def test_index_of_decisions_lists_each_of_them_with_its_title():
    folder = ROOT / "docs" / "adr"
    text = (folder / "README.md").read_text(encoding="utf-8")
    for path in sorted(folder.glob("[0-9]*.md")):
        number, title = re.match(r"# (\d+)\. (.*)", path.read_text(encoding="utf-8")).groups()
        assert path.name.startswith(f"{int(number):04}-")
        assert f"{number}. [{title}]({path.name})" in " ".join(text.split())
