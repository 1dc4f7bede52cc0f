from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

import dataflare
from dataflare.cli import output
from dataflare.interfaces import FREE, NEEDS_GRANT
from dataflare.pipeline.report import NodeReport, RunReport
from doc_pages import ROOT

REFERENCE = ROOT / "docs" / "reference"


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_reference_generate", REFERENCE / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", sorted(REFERENCE.glob("*.md")), ids=lambda page: page.name)
def test_generated_parts_are_current(page: Path, generate: ModuleType):
    assert page.read_text(encoding="utf-8") == generate.updated(page), "run: python docs/reference/generate.py"


def test_reference_names_everything_that_is_public():
    text = "".join((REFERENCE / name).read_text(encoding="utf-8") for name in ("python-api.md", "errors.md"))
    assert [name for name in dataflare.__all__ if f"`{name}" not in text] == []


def test_reference_has_every_exit_code():
    codes = {value for name, value in vars(output).items() if name.startswith("EXIT_")} | {0}
    rows = (REFERENCE / "cli.md").read_text(encoding="utf-8").partition("## Exit codes")[2].splitlines()
    assert {
        int(row.split("|")[1]) for row in rows if row.startswith("| ") and row.split("|")[1].strip().isdigit()
    } == codes


def test_page_on_reports_has_every_key_of_a_report_and_no_other():
    text = (ROOT / "docs/how-to/read-run-reports.md").read_text(encoding="utf-8")
    run, _, node = text.partition("## The run")[2].partition("## A run that fails")[0].partition("## A node")
    assert keys_of_table(run) == RunReport("p").to_json().keys() | {"error"}
    assert keys_of_table(node) == NodeReport("n", "source", "csv a.csv").to_json().keys()


def keys_of_table(text: str) -> set[str]:
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    return {key for row in rows for key in re.findall(r"`(\w+)`", row)}


def test_page_on_the_capability_model_has_every_interface_of_the_host():
    text = (ROOT / "docs/explanation/capability-model.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1:3] for line in text.splitlines() if line.startswith("| `")]
    shown = {meaning.split()[0]: set(re.findall(r"`([a-z]+)`", names)) for names, meaning in rows}
    assert (shown["every"], shown["must"]) == (FREE, NEEDS_GRANT)


def test_page_on_builds_has_the_sizes_of_the_committed_components():
    text = (ROOT / "docs/how-to/build-guests.md").read_text(encoding="utf-8")
    sizes = [path.stat().st_size / 1000 for path in (ROOT / "guest-sdks/rust/components").glob("*.wasm")]
    least, most = re.findall(r"(\d+) to (\d+) KB", text)[0]
    assert min(sizes) == pytest.approx(int(least), rel=0.1) and max(sizes) == pytest.approx(int(most), rel=0.1)


def test_page_without_generated_parts_stays_as_it_is(generate: ModuleType, tmp_path: Path):
    page = tmp_path / "page.md"
    page.write_text("# Words\n\n<!-- end -->\n")
    assert generate.updated(page) == "# Words\n\n<!-- end -->\n"
