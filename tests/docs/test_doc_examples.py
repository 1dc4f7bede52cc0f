from __future__ import annotations

import ast
import contextlib
import importlib.util
import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

import dataflare
from dataflare.documents.reader import parse_document
from dataflare.pipeline.models import Pipeline
from doc_pages import LANGUAGES_TO_RUN, ROOT, Block, Page, as_pattern, pages, parse, run_page
from guest_kit import component
from postgres_kit import server

PAGES = pages()
SLOW = (
    pytest.mark.slow,
    # These build a guest. Where CI runs, a missing toolchain is a failure.
    pytest.mark.skipif(
        importlib.util.find_spec("componentize_py") is None and os.environ.get("CI") != "true",
        reason="componentize-py is not installed",
    ),
)
WITH_THE_WHEEL = "docs/how-to/embed-any-world.md"
"""The page that `tests/authoring/test_wheel.py` runs."""
WITH_A_SERVER = "docs/tutorial/api-to-postgresql.md"
"""The page that needs PostgreSQL."""
GUESTS = {WITH_A_SERVER: ["page-source"], "docs/how-to/combine-flows.md": ["range-validator"]}
"""The components that pages need, and that are built before."""
RUNNABLE = [
    pytest.param(page, id=page.name, marks=SLOW if page.is_slow else ())
    for page in PAGES
    if page.is_runnable and page.name not in (WITH_THE_WHEEL, WITH_A_SERVER)
]


@pytest.mark.parametrize("page", RUNNABLE)
def test_examples_of_page_do_what_it_says(page: Page, tmp_path: Path):
    place_guests(GUESTS.get(page.name, ()), tmp_path)
    run_page(page, tmp_path)


def place_guests(names: Iterable[str], folder: Path) -> None:
    """Put components where `make guests` does."""
    for name in names:
        path = folder / f"build/guests/{name}.wasm"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(component(name).read_bytes())


def test_tutorial_with_a_database_does_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (page,) = (each for each in PAGES if each.name == WITH_A_SERVER)
    place_guests(GUESTS[page.name], tmp_path)
    with server() as postgres:
        monkeypatch.setenv("PGHOST", str(postgres.folder))
        monkeypatch.setenv("PGUSER", "tester")
        try:
            run_page(page, tmp_path)
        finally:
            if (pid := tmp_path / "build/api/pid").is_file():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid.read_text()), signal.SIGKILL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_shell_and_python_block_says_whether_it_is_run(page: Page):
    for block in page.blocks:
        if block.language in LANGUAGES_TO_RUN:
            assert block.marks.keys() & {"run", "shown", "file"}, f"{page.name}:{block.line}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_python_block_is_python(page: Page):
    for block in page.blocks:
        if block.language == "python":
            ast.parse(block.text, f"{page.name}:{block.line}")


def test_example_in_docstring_of_package_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    blocks: list[Block] = list(parse(dataflare.__doc__ or ""))
    assert [block.language for block in blocks] == ["python"]
    component = ROOT / "guest-sdks/rust/components/json-mapper.wasm"
    (tmp_path / "json-mapper.wasm").write_bytes(component.read_bytes())
    monkeypatch.chdir(tmp_path)
    exec(compile(blocks[0].text, "dataflare", "exec"), {})


def test_embedding_example_prints_the_rows_with_a_new_column():
    done = subprocess.run(
        [sys.executable, ROOT / "examples/embed/embed.py"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(Path(dataflare.__file__).parents[1])},
        cwd="/",
    )
    assert done.stdout.splitlines() == [
        "{'amount': 12.5, 'quantity': 4, 'each': 3.125}",
        "{'amount': 80.0, 'quantity': 16, 'each': 5.0}",
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_pipeline_that_is_shown_fits_the_model(page: Page):
    for block in page.blocks:
        if block.language == "yaml" and block.text.startswith(("name:", "#")) and "nodes:" in block.text:
            document = parse_document(block.text.encode(), name=f"{page.name}:{block.line}")
            assert Pipeline.model_validate(document.value).nodes


def test_three_dots_stand_for_any_lines_or_any_text():
    assert as_pattern("begin\n...\nrow ... of 3\n").fullmatch("begin\n1\n2\nrow 2 of 3")
    assert not as_pattern("row ... of 3\n").fullmatch("row 1\nof 3")
    assert not as_pattern("a.b\n").fullmatch("axb")
