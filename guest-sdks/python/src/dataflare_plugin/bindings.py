"""The bindings of the plugin's world; outside of a component, the host's own code behind the same names."""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType

if importlib.util.find_spec("componentize_py_types") is None:
    from dataflare.testing.bindings import install

    install()

from componentize_py_types import Err
from wit_world.imports import batches, config, expressions, logging, schemas, types

__all__ = ["Err", "batches", "config", "expressions", "interface", "logging", "schemas", "types"]


def interface(name: str) -> ModuleType:
    """A host interface that the plugin's `plugin.yaml` has to list under `needs`."""
    try:
        return importlib.import_module(f"wit_world.imports.{name}")
    except ImportError:
        raise ImportError(f"the plugin uses {name}, which its plugin.yaml does not list: needs: [{name}]") from None
