"""What the reference says of other generators, asked of them: of wasmtime-py, of jco and of componentize-py."""

from __future__ import annotations

import ast
import dataclasses
import enum
import importlib
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import wasmtime
from wasmtime import component as wc

from bindings_kit import files_of, imported
from dataflare.engine.abi.types import EnumT, FlagsT, ListT, PrimT, RecordT, ResultT, Type, VariantT
from dataflare.toolchain.javascript import npm_packages
from dataflare.toolchain.run_tool import ToolchainMissing, run
from doc_pages import ROOT
from wat_kit import API, echo

WIT = """package test:compared@1.0.0;
interface api {
  record point { x-at: f64, y: u8 }
  variant shape { circle(f64), none, spot(point) }
  enum color { red, dark-blue }
  flags perms { read, write-all }
  echo: func(p: point, s: shape, c: color, f: perms, b: list<u8>, n: list<f64>) -> result<u32, string>;
}
world compared { export api; }
"""
F64, STRING, U32 = PrimT("f64"), PrimT("string"), PrimT("u32")


def through_wasmtime_py(ty: Type, value: Any) -> Any:
    """A value, as a component that wasmtime-py runs hands it out."""
    engine = wasmtime.Engine()
    store, linker, compiled = wasmtime.Store(engine), wc.Linker(engine), wc.Component(engine, echo(ty))
    with linker.root() as root, root.add_instance("test:kit/host@1.0.0") as kit:
        kit.add_func("echo", lambda _, given: given)
    instance = linker.instantiate(store, compiled)
    interface = compiled.get_export_index(API)
    assert interface is not None
    index = compiled.get_export_index("echo", interface)
    assert index is not None
    function = instance.get_func(store, index)
    assert function is not None
    return function(store, value)


@pytest.mark.parametrize(
    ("ty", "value", "shown"),
    [
        (RecordT((("x-at", F64), ("y", PrimT("u8")))), SimpleNamespace(**{"x-at": 1.5, "y": 2}), "object"),
        (VariantT((("circle", F64), ("text", STRING))), 1.5, "value"),
        (VariantT((("circle", F64), ("square", F64))), wc.Variant("circle", 1.5), "Variant"),
        (EnumT(("red", "dark-blue")), "dark-blue", "str"),
        (FlagsT(("read", "write-all")), {"write-all"}, "set"),
        (ListT(PrimT("u8")), b"ab", "bytes"),
        (ListT(F64), [1.5, 2.5], "list"),
        (ResultT(U32, STRING), 7, "value"),
        (ResultT(STRING, STRING), wc.Variant("ok", "text"), "Variant"),
    ],
    ids=lambda each: "" if not isinstance(each, str) else each,
)
def test_wasmtime_py_has_values_of_these_shapes(ty: Type, value: Any, shown: str) -> None:
    found = through_wasmtime_py(ty, value)
    match shown:
        case "object":
            assert vars(found) == {"x-at": 1.5, "y": 2}
        case "Variant":
            assert (type(found), found.tag, found.payload) == (wc.Variant, value.tag, value.payload)
        case "value":
            assert found == value
        case _:
            assert type(found).__name__ == shown and found == value


def test_jco_declares_values_of_these_shapes(tmp_path: Path) -> None:
    (tmp_path / "wit").mkdir()
    (tmp_path / "wit" / "compared.wit").write_text(WIT)
    try:
        jco = npm_packages(ROOT / "guest-sdks" / "javascript") / "node_modules" / ".bin" / "jco"
    except ToolchainMissing as missing:
        pytest.skip(missing.message)
    run(["node", jco, "types", "wit", "-n", "compared", "-o", "types"], cwd=tmp_path)
    (declared,) = (tmp_path / "types" / "interfaces").glob("*.d.ts")
    text = " ".join(declared.read_text().split())
    for each in (
        "export interface Point { xAt: number, y: number, }",
        "export interface ShapeCircle { tag: 'circle', val: number, }",
        "export type Color = 'red' | 'dark-blue';",
        "export interface Perms { read?: boolean, writeAll?: boolean, }",
        "b: Uint8Array, n: Float64Array): number;",
    ):
        assert each in text, text


def test_componentize_py_writes_types_of_these_shapes(tmp_path: Path) -> None:
    pytest.importorskip("componentize_py")
    (tmp_path / "wit").mkdir()
    (tmp_path / "wit" / "compared.wit").write_text(WIT)
    script = "import sys, componentize_py; sys.exit(componentize_py.script())"
    arguments = ["-d", str(tmp_path / "wit"), "-w", "compared", "bindings", str(tmp_path / "theirs")]
    subprocess.run([sys.executable, "-c", script, *arguments], check=True, capture_output=True)
    exports = tmp_path / "theirs" / "wit_world" / "exports"
    classes = {
        each.name: each for each in ast.parse((exports / "api.py").read_text()).body if isinstance(each, ast.ClassDef)
    }
    assert {"Point", "Shape_Circle", "Shape_None_", "Shape_Spot", "Color", "Perms"} <= set(classes)
    for name in ("Point", "Shape_Circle"):
        assert [ast.unparse(each) for each in classes[name].decorator_list] == ["dataclass"]
    assert [ast.unparse(classes[name].bases[0]) for name in ("Color", "Perms")] == ["Enum", "Flag"]
    text = (exports / "__init__.py").read_text()
    assert "b: bytes, n: List[float]) -> int:" in text and "Raises: `componentize_py_types.Err(" in text


def test_ours_are_of_these_shapes(tmp_path: Path) -> None:
    with imported(files_of(WIT), tmp_path) as bindings:
        api = importlib.import_module(f"{bindings.__name__}.api")
    assert dataclasses.is_dataclass(api.Point) and api.Point.__dataclass_params__.frozen  # type: ignore[attr-defined]
    assert {each.__name__ for each in api.Shape.__args__} == {"ShapeCircle", "ShapeNone", "ShapeSpot"}
    assert issubclass(api.Color, enum.Enum) and issubclass(api.Perms, enum.Flag)
    signature = (tmp_path / bindings.__name__ / "api.py").read_text()
    assert "b: _df.BytesLike" in signature and "n: _df.ArrayLikeF64" in signature
