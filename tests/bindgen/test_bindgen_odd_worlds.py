"""Worlds with names and shapes that meet those of Python, of generated code, and of componentize-py."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bindings_kit import catalog_of, check_pyright, check_style, check_types, files_of, files_of_component, imported
from dataflare.bindgen.folder import write_folder
from dataflare.bindgen.generate import generate
from dataflare.bindgen.guest import generate_guest
from dataflare.bindgen.source import choose_world
from dataflare.engine.abi.convert import as_numbers
from dataflare.engine.engine import Engine
from dataflare.errors import ConfigError, ValueTypeError, WorldMismatch
from dataflare.runtime.host import Host
from dataflare.wit.model import WitError
from echo_world import EchoWorld
from round_trips import round_trip
from wat_kit import API

NAMES = """package a:b;
interface %result { record thing { x: u8 } enum bad { worse } f: func(); }
interface odd { record r { mro: bool, x: u8, y: list<f64> } f: func(r: r) -> r; }
interface user { use %result.{thing, bad}; i: func(t: thing) -> result<thing, bad>; }
world w {
  use %result.{thing, bad};
  import odd; export odd; import user; export user;
  import str: func(x: string, y: list<string>) -> string; import %list: func(x: list<u8>) -> list<string>;
  export str: func(x: string, y: list<string>) -> string; export bytes: func() -> list<u8>; export int: func() -> u8;
  export k: func() -> result<thing, bad>; export print: func(int: s64, str: string, %list: u8) -> tuple<s64, string>;
}
"""
USED = """package a:b;
interface types { record inner { x: u8 } record pair { i: inner } type pairs = list<pair>; g: func() -> pairs; }
interface user { use types.{pairs, pair as couple}; f: func(p: pairs) -> couple; }
interface user2 { use types.{pairs}; f: func(p: pairs); }
world w {
  import types; import user2; export user;
  import a: interface { record rec { x: u8 } f: func(r: rec); }
  import c: interface { record rec { x: u8 } f: func(r: rec); }
  export a: interface { record rec { y: u8 } f: func(r: rec); }
}
"""
RENAMED = """package a:b;
interface shapes { resource shape; resource area; record holder { s: shape, t: option<area> } g: func(a: area); }
interface user { use shapes.{holder as hold}; f: func(h: hold) -> hold; }
world w { import shapes; import user; }
"""
OWN = "package a:b;\nworld w { resource thing { constructor(); m: func(); } import f: func() -> thing; }"
WRONG = """package a:b;
interface j { resource r { m: func(x: u8) -> u8; } mk: func() -> r; nothing: func(); li: func() -> list<u16>; }
world w { import j; export num: func(x: u32) -> u32; }
"""


def binary_of(text: str, bindings: Any) -> tuple[bytes, Mapping[str, int]]:
    """A component for a world, and the number of each function that it calls."""
    echo = EchoWorld(catalog_of(text), "a:b/w", frozenset(bindings._abi.WORLD.imports))
    return echo.binary(), {each.name: each.number for each in echo.steered}


def test_names_of_builtins_and_of_generated_code_are_kept_apart(host: Host, tmp_path: Path) -> None:
    with imported(files_of(NAMES), tmp_path) as bindings:
        odd = importlib.import_module(f"{bindings.__name__}.odd")
        assert [each.name for each in fields(odd.R)] == ["mro_", "x", "y"]
        assert round_trip(host, bindings, catalog_of(NAMES), "a:b/w", examples=2) == 12
    write_folder(tmp_path / "w", files_of(NAMES))
    assert check_types(tmp_path / "w") == ""


@pytest.mark.skipif(importlib.util.find_spec("pyright") is None, reason="pyright is not installed")
def test_arrays_and_variants_of_any_length_are_known_to_pyright(tmp_path: Path) -> None:
    write_folder(tmp_path / "w", files_of(NAMES))
    cases = ", ".join(f"c{number}(u8)" for number in range(300))
    write_folder(
        tmp_path / "v", files_of(f"package a:b; interface i {{ variant v {{ {cases} }} }} world w {{ import i; }}")
    )
    assert check_pyright(tmp_path) == ""
    assert check_style(tmp_path) == ""


def test_bindings_of_a_component_alone_fit_the_component(engine: Engine, host: Host, tmp_path: Path) -> None:
    with imported(files_of(USED), tmp_path) as bindings:
        binary, _ = binary_of(USED, bindings)
    anything: Any = SimpleNamespace(**dict.fromkeys(("g", "f"), lambda *_: 1))
    imports = SimpleNamespace(types=anything, user2=anything, a=anything, c=anything)
    with imported(files_of_component(engine, binary), tmp_path) as bindings, bindings.Kit(binary, imports=imports):
        pass


def test_a_renamed_record_of_a_component_alone_may_hold_resources_of_elsewhere(engine: Engine, tmp_path: Path) -> None:
    with imported(files_of(RENAMED), tmp_path) as bindings:
        binary, _ = binary_of(RENAMED, bindings)
    files = files_of_component(engine, binary)
    assert "def f(self, h: _shapes.Holder) -> _shapes.Holder:" in files["user.py"]
    anything: Any = SimpleNamespace(f=lambda h: h, g=lambda a: None)
    with imported(files, tmp_path) as bindings:
        bindings.Kit(binary, imports=SimpleNamespace(shapes=anything, user=anything)).close()


def test_resources_of_the_world_itself_are_read_from_a_component(engine: Engine, tmp_path: Path) -> None:
    with imported(files_of(OWN), tmp_path) as bindings:
        binary, _ = binary_of(OWN, bindings)
    files = files_of_component(engine, binary)
    assert "class Thing(_t.Protocol):" in files["kit_types.py"]
    assert "def f(self) -> _kit_types.Thing:" in files["__init__.py"]


def test_types_that_both_sides_have_are_those_of_the_imports_in_stubs(tmp_path: Path) -> None:
    catalog = catalog_of(NAMES)
    files = generate_guest(catalog, choose_world(catalog, None, where="test"))
    write_folder(tmp_path / "stubs", files)
    (tmp_path / "plugin.py").write_text(
        "from wit_world import exports\nfrom wit_world.imports.result import Thing\n\n\n"
        "class User(exports.User):\n    def i(self, t: Thing) -> Thing:\n        return Thing(t.x)\n"
    )
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--no-incremental", "plugin.py", "stubs"]
    env = {"MYPYPATH": str(tmp_path / "stubs"), "PATH": ""}
    assert subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=env).stdout == ""


@pytest.mark.parametrize("isolation", ["none", "process-best-effort"])
def test_a_wrong_answer_is_named_with_its_function(host: Host, tmp_path: Path, isolation: str) -> None:
    class R:
        def m(self, x: int) -> int:
            return x

    def outcome(binary: bytes, number: int, answer: Any) -> Any:
        whole = SimpleNamespace(mk=lambda: answer, nothing=lambda: answer, li=lambda: answer)
        with bindings.W(binary, imports=SimpleNamespace(j=whole), host=host, isolation=isolation) as world:
            return world._instance.call(API, f"call-{number}")

    with imported(files_of(WRONG), tmp_path) as bindings:
        binary, numbers = binary_of(WRONG, bindings)
        for name, answer, said in (("mk", 5, "not a int"), ("mk", R, "itself"), ("li", np.array(["5"], object), "u16")):
            with pytest.raises(ValueTypeError, match=rf"a:b/j#{name} returned what does not fit: result: .*{said}"):
                outcome(binary, numbers[name], answer)
        assert outcome(binary, numbers["nothing"], 5) is None


@pytest.mark.parametrize("value", [1.5, "5", True, None])
def test_an_array_of_objects_is_no_way_around_the_check_of_numbers(value: object) -> None:
    with pytest.raises(TypeError):
        as_numbers(np.array([value], object), np.dtype("u2"))
    assert as_numbers(np.array([5], object), np.dtype("u2")).tolist() == [5]


def test_an_object_whose_call_is_async_is_refused(tmp_path: Path) -> None:
    class Later:
        async def __call__(self) -> int:
            return 1

    whole = SimpleNamespace(mk=Later(), nothing=lambda: None, li=lambda: [1])
    with imported(files_of(WRONG), tmp_path) as bindings, pytest.raises(ConfigError, match="is async"):
        bindings.W(b"", imports=SimpleNamespace(j=whole))


def test_too_long_a_type_is_named_with_its_place() -> None:
    aliases = " ".join(f"type a{i + 1} = tuple<a{i}, a{i}>;" for i in range(40))
    text = f"package a:b;\ninterface i {{ type a0 = list<u8>; {aliases} }}\nworld w {{ export i; }}"
    for write in (generate, generate_guest):
        with pytest.raises(WitError, match="more than 4000 characters") as caught:
            write(catalog_of(text), "a:b/w")
        assert caught.value.position.line == 2


def test_a_resource_in_place_of_another_type_is_named(host: Host, tmp_path: Path) -> None:
    with imported(files_of(WRONG), tmp_path) as bindings:
        binary, _ = binary_of(WRONG, bindings)
    other = WRONG.replace("mk: func() -> r;", "mk: func() -> list<r>;")
    whole = SimpleNamespace(mk=lambda: None, nothing=lambda: None, li=lambda: [1])
    with imported(files_of(other), tmp_path) as bindings, pytest.raises(WorldMismatch, match="is a resource, not list"):
        bindings.W(binary, imports=SimpleNamespace(j=whole), host=host)
