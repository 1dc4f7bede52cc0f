"""What generated code looks like, and what checks it."""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from pathlib import Path

import pytest

from bindings_kit import check_pyright, check_style, check_types, files_of, imported
from dataflare.bindgen.folder import write_folder

CALCULATOR = (Path(__file__).parent / "calculator.wit").read_text()


def test_generated_code_passes_the_checks_of_types_and_style(tmp_path: Path) -> None:
    write_folder(tmp_path / "calculator", files_of(CALCULATOR))
    assert check_types(tmp_path / "calculator") == ""
    assert check_style(tmp_path / "calculator") == ""


@pytest.mark.skipif(find_spec("pyright") is None, reason="pyright is not installed")
@pytest.mark.parametrize("version", ["3.11", "3.14"])
def test_generated_code_passes_pyright_for_every_python(tmp_path: Path, version: str) -> None:
    write_folder(tmp_path / "calculator", files_of(CALCULATOR))
    assert check_pyright(tmp_path / "calculator", version) == ""
    if version == "3.11":
        return
    with (tmp_path / "calculator" / "geometry.py").open("a") as file:
        file.write("\nPoint(1, 2)\n")
    assert "reportCallIssue" in check_pyright(tmp_path / "calculator", version)


def test_the_same_world_gives_the_same_text() -> None:
    assert files_of(CALCULATOR) == files_of(CALCULATOR)


def test_types_have_the_shapes_that_the_reference_says(tmp_path: Path) -> None:
    with imported(files_of(CALCULATOR), tmp_path) as bindings:
        geometry = importlib.import_module(f"{bindings.__name__}.geometry")
        assert [each.name for each in geometry.HTTPLevel] == ["DEBUG", "HTTP_ERROR", "NONE"]
        assert (geometry.Perms.READ | geometry.Perms.EXEC).value == 5
        assert geometry.ShopErrorOther("x") == geometry.ShopErrorOther("x")
        assert bindings.Calculator.evaluate.__doc__ is not None
