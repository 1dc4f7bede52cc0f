"""Files that are no component, damaged ones, and components with what the engine cannot carry."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import wasmtime
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from wasmtime import component

from dataflare.engine.abi.types import EnumT, FuncT, ListT, OwnT, PrimT, RecordT, VariantT
from dataflare.engine.engine import Engine
from dataflare.engine.reference.instance import instantiate_reference
from dataflare.errors import ComponentError, NotAComponent, PluginFault, UnsupportedComponent
from dataflare.limits import Limits
from wat_kit import API, HOST, component_text, echo

HOSTILE = Path(__file__).parent / "hostile"
COMPONENTS = Path(__file__).parents[2] / "guest-sdks" / "rust" / "components"
TEXT = component_text(
    {
        "f": FuncT(
            (("x", RecordT((("a", PrimT("string")), ("b", VariantT((("c", None), ("d", ListT(PrimT("u8"))))))))),),
            EnumT(("one", "two")),
        ),
        "g": FuncT((("x", OwnT(0)),), OwnT(0)),
    },
    resources=["thing"],
)
SOUND = bytes(wasmtime.wat2wasm(TEXT))
DAMAGE = settings(
    deadline=None,
    max_examples=250,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    report_multiple_bugs=False,
    suppress_health_check=[HealthCheck.too_slow],
)


def refused(engine: Engine, binary: bytes, name: str = "bad.wasm") -> ComponentError:
    """Check that nobody takes the file, and give the error."""
    with pytest.raises(ComponentError) as caught:
        engine.shape(binary, name=name)
    with pytest.raises(ComponentError) as again:
        engine.load(binary, name=name)
    with pytest.raises(ComponentError):
        instantiate_reference(binary, {}, limits=Limits(), name=name)
    assert type(caught.value) is type(again.value)
    assert caught.value.component == name and name in str(caught.value)
    return caught.value


@pytest.mark.parametrize(
    ("binary", "says"),
    [
        (b"", "empty"),
        (b"hello, world\n", "not WebAssembly"),
        (b"PK\x03\x04" + bytes(100), "not WebAssembly"),
        (b"\0asm", "cut short"),
        (b"\0asm\x0d\0", "cut short"),
        (b"\0asm\x01\0\0\0", "core WebAssembly module"),
        (bytes(wasmtime.wat2wasm('(module (func (export "f")))')), "core WebAssembly module"),
        (b"\0asm\x02\0\0\0", "unknown version"),
        (b"(component)", "text"),
        (b"(module)", "text"),
        (TEXT.encode(), "text"),
        (b"\n;; a comment\n(component)", "WebAssembly"),
        (b"\xef\xbb\xbf(component)", "WebAssembly"),
        (SOUND[:8] + b"\xff" * 50, ""),
        (SOUND + b"\x07", "cut short"),
    ],
)
def test_what_is_no_component_is_told_so(engine: Engine, binary: bytes, says: str) -> None:
    error = refused(engine, binary)
    assert isinstance(error, NotAComponent)
    assert says in str(error)


def test_an_empty_component_is_one(engine: Engine) -> None:
    shape = engine.shape(SOUND[:8], name="empty.wasm")
    assert shape.imports == {} and shape.exports == {}
    with engine.load(SOUND[:8], name="empty.wasm").instantiate({}) as instance:
        assert instance.alive


def test_a_file_cut_anywhere_is_refused_or_less(engine: Engine) -> None:
    """Between two sections what is left may be a component, with less in it."""
    whole = engine.shape(SOUND, name="whole")
    taken = 0
    for end in range(0, len(SOUND), 3):
        try:
            shape = engine.shape(SOUND[:end], name="cut.wasm")
        except ComponentError as error:
            assert error.component == "cut.wasm"
            continue
        taken += 1
        assert set(shape.exports) <= set(whole.exports)
    assert taken < 20


@DAMAGE
@given(bits=st.lists(st.integers(0, len(SOUND) * 8 - 1), min_size=1, max_size=4))
def test_flipped_bits_are_refused_or_run_safely(engine: Engine, bits: list[int]) -> None:
    damaged = bytearray(SOUND)
    for bit in bits:
        damaged[bit // 8] ^= 1 << bit % 8
    run(engine, bytes(damaged))


@DAMAGE
@given(data=st.data())
def test_bytes_put_in_or_taken_out_are_refused_or_run_safely(engine: Engine, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(SOUND)))
    removed = data.draw(st.integers(0, 8))
    run(engine, SOUND[:at] + data.draw(st.binary(max_size=8)) + SOUND[at + removed :])


def run(engine: Engine, binary: bytes) -> None:
    """Load what may be damaged, and call it if it can be loaded; only the expected errors may come."""
    try:
        engine.shape(binary, name="damaged.wasm")
        component = engine.load(binary, name="damaged.wasm")
    except ComponentError as error:
        assert error.component == "damaged.wasm"
        return
    host = {
        name: dict.fromkeys(interface.funcs, lambda *args: args[0] if args else None)
        for name, interface in component.shape.imports.items()
    }
    try:
        with component.instantiate(host, limits=Limits(call_timeout_s=1, memory_bytes=16 * 2**20)) as instance:
            for name, interface in component.shape.exports.items():
                for function, ty in interface.funcs.items():
                    if len(ty.params) == 1 and instance.alive:
                        instance.call(name, function, object() if function == "g" else 1)
    except (PluginFault, TypeError):
        return


def test_a_damaged_plugin_of_a_real_toolchain_is_refused(engine: Engine) -> None:
    whole = (COMPONENTS / "json-mapper.wasm").read_bytes()
    for end in (9, 100, 5000, len(whole) // 2, len(whole) - 1):
        with pytest.raises(ComponentError):
            engine.shape(whole[:end], name="json-mapper.wasm")
            engine.load(whole[:end], name="json-mapper.wasm")


@pytest.mark.parametrize("damage", ["code", "custom section"])
def test_what_the_shape_does_not_look_at_is_checked_before_it_runs(engine: Engine, damage: str) -> None:
    if damage == "code":
        text = """(component
          (core module $m (func (export "f") (result i32) (i32.const 1) (i64.const 2) i32.add))
          (core instance $i (instantiate $m))
          (alias core export $i "f" (core func $c))
          (func $f (result u32) (canon lift (core func $c)))
          (instance $api (export "f" (func $f)))
          (export "test:kit/api@1.0.0" (instance $api)))"""
        binary = bytes(wasmtime.wat2wasm(text))
    else:
        binary = SOUND + b"\0\0"
    assert API in engine.shape(binary, name="ill.wasm").exports
    with pytest.raises(NotAComponent, match=r"ill\.wasm"):
        engine.load(binary, name="ill.wasm")


UNSUPPORTED = {
    "stream": ('(export "f" (func (param "x" (stream u8))))', "stream"),
    "future": ('(export "f" (func (result (future string))))', "future"),
    "stream within": ('(export "f" (func (param "x" (list (option (stream u8))))))', "stream"),
    "error-context": ('(export "f" (func (param "x" error-context)))', "error"),
    "async": ('(export "f" (func async (param "x" u8)))', "async"),
    "33 flags": (
        "(type $d (flags " + " ".join(f'"n{i}"' for i in range(33)) + '))(export "t" (type $t (eq $d)))'
        '(export "f" (func (param "x" $t)))',
        "flags",
    ),
}


OFF = {
    "component-model-async": (
        "(component (type (future u8)))",
        '(component (import "f" (func async)))',
        '(component (import "f" (func $f)) (core func (canon lower (func $f) async)))',
        "(component (core func (canon task.return)))",
        "(component (core func (canon waitable-set.new)))",
        '(component (component (import "f" (func (param "x" (stream u8))))))',
        '(component (import "[async]f" (func)))',
        '(component (component (import "[async method]a.f" (func))))',
    ),
    "component-model-implements": (
        '(component (import "[implements=<a:b/c>]d" (instance)))',
        '(component (instance $i) (export "[implements=<a:b/c@1.0.0>]d" (instance $i)))',
        f'(component (import "[implements=<a:{"b" * 200}/c>]d" (instance)))',
        '(component (import "d" (implements "a:b/c") (instance)))',
    ),
    "component-model-map": ("(component (type (map string u32)))",),
    "component-model-fixed-length-lists": ("(component (type (list u32 4)))",),
    "component-model-error-context": ('(component (import "f" (func (param "x" error-context))))',),
    "component-model-threading": ("(component (core func (canon thread.index)))",),
    "component-model-value": ('(component (import "v" (value u32)))',),
    "component-model-gc": (
        '(component (import "f" (func $f)) (core type $t (func))'
        " (core func (canon lower (func $f) gc (core-type $t))))",
    ),
    "threads": ("(component (core module (memory 1 1 shared)))",),
    "exceptions": ("(component (core module (tag)))",),
    "gc": (
        "(component (core module (type (struct))))",
        "(component (core module (rec (type (func)))))",
        "(component (core rec (type (func))))",
        "(component (core module (type (func (param (ref 0))))))",
    ),
    "compact-imports": ('(component (core module (import "a" (item "b" (func)) (item "c" (func)))))',),
    "custom-descriptors": (
        "(component (core module (type (func)) (table 0 (ref null (exact 0)))))",
        '(component (core module (import "a" "b" (func (exact (type 0)))) (type (func))))',
    ),
    "custom-page-sizes": ("(component (core module (memory 1 (pagesize 1))))",),
    "stack-switching": ("(component (core module (type $f (func)) (type $c (cont $f))))",),
}


@pytest.mark.parametrize("kind", UNSUPPORTED)
def test_what_the_engine_cannot_carry_is_named(engine: Engine, kind: str) -> None:
    items, says = UNSUPPORTED[kind]
    try:
        binary = bytes(wasmtime.wat2wasm(f'(component (import "test:kit/host@1.0.0" (instance {items})))'))
    except wasmtime.WasmtimeError as error:
        pytest.skip(f"wat2wasm cannot write it: {str(error).splitlines()[0]}")
    with pytest.raises(ComponentError) as caught:
        engine.load(binary, name="modern.wasm")
    assert "modern.wasm" in str(caught.value)
    assert says in str(caught.value).lower()
    if isinstance(caught.value, UnsupportedComponent):
        places = ("test:kit/host@1.0.0#f", "test:kit/host@1.0.0#t", "at byte ")
        assert any(place in str(caught.value) for place in places)
        assert caught.value.hint


@pytest.mark.parametrize("feature", OFF)
def test_a_feature_that_is_off_is_named_with_its_place(engine: Engine, feature: str) -> None:
    for text in OFF[feature]:
        binary = bytes(wasmtime.wat2wasm(text))
        for look in (engine.shape, engine.load):
            with pytest.raises(UnsupportedComponent) as caught:
                look(binary, name="modern.wasm")
            assert f"needs the feature {feature} at byte " in str(caught.value)
            assert caught.value.component == "modern.wasm" and caught.value.hint


NOT_CARRIED = {
    "an import as an export": '(import "f" (func $f)) (export "g" (func $f))',
    "an imported instance as an export": """(import "a:b/c" (instance $i (export "f" (func (result u32)))))
      (export "a:b/d" (instance $i))""",
    "the type of a function": '(type $t (func (param "x" u8))) (export "t" (type $t))',
    "the type of an instance": '(type $t (instance (export "f" (func)))) (export "t" (type $t))',
    "the type of a component": '(type $t (component (export "f" (func)))) (export "t" (type $t))',
    "an imported type of a function": '(type $t (func)) (import "t" (type (eq $t)))',
    "a type of a million parts": " ".join(
        ["(type $t0 (tuple u8 u8))", *(f"(type $t{n} (tuple $t{n - 1} $t{n - 1}))" for n in range(1, 25))]
    ),
}


@pytest.mark.parametrize("kind", NOT_CARRIED)
def test_what_is_valid_but_not_carried_is_not_called_damaged(engine: Engine, kind: str) -> None:
    error = refused(engine, bytes(wasmtime.wat2wasm(f"(component {NOT_CARRIED[kind]})")), "valid.wasm")
    assert isinstance(error, UnsupportedComponent) and error.hint


def test_invalid_code_is_named_with_its_cause_and_its_place_in_the_file(engine: Engine) -> None:
    binary = bytes(
        wasmtime.wat2wasm(
            """(component (core module $m (func (export "f") (i32.store (i32.const 0) (i32.const 0))))
            (core instance $i (instantiate $m)) (func (export "f") (canon lift (core func $i "f"))))"""
        )
    )
    with pytest.raises(wasmtime.WasmtimeError) as own:
        component.Component(wasmtime.Engine(), binary)
    place = re.search(r"at offset \w+: unknown memory 0", str(own.value))
    with pytest.raises(NotAComponent) as caught:
        engine.load(binary, name="bad.wasm")
    assert place is not None and place[0] in str(caught.value)


def test_a_place_is_one_in_the_whole_file(engine: Engine) -> None:
    code = f"(core module (func) (data {chr(34)}{'x' * 500}{chr(34)}))"
    binary = bytes(wasmtime.wat2wasm(f"(component {code} (type (future u8)))"))
    with pytest.raises(UnsupportedComponent) as caught:
        engine.shape(binary, name="late.wasm")
    found = re.search(r"at byte (\d+)", str(caught.value))
    assert found is not None and int(found[1]) > 500


def test_an_async_lower_in_a_synchronous_export_is_refused(engine: Engine) -> None:
    text = """(component (import "f" (func $f)) (core func $l (canon lower (func $f) async))
      (core module $m (import "" "f" (func (result i32))) (func (export "g") (drop (call 0))))
      (core instance $i (instantiate $m (with "" (instance (export "f" (func $l))))))
      (func (export "g") (canon lift (core func $i "g"))))"""
    error = refused(engine, bytes(wasmtime.wat2wasm(text)), "a.wasm")
    assert isinstance(error, UnsupportedComponent) and "component-model-async" in str(error)


def test_a_reason_of_any_length_is_cut(engine: Engine) -> None:
    name = "a" * 50_000
    binary = bytes(wasmtime.wat2wasm(f'(component (import "{name}" (func)) (import "{name}" (func)))'))
    assert len(str(refused(engine, binary))) < 2_000


def test_a_stream_is_unsupported_and_not_damaged(engine: Engine) -> None:
    binary = bytes(
        wasmtime.wat2wasm(f'(component (import "{HOST}" (instance (export "f" (func (param "x" (stream u8)))))))')
    )
    error = refused(engine, binary, "streams.wasm")
    assert isinstance(error, UnsupportedComponent) and "stream" in str(error)


@pytest.mark.parametrize("kind", ["core module", "component"])
def test_modules_and_components_as_imports_are_refused(engine: Engine, kind: str) -> None:
    binary = bytes(wasmtime.wat2wasm(f'(component (import "m" ({kind})))'))
    assert isinstance(refused(engine, binary), UnsupportedComponent | NotAComponent)


def test_names_that_differ_in_case_only_do_not_end_the_process() -> None:
    """In a process of its own, since wasmtime 50 aborts when it compiles such a component."""
    script = """
import sys, tempfile, wasmtime
from pathlib import Path
from dataflare.engine.engine import Engine
from dataflare.errors import ComponentError
binary = bytes(wasmtime.wat2wasm(Path(sys.argv[1]).read_text()))
with tempfile.TemporaryDirectory() as folder, Engine(cache_dir=Path(folder) / "compiled") as engine:
    for look in (engine.shape, engine.load):
        try:
            look(binary, name="case.wasm")
        except ComponentError as error:
            print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(HOSTILE / "case_of_names.wat")],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0, done.stderr[:500]
    assert done.stdout.count("case.wasm") == 2


def test_nested_components_without_end_are_refused(engine: Engine) -> None:
    text = "(component)"
    for _ in range(70):
        text = f"(component {text})"
    refused(engine, bytes(wasmtime.wat2wasm(text)))


def test_a_type_of_great_depth_is_refused_or_carried(engine: Engine) -> None:
    types = ["(type $t0 (list u8))", *(f"(type $t{n} (list $t{n - 1}))" for n in range(1, 120))]
    items = f'{" ".join(types)} (export "f" (func (param "x" $t119)))'
    binary = bytes(wasmtime.wat2wasm(f'(component (import "{HOST}" (instance {items})))'))
    error = refused(engine, binary)
    assert "deep" in str(error) or "nest" in str(error)


def test_types_of_very_many_parts_are_refused_before_they_are_read(engine: Engine) -> None:
    types = ["(type $t0 (tuple u8 u8))", *(f"(type $t{n} (tuple $t{n - 1} $t{n - 1}))" for n in range(1, 17))]
    binary = bytes(wasmtime.wat2wasm(f'(component {" ".join(types)} (import "f" (func (param "x" $t16))))'))
    assert len(binary) < 400
    error = refused(engine, binary)
    assert isinstance(error, UnsupportedComponent) and "100,000 parts" in str(error)


@pytest.mark.parametrize("name", ["", "a\0b", "ü" * 300, "../../etc/passwd", "%s{}"])
def test_the_name_may_be_anything(engine: Engine, name: str) -> None:
    with engine.load(echo(PrimT("u8")), name=name).instantiate({HOST: {"echo": lambda x: x}}) as instance:
        assert instance.call(API, "echo", 3) == 3
    with pytest.raises(ComponentError):
        engine.load(b"nothing", name=name)


@pytest.mark.parametrize("wrong", [bytearray(SOUND), memoryview(SOUND)], ids=["bytearray", "memoryview"])
def test_other_holders_of_bytes_are_taken(engine: Engine, wrong: Any) -> None:
    assert engine.shape(wrong, name="kit").exports.keys() == {API}
    assert engine.load(wrong, name="kit").shape.exports.keys() == {API}
