"""Fragments of the changelog have names that the release can read."""

from __future__ import annotations

import re
import tomllib

from doc_pages import ROOT

KINDS = [
    kind["directory"] for kind in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["towncrier"]["type"]
]


def test_each_fragment_has_a_name_a_kind_and_a_text():
    fragments = [path for path in (ROOT / "changes").iterdir() if path.name != "README.md"]
    for path in fragments:
        assert re.fullmatch(rf"[a-z0-9]+(-[a-z0-9]+)*\.({'|'.join(KINDS)})\.md", path.name), path.name
        assert path.read_text(encoding="utf-8").strip().endswith("."), path.name


def test_kinds_are_those_that_the_readme_lists():
    text = (ROOT / "changes" / "README.md").read_text(encoding="utf-8")
    assert all(f"`{kind}`" in text for kind in KINDS)
