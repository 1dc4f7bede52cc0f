"""Compilers that do not end in time are told as such."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from dataflare.authoring.templates import new_plugin
from dataflare.toolchain.guests import guest_of
from dataflare.toolchain.run_tool import BuildFailed


@pytest.mark.parametrize(
    ("language", "module"), [("c", "zig_toolchain"), ("go", "go_toolchain"), ("rust", "rust"), ("zig", "zig_toolchain")]
)
def test_compiler_that_did_not_end_is_not_told_as_one_that_ended(tmp_path: Path, language: str, module: str) -> None:
    new_plugin(tmp_path / "slow", kind="processor", language=language)
    error = BuildFailed("`compile` did not end within 600 s")
    explained = importlib.import_module(f"dataflare.toolchain.{module}")._explained(guest_of(tmp_path / "slow"), error)
    assert str(explained) == "`compile` did not end within 600 s"
