"""The plugins and hosts that are broken on purpose."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

__all__ = ["module"]

_FOLDER = Path(__file__).parents[2] / "conformance" / "mutants"


def module(name: str) -> Any:
    """A module of `conformance/mutants`."""
    found = sys.modules.get(f"mutants_{name}")
    if found is None:
        spec = importlib.util.spec_from_file_location(f"mutants_{name}", _FOLDER / f"{name}.py")
        assert spec is not None and spec.loader is not None
        found = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(found)
    return found
