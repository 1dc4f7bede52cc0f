"""`--types`: types without a world, in the shapes of `dataflare.values`."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from bindings_kit import catalog_of, check_style, check_types, imported
from dataflare.bindgen.folder import differences, write_folder
from dataflare.bindgen.generate import generate_types
from dataflare.errors import ConfigError
from dataflare.values import Ok, Variant
from dataflare.wit.standard import standard

HERE = Path(__file__).parent
OURS = HERE.parents[1] / "host" / "dataflare" / "wit_types"
WIT = """package a:b@1.0.0;
/// Shapes.
interface shapes {
  /// A colour.
  enum colour { red, dark-blue }
  /// Rights.
  flags rights { read, write }
  resource canvas { draw: func(c: colour); }
  /// A form.
  variant form { circle(f64), polygon(list<f64>), /** Nothing. */ empty }
  record point { x: f64, y: f64, tag: option<string> }
  record drawing { on: borrow<canvas>, colour: colour, rights: rights, forms: list<form>, points: list<point>,
    heights: list<u32>, end: result<u8, string>, note: option<string>, author: option<option<string>> }
  draw: func(d: drawing);
}
interface empty { f: func(); }
interface again { use shapes.{point as place}; type places = list<place>; record %class { %from: place } }
world w { import shapes; record mine { a: u8 } import named: interface { record inner { b: u8 } } export empty; }
world other { record of-other { c: u8 } }
"""


def test_the_standards_own_types_are_up_to_date() -> None:
    assert differences(OURS, generate_types(standard())) == []


def test_types_have_the_shapes_of_values(tmp_path: Path) -> None:
    with imported(generate_types(catalog_of(WIT)), tmp_path) as package:
        shapes = importlib.import_module(f"{package.__name__}.shapes")
        assert get_args(shapes.Colour) == ("red", "dark-blue")
        assert (
            shapes.Form is Variant
            and "`circle` with a `f64`" in (tmp_path / package.__name__ / "shapes.py").read_text()
        )
        assert shapes.Point(1.0, 2.0) == shapes.Point(1.0, 2.0, None)
        heights = np.array([1, 2], np.uint32)
        given: list[Any] = [None, "red", frozenset({"read"}), [Variant("empty")], [], heights, Ok(1)]
        assert shapes.Drawing(*given) == shapes.Drawing(*given, None, None)
        with pytest.raises(TypeError):
            shapes.Drawing(*given[:-1])


def test_types_pass_the_checks_of_types_and_style(tmp_path: Path) -> None:
    write_folder(tmp_path / "drawings", generate_types(catalog_of(WIT)))
    assert check_types(tmp_path / "drawings") == ""
    assert check_style(tmp_path / "drawings") == ""


def test_a_world_narrows_the_types_to_its_own() -> None:
    every = {"shapes.py", "again.py", "w_types.py", "named.py", "other_types.py", "__init__.py", "py.typed"}
    assert set(generate_types(catalog_of(WIT))) == every
    assert set(generate_types(catalog_of(WIT), "a:b/w@1.0.0")) == every - {"again.py", "other_types.py"}


def test_nothing_but_functions_is_an_error() -> None:
    with pytest.raises(ConfigError, match="has no types"):
        generate_types(catalog_of("package a:b; interface i { f: func(); } world w { import i; }"))


def test_importing_types_loads_no_engine_and_no_numpy_without_arrays() -> None:
    plain = [each.stem for each in OURS.glob("*.py") if each.stem not in ("batches", "expressions", "source")]
    assert len(plain) > 10
    modules = ", ".join(f"dataflare.wit_types.{each}" for each in plain)
    code = f"import sys, {modules}; print({{each.partition('.')[0] for each in sys.modules}} & {{'numpy', 'wasmtime'}})"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "set()\n"
