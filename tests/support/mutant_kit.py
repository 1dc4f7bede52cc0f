"""The plugins and hosts that are broken on purpose."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from dataflare import Host
from dataflare.runtime.ports import Engine
from dataflare.testing.native import PythonEngine

__all__ = ["module", "native_engine", "native_host"]

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


class _MutantEngine(PythonEngine):
    def exports(self) -> Mapping[str, type]:
        made = super().exports()
        faulty = getattr(self.plugin, "Lifecycle", None)
        return made if faulty is None else {**made, "Lifecycle": type("Lifecycle", (faulty, made["Lifecycle"]), {})}


def native_engine(name: str, plugin: str) -> PythonEngine:
    """An engine that runs a plugin of such a module, by its class's name.

    If it has a class `Lifecycle`, that one's methods are in the place of those that the SDK makes.
    """
    made = module(name)
    found = getattr(made, plugin)
    return _MutantEngine(found, getattr(found, "needs", getattr(made, "NEEDS", ())))


def native_host(name: str, plugin: str, **options: Any) -> Host:
    """A host whose plugin is that one; another process can make it too."""
    return Host(engine=cast(Engine, native_engine(name, plugin)), **options)
