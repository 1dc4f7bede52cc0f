"""Stubs for plugins in Python."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from dataflare.bindgen.folder import write_folder
from dataflare.bindgen.guest import generate_guest
from dataflare.bindgen.source import choose_world, read_wit

CALCULATOR = Path(__file__).parent / "calculator.wit"
PLUGIN = """
from componentize_py_types import Err
from wit_world.exports import Ops, ops
from wit_world.imports import geometry, log


class Counter(ops.Counter):
    def __init__(self, start: int) -> None:
        self.total = start

    def add(self, n: int) -> int:
        self.total += n
        return self.total

    def close(self) -> None:
        log.write(geometry.HttpLevel.DEBUG, "closed")


def check(plugin: Ops) -> geometry.Point:
    try:
        with log.Bucket("x") as bucket:
            names: list[str] = bucket.list()
            key: bytes | None = bucket.get(names[0])
    except Err as error:
        raise Err(geometry.ShopError_Other(str(error.value))) from error
    return plugin.add(geometry.Point(1.0, 2, [], [0.5], None), 3.0)
"""


def stubs(wit: Path, folder: Path) -> dict[str, str]:
    catalog = read_wit(wit)
    files = generate_guest(catalog, choose_world(catalog, None, where="test"))
    write_folder(folder, files)
    return files


def mypy(folder: Path, plugin: str) -> str:
    (folder.parent / "plugin.py").write_text(plugin)
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--no-incremental", "plugin.py"]
    found = subprocess.run(
        command, capture_output=True, text=True, cwd=folder.parent, env={"MYPYPATH": str(folder), "PATH": ""}
    )
    return found.stdout + found.stderr


def test_a_plugin_is_checked_against_the_stubs(tmp_path: Path) -> None:
    stubs(CALCULATOR, tmp_path / "stubs")
    assert mypy(tmp_path / "stubs", PLUGIN) == ""
    wrong = mypy(tmp_path / "stubs", PLUGIN.replace("[0.5], None), 3.0", "[0.5], None), '3'"))
    assert 'incompatible type "str"' in wrong


def test_stubs_have_the_names_that_componentize_py_gives(tmp_path: Path) -> None:
    text = CALCULATOR.read_text()
    # componentize-py writes a docstring with quotes as it is, which then is not Python.
    text = re.sub(r"///.*", "", text).replace("self: f64", "other: f64").replace("export close: func();", "")
    ours, theirs = both(tmp_path, text, "calculator")
    for name in ours:
        assert _names(ours[name]) == _names((theirs / name.replace(".pyi", ".py")).read_text()), name


def test_interfaces_of_one_name_are_called_as_componentize_py_calls_them(tmp_path: Path) -> None:
    kinds = "interface cfg { record r { x: u8 } f: func(r: r); } interface solo { use cfg.{r}; g: func() -> r; }"
    packages = " ".join(f"package {each} {{ {kinds} }}" for each in ("b:one", "b:two@1.0.0", "b:two@2.0.0-rc.1"))
    text = f"""package a:main@1.0.0; {kinds}
    world w {{ import cfg; import b:one/cfg; import b:two/cfg@1.0.0; import b:two/cfg@2.0.0-rc.1; import solo;
      export cfg; export b:two/cfg@1.0.0; export b:two/cfg@2.0.0-rc.1; export b:one/solo; }} {packages}"""
    ours, theirs = both(tmp_path, text, "w")
    of_both = {f"wit_world/{each}" for each in ("imports/b_two_cfg_2_0_0_rc_1.pyi", "exports/a_main_cfg.pyi")}
    assert of_both < set(ours)
    for folder in ("imports", "exports"):
        here = {Path(name).stem for name in ours if name.startswith(f"wit_world/{folder}/")}
        assert here == {each.stem for each in (theirs / "wit_world" / folder).glob("*.py")}
    exports = (theirs / "wit_world" / "exports" / "__init__.py").read_text()
    assert _names(ours["wit_world/exports/__init__.pyi"]) == _names(exports)
    assert mypy(tmp_path / "ours", "from wit_world.exports import BTwoCfg100\n") == ""


def test_types_that_stand_in_the_world_itself_are_in_its_module(tmp_path: Path) -> None:
    text = """package a:b; interface i { record p { x: u8 } }
    world w { use i.{p}; record r { p: p, e: e } enum e { a, b-c } variant v { one(r), none, true }
      record false { x: u8 } flags fl { a, b }
      type al = list<r>; import f: func(r: r) -> result<v, e>; export g: func(a: al) -> fl; export h: func() -> p; }"""
    ours, theirs = both(tmp_path, text, "w")
    assert _names(ours["wit_world/__init__.pyi"]) == _names((theirs / "wit_world" / "__init__.py").read_text())
    assert mypy(tmp_path / "ours", "from wit_world import E, R, V, f\ndef g(r: R) -> V:\n    return f(r)\n") == ""


def test_records_without_fields_are_written(tmp_path: Path) -> None:
    (tmp_path / "w.wit").write_text("package a:b; interface i { record none { } } world w { import i; export i; }")
    for name, text in stubs(tmp_path / "w.wit", tmp_path / "ours").items():
        compile(text, name, "exec")


def both(tmp_path: Path, text: str, world: str) -> tuple[dict[str, str], Path]:
    """Our stubs, and the folder of what componentize-py writes."""
    pytest.importorskip("componentize_py")
    (tmp_path / "wit").mkdir()
    (tmp_path / "wit" / "world.wit").write_text(text)
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    script = "import sys, componentize_py; sys.exit(componentize_py.script())"
    arguments = ["-d", str(tmp_path / "wit"), "-w", world, "bindings", str(theirs)]
    subprocess.run([sys.executable, "-c", script, *arguments], check=True, capture_output=True)
    return stubs(tmp_path / "wit", tmp_path / "ours"), theirs


def _names(source: str) -> set[str]:
    """The classes, functions, methods, fields and members of a module, without private names and aliases."""
    found: set[str] = set()

    def walk(body: list[ast.stmt], before: str) -> None:
        for node in body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef):
                found.add(before + node.name)
            if isinstance(node, ast.ClassDef):
                walk(node.body, f"{before}{node.name}.")
            elif isinstance(node, ast.Assign | ast.AnnAssign) and before:
                target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
                found.add(f"{before}{ast.unparse(target)}")

    walk(ast.parse(source).body, "")
    return {name for name in found if not name.startswith("_")}
