"""An interrupt may come before an object is made to its end; what cleans up after it must take what is there."""

from __future__ import annotations

import ast
import gc
import importlib
import sys
from pathlib import Path

import pytest

import dataflare

ROOT = Path(dataflare.__file__).parent


def cleaning_classes() -> list[str]:
    """All classes with a `__del__`, as `module:Class`."""
    found = []
    for path in sorted(ROOT.rglob("*.py")):
        module = ".".join(("dataflare", *path.relative_to(ROOT).with_suffix("").parts))
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef) and any(getattr(each, "name", "") == "__del__" for each in node.body):
                found.append(f"{module}:{node.name}")
    return found


@pytest.mark.parametrize("place", cleaning_classes())
def test_object_whose_init_never_ran_goes_without_an_error(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module, _, name = place.partition(":")
    made = getattr(importlib.import_module(module), name)
    errors: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda found: errors.append(found.exc_value))
    made.__new__(made)
    gc.collect()
    assert not errors


def test_all_classes_that_clean_up_are_found() -> None:
    assert "dataflare.runtime.isolation.spawn:Process" in cleaning_classes()
