"""The documentation as a site: it builds, warnings are failures, and diagrams stay diagrams."""

from __future__ import annotations

import subprocess
import sys

import pytest

from doc_pages import ROOT

pytest.importorskip("mkdocs", reason="the extra `docs` is not installed")


def test_site_builds_without_a_warning_and_keeps_diagrams():
    ran = subprocess.run([sys.executable, "docs/site/build.py"], cwd=ROOT, capture_output=True, text=True, timeout=300)

    assert ran.returncode == 0, ran.stderr
    page = (ROOT / "build/site/docs/explanation/architecture/index.html").read_text(encoding="utf-8")
    assert '<pre class="mermaid">' in page
    tutorial = (ROOT / "build/site/docs/tutorial/first-plugin/index.html").read_text(encoding="utf-8")
    assert "```" not in tutorial and "file=mask-emails" not in tutorial
    assert "reference/inference" in page
