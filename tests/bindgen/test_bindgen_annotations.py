"""Annotations say what is accepted, and what is given: programs that use bindings, as type checkers see them."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from bindings_kit import catalog_of, check_pyright, check_style, check_types, files_of, imported
from dataflare.bindgen.folder import write_folder
from dataflare.bindgen.generate import generate_types

WIT = """package a:b;
interface i {
  type numbers = list<f64>;
  record r { %self: list<f64>, b: list<u8>, deep: list<list<u16>>, maybe: option<list<bool>> }
  variant v { one(list<s32>), four(tuple<list<u8>, string>), none }
  f: func(r: r, v: v) -> result<r, numbers>;
  g: func(x: option<list<u8>>, y: result<list<f32>, list<u8>>) -> result<list<u8>, list<f64>>;
  h: func(x: list<list<f64>>) -> tuple<result<list<f32>, list<u8>>, option<option<list<s8>>>>;
}
world w { import i; export i; }
"""
ACCEPTED = """
import array
from typing import assert_type

import numpy as np
from numpy.typing import NDArray

from arrays import W, WImports
from arrays.errors import ListF64Exception
from arrays.i import NumbersException, R, V, VFour, VNone, VOne
from dataflare.bindgen.support import Err, Ok, Some

FLOATS, INTS = np.zeros(2), np.zeros(2, np.int64)
RECORDS = [
    R([1.0], b"", [[1], (2,)]),
    R((1, 2), bytearray(), [INTS], [True]),
    R(FLOATS, memoryview(b""), (INTS, [1]), maybe=np.zeros(1, np.bool_)),
    R(self=INTS, b=[1, 2], deep=[], maybe=None),
    R(array.array("d"), np.zeros(1, np.uint8), [range(3)]),
]
CASES: list[V] = [VOne([1]), VOne(INTS), VFour((b"", "x")), VFour(([1], "x")), VFour((memoryview(b""), "x")), VNone()]


class Mine:
    def f(self, r: R, v: V) -> R:
        if isinstance(v, VOne):
            raise NumbersException([1.0, *v.value])
        assert_type(r.b, bytes)
        assert_type(r.maybe, NDArray[np.bool_] | None)
        return R(r.self * 2, [1], [[1]])

    def g(self, x: bytes | None, y: Ok[NDArray[np.float32]] | Err[bytes]) -> list[int]:
        if x is None:
            raise ListF64Exception((1.0, 2.0))
        return [*x]

    def h(self, x: list[NDArray[np.float64]]) -> tuple[Ok[list[float]], Some[list[int]]]:
        return Ok([1.0]), Some([1])


class Imports:
    i = Mine()


def use(world: W) -> None:
    found = world.i.f(RECORDS[0], CASES[0])
    assert_type(found.self, NDArray[np.float64])
    world.i.f(found, CASES[1])
    assert_type(world.i.g([1], Ok([1.0])), bytes)
    result, option = world.i.h([[1.0], FLOATS, (1, 2)])
    world.i.g(None, result)
    if option is not None and option.value is not None:
        assert_type(option.value, NDArray[np.int8])


imports: WImports = Imports()
"""
REFUSED = """
from arrays.i import R, VOne

R(["x"], b"", [])
R([1.0], "text", [])
R([1.0], b"", [[1.5]])
VOne([1.5])
"""


def write_programs(folder: Path) -> None:
    """Write bindings, a program that uses them as they are meant, and one whose every call is wrong."""
    write_folder(folder / "arrays", files_of(WIT))
    (folder / "accepted.py").write_text(ACCEPTED)
    (folder / "refused.py").write_text(REFUSED)


def test_lists_arrays_and_buffers_are_accepted_and_arrays_are_given(tmp_path: Path) -> None:
    write_programs(tmp_path)
    errors = check_types(tmp_path).splitlines()
    assert len(errors) == 4 and all("refused.py" in each for each in errors), errors
    done = subprocess.run([sys.executable, "accepted.py"], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(find_spec("pyright") is None, reason="pyright is not installed")
def test_pyright_sees_the_same(tmp_path: Path) -> None:
    write_programs(tmp_path)
    errors = [line for line in check_pyright(tmp_path).splitlines() if " error: " in line]
    assert len(errors) == 4 and all("refused.py" in each for each in errors), errors


def test_types_alone_accept_the_same_and_load_numpy_only_for_arrays(tmp_path: Path) -> None:
    write_folder(tmp_path / "arrays", generate_types(catalog_of(WIT)))
    blobs = "package a:b; interface blobs { record blob { b: list<u8>, more: result<list<u8>> } }"
    write_folder(tmp_path / "blobs", generate_types(catalog_of(blobs)))
    assert check_style(tmp_path) == ""
    (tmp_path / "program.py").write_text(
        "import sys\nfrom blobs.blobs import Blob\nfrom dataflare.values import Ok\n\n"
        "assert 'numpy' not in sys.modules\nBlob(bytearray(b''), Ok([1]))\nfrom arrays.i import R\n\n"
        "R([1.0], [1], [[1]])\n"
    )
    assert check_types(tmp_path) == ""
    done = subprocess.run([sys.executable, "program.py"], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_record_that_holds_lists_equals_one_that_holds_arrays(tmp_path: Path) -> None:
    with imported(files_of(WIT), tmp_path):
        from importlib import import_module

        i = import_module(f"{next(iter(tmp_path.iterdir())).name}.i")
        lists, arrays = i.R([1.0], b"a", [[1]]), i.R(np.array([1.0]), bytearray(b"a"), [np.array([1], np.uint16)])
        assert lists == arrays and i.VOne([1]) == i.VOne(np.array([1], np.int32)) and lists != i.R([2.0], b"a", [[1]])
