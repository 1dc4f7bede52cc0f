"""Bindings that are generated, imported and checked within a test."""

from __future__ import annotations

import importlib
import itertools
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum, Flag
from pathlib import Path
from typing import Any

from dataflare.bindgen.folder import write_folder
from dataflare.bindgen.generate import generate
from dataflare.bindgen.reflected import reflected_catalog
from dataflare.bindgen.source import choose_world
from dataflare.engine.abi.types import (
    BorrowT,
    EnumT,
    FlagsT,
    ListT,
    OptionT,
    OwnT,
    PrimT,
    RecordT,
    ResultT,
    TupleT,
    Type,
    VariantT,
)
from dataflare.engine.engine import Engine
from dataflare.values import Err, Ok, Some, Variant
from dataflare.wit.catalog import Catalog
from dataflare.wit.model import Package
from dataflare.wit.parser import parse
from dataflare.wit.resolve import resolve
from wit_strategies import snake

_BIN = Path(sys.executable).parent
_names = (f"bindings{number}" for number in itertools.count())


def catalog_of(text: str) -> Catalog:
    """The packages of WIT as text."""
    document = parse(text)
    assert document.name is not None
    root = Package(name=document.name, interfaces=document.interfaces, worlds=document.worlds, uses=document.uses)
    return resolve([root, *document.nested])


def files_of(text: str, world: str | None = None) -> dict[str, str]:
    """The bindings of WIT as text."""
    catalog = catalog_of(text)
    return generate(catalog, choose_world(catalog, world, where="test"))


def files_of_component(engine: Engine, binary: bytes, name: str = "kit") -> dict[str, str]:
    """The bindings of a component alone."""
    catalog, world = reflected_catalog(engine.shape(binary, name=name), component=name, name=name)
    return generate(catalog, world)


@contextmanager
def imported(files: dict[str, str], folder: Path) -> Iterator[Any]:
    """The package of these files."""
    name = next(_names)
    write_folder(folder / name, files)
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        yield importlib.import_module(name)
    finally:
        sys.path.remove(str(folder))
        for each in [each for each in sys.modules if each.partition(".")[0] == name]:
            del sys.modules[each]


def check_types(folder: Path, *, stubs: bool = False) -> str:
    """What mypy says of a folder, with --strict and no settings of this project; empty if it finds nothing.

    With `stubs`, the folder is that of a plugin's stubs, whose modules import each other from there.
    """
    root = Path(__file__).parents[2]
    command = [str(_BIN / "mypy"), "--strict", "--config-file=", "--no-error-summary", "--python-version=3.11"]
    command += [f"--cache-dir={root / '.mypy_cache' / 'bindings'}", str(folder)]
    environment = {**os.environ, "MYPYPATH": str(folder)} if stubs else None
    done = subprocess.run(command, capture_output=True, text=True, cwd=root, env=environment)
    return done.stdout + done.stderr


def check_pyright(folder: Path, version: str = "3.11") -> str:
    """What pyright says of a folder, for a version of Python; empty if it finds nothing."""
    command = [str(_BIN / "pyright"), "--pythonpath", sys.executable, "--pythonversion", version, str(folder)]
    found = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    return "" if found.returncode == 0 else found.stdout + found.stderr


def check_lint(folder: Path) -> str:
    """What ruff says of a folder; empty if it finds nothing."""
    rules = ["--isolated", "--select", "E4,E7,E9,F,I,UP,B,SIM", str(folder)]
    return subprocess.run([str(_BIN / "ruff"), "check", "-q", *rules], capture_output=True, text=True).stdout


def check_style(folder: Path) -> str:
    """What ruff says of a folder; empty if it finds nothing and would format nothing anew."""
    formatted = subprocess.run(
        [str(_BIN / "ruff"), "format", "--isolated", "--diff", "-q", str(folder)], capture_output=True, text=True
    )
    return check_lint(folder) + formatted.stdout


def made(ty: Type | None, value: Any) -> Any:
    """A value of the shapes of `dataflare.values` with the classes that its type names."""
    match ty:
        case RecordT(made=type() as cls):
            return cls(*(made(t, getattr(value, snake(name))) for name, t in ty.fields))
        case VariantT(made=tuple() as classes):
            index = next(i for i, (name, _) in enumerate(ty.cases) if name == value.case)
            payload = ty.cases[index][1]
            return classes[index]() if payload is None else classes[index](made(payload, value.value))
        case EnumT(made=type() as cls):
            return list(cls)[ty.names.index(value)]
        case FlagsT(made=type() as cls):
            members = list(cls)
            found = cls(0)
            for name in value:
                found |= members[ty.names.index(name)]
            return found
        case ListT(element=PrimT()):
            return value
        case ListT():
            return [made(ty.element, each) for each in value]
        case OptionT():
            if value is None:
                return None
            return Some(made(ty.inner, value.value)) if isinstance(ty.inner, OptionT) else made(ty.inner, value)
        case ResultT():
            return Ok(made(ty.ok, value.value)) if isinstance(value, Ok) else Err(made(ty.err, value.error))
        case TupleT():
            return tuple(made(t, each) for t, each in zip(ty.items, value, strict=True))
        case _:
            return value


def unmade(ty: Type | None, value: Any) -> Any:
    """The opposite of `made`; checks on the way that every class is the one that the type names."""
    match ty:
        case RecordT(made=type() as cls):
            assert type(value) is cls
            fields = [unmade(t, getattr(value, n)) for n, (_, t) in zip(cls.__match_args__, ty.fields, strict=True)]
            return _Fields(dict(zip((snake(name) for name, _ in ty.fields), fields, strict=True)))
        case VariantT(made=tuple() as classes):
            name, payload = ty.cases[classes.index(type(value))]
            return Variant(name, None if payload is None else unmade(payload, value.value))
        case EnumT(made=type() as cls):
            assert isinstance(value, Enum) and type(value) is cls
            return ty.names[list(cls).index(value)]
        case FlagsT(made=type() as cls):
            assert isinstance(value, Flag) and type(value) is cls
            return frozenset(name for name, member in zip(ty.names, cls, strict=True) if member in value)
        case ListT(element=PrimT()):
            return value
        case ListT():
            return [unmade(ty.element, each) for each in value]
        case OptionT():
            if value is None:
                return None
            return Some(unmade(ty.inner, value.value)) if isinstance(ty.inner, OptionT) else unmade(ty.inner, value)
        case ResultT():
            return Ok(unmade(ty.ok, value.value)) if isinstance(value, Ok) else Err(unmade(ty.err, value.error))
        case TupleT():
            return tuple(unmade(t, each) for t, each in zip(ty.items, value, strict=True))
        case OwnT() | BorrowT():
            return getattr(value, "_resource", value)
        case _:
            return value


class _Fields:
    def __init__(self, fields: dict[str, Any]) -> None:
        self.__dict__.update(fields)
