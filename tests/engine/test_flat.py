"""Flattened components: what hostile guests get, which components have bridges, and both ways compared."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import wasmtime

from dataflare.component_binary import COMPONENT_HEADER, section
from dataflare.engine.abi.types import FuncT, ListT, PrimT
from dataflare.engine.engine import Engine
from dataflare.engine.flat.handles import MAX_HANDLES
from dataflare.errors import (
    ConfigError,
    HandleLimitExceeded,
    MemoryLimitExceeded,
    NotAComponent,
    PluginFault,
    ProtocolFault,
    UnsupportedComponent,
)
from wat_kit import API, HOST, component, echo


def guest(
    result: str,
    *,
    body: str = "(i32.const 64)",
    data: str = "",
    core: str = "i32",
    realloc: str = "(i32.const 1024)",
    post: str = "",
    params: str = "",
    core_params: str = "",
    imports: str = "",
) -> bytes:
    """A component that exports `f`, whose parts misbehave; `$ping` is a function of the host's."""
    return bytes(
        wasmtime.wat2wasm(f"""(component
          (import "{HOST}" (instance $h (export "ping" (func)) (export "take" (func (param "x" string)))))
          {imports}
          (core func $ping (canon lower (func $h "ping")))
          (core module $memory (memory (export "memory") 1) (data (i32.const 64) "{data}"))
          (core instance $mem (instantiate $memory))
          (core func $take (canon lower (func $h "take") (memory (core memory $mem "memory"))))
          (core module $m
            (import "h" "ping" (func $ping)) (import "h" "take" (func $take (param i32 i32)))
            (import "m" "memory" (memory 1))
            (func (export "realloc") (param i32 i32 i32 i32) (result i32) {realloc})
            (func (export "f") {core_params} (result {core}) {body})
            (func (export "post") (param {core}) {post}))
          (core instance $i (instantiate $m (with "m" (instance $mem))
            (with "h" (instance (export "ping" (func $ping)) (export "take" (func $take))))))
          (func $f {params} (result {result}) (canon lift (core func $i "f") (memory (core memory $mem "memory"))
            (realloc (core func $i "realloc")) (post-return (core func $i "post"))))
          (instance $api (export "f" (func $f))) (export "{API}" (instance $api)))""")
    )


LIST = {"result": "(list u64)", "params": '(param "x" (list u64))', "core_params": "(param i32 i32)"}
FAULTS: dict[str, tuple[dict[str, str], tuple[Any, ...], str]] = {
    "the realloc result is out of bounds": ({**LIST, "realloc": "(i32.const -16)"}, ([1, 2, 3],), "realloc"),
    "the realloc result ends out of bounds": ({**LIST, "realloc": "(i32.const 65520)"}, ([1, 2, 3],), "realloc"),
    "the realloc result is not aligned": ({**LIST, "realloc": "(i32.const 1025)"}, ([1, 2, 3],), "realloc"),
    "the realloc result for nothing is out of bounds": ({**LIST, "realloc": "(i32.const 65544)"}, ([],), "realloc"),
    "realloc calls the host": ({**LIST, "realloc": "(call $ping) (i32.const 1024)"}, ([1],), "was called"),
    "post-return calls the host": (
        {**LIST, "post": "(call $ping)", "data": "\\00\\04\\00\\00\\01\\00\\00\\00"},
        ([1],),
        "was called",
    ),
    "post-return of a variant without an address calls the host": (
        {"result": "(option string)", "post": "(call $ping)"},
        (),
        "was called",
    ),
    "post-return of a record calls the host": (
        {"result": "(tuple u64 (result (error string)))", "post": "(call $ping)"},
        (),
        "was called",
    ),
    "the result is out of bounds": ({**LIST, "body": "(i32.const -8)"}, ([1],), "bounds"),
    "the result ends out of bounds": ({**LIST, "body": "(i32.const 65532)"}, ([1],), "bounds"),
    "the result is not aligned": ({**LIST, "body": "(i32.const 65)"}, ([1],), "aligned"),
    "a list is longer than memory": ({**LIST, "data": "\\00\\00\\00\\00\\ff\\ff\\ff\\ff"}, ([1],), "bounds"),
    "a list's size overflows": ({**LIST, "data": "\\00\\00\\00\\00\\01\\00\\00\\20"}, ([1],), "bounds"),
    "a list is not aligned": ({**LIST, "data": "\\01\\04\\00\\00\\01\\00\\00\\00"}, ([1],), "aligned"),
    "an empty list is not aligned": ({**LIST, "data": "\\01\\04\\00\\00\\00\\00\\00\\00"}, ([1],), "aligned"),
    "an empty list is out of bounds": ({**LIST, "data": "\\f8\\ff\\ff\\ff\\00\\00\\00\\00"}, ([1],), "bounds"),
    "a text is out of bounds": ({"result": "string", "data": "\\ff\\ff\\00\\00\\02\\00\\00\\00"}, (), "bounds"),
    "a text is not UTF-8": ({"result": "string", "data": "\\48\\00\\00\\00\\01\\00\\00\\00\\ff"}, (), "UTF-8"),
    "a text ends within a character": (
        {"result": "string", "data": "\\48\\00\\00\\00\\02\\00\\00\\00\\e2\\82\\ac"},
        (),
        "UTF-8",
    ),
    "a text in a list is not UTF-8": (
        {"result": "(list string)", "data": "\\48\\00\\00\\00\\01\\00\\00\\00\\50\\00\\00\\00\\01\\00\\00\\00\\c0"},
        (),
        "UTF-8",
    ),
    "a char is a surrogate": ({"result": "char", "body": "(i32.const 0xD800)"}, (), "char"),
    "a char is too large": ({"result": "char", "body": "(i32.const 0x110000)"}, (), "char"),
    "a char in a list is a surrogate": (
        {"result": "(list char)", "data": "\\48\\00\\00\\00\\01\\00\\00\\00\\00\\d8\\00\\00"},
        (),
        "char",
    ),
    "a flat discriminant is too large": ({"result": "(result)", "body": "(i32.const 2)"}, (), "discriminant"),
    "a flat discriminant is too large for its byte": (
        {"result": "(result)", "body": "(i32.const 256)"},
        (),
        "discriminant",
    ),
    "an option's discriminant": ({"result": "(option u32)", "data": "\\02\\00\\00\\00\\01"}, (), "discriminant"),
    "a result's discriminant": (
        {"result": "(result u32 (error u32))", "data": "\\07\\00\\00\\00\\01"},
        (),
        "discriminant",
    ),
    "a discriminant in a list": (
        {"result": "(list (option u8))", "data": "\\48\\00\\00\\00\\01\\00\\00\\00\\03\\00"},
        (),
        "discriminant",
    ),
    "an argument of the host's is out of bounds": (
        {"result": "u32", "body": "(call $take (i32.const 65535) (i32.const 2)) (i32.const 0)"},
        (),
        "bounds",
    ),
    "an argument of the host's is not UTF-8": (
        {"result": "u32", "body": "(call $take (i32.const 64) (i32.const 1)) (i32.const 0)", "data": "\\ff"},
        (),
        "UTF-8",
    ),
}


@pytest.fixture(scope="module")
def flat_engine(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with Engine(cache_dir=tmp_path_factory.mktemp("flat") / "compiled") as engine:
        yield engine


@pytest.fixture(scope="module")
def bridge_engine(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with Engine(cache_dir=tmp_path_factory.mktemp("bridges") / "compiled", flatten=False) as engine:
        yield engine


@pytest.mark.parametrize("case", FAULTS)
def test_a_guest_that_misbehaves_ends_with_a_fault(flat_engine: Engine, bridge_engine: Engine, case: str) -> None:
    options, args, text = FAULTS[case]
    binary = guest(**options)
    reached: list[Any] = []
    host = {HOST: {"ping": lambda: reached.append("ping"), "take": reached.append}}
    flat = flat_engine.load(binary, name="bad")
    assert flat.flattened
    with flat.instantiate(host) as instance:
        with pytest.raises(ProtocolFault, match=text):
            instance.call(API, "f", *args)
        assert not instance.alive and not reached
    bridged = bridge_engine.load(binary, name="bad")
    assert not bridged.flattened
    with bridged.instantiate(host) as instance:
        # wasmtime's own adapters check the rest, and say it in their own words.
        with pytest.raises(PluginFault, match="post-return" if case.startswith("post-return") else None):
            instance.call(API, "f", *args)
        assert not instance.alive and not reached


def test_wasi_is_not_called_while_realloc_runs(flat_engine: Engine) -> None:
    text = f"""(component
      (import "wasi:random/random@0.2.0" (instance $r (export "get-random-u64" (func (result u64)))))
      (core func $random (canon lower (func $r "get-random-u64")))
      (core module $m (import "r" "random" (func $random (result i64))) (memory (export "memory") 1)
        (func (export "realloc") (param i32 i32 i32 i32) (result i32) (drop (call $random)) (i32.const 64))
        (func (export "random") (result i64) (call $random))
        (func (export "f") (param i32 i32)))
      (core instance $i (instantiate $m (with "r" (instance (export "random" (func $random))))))
      (func $f (param "x" string) (canon lift (core func $i "f") (memory (core memory $i "memory"))
        (realloc (core func $i "realloc"))))
      (func $random-f (result u64) (canon lift (core func $i "random")))
      (instance $api (export "f" (func $f)) (export "random" (func $random-f))) (export "{API}" (instance $api)))"""
    loaded = flat_engine.load(bytes(wasmtime.wat2wasm(text)), name="kit")
    assert loaded.flattened
    with loaded.instantiate({}) as instance:
        assert instance.call(API, "random") != instance.call(API, "random")
        with pytest.raises(ProtocolFault, match="realloc or post-return"):
            instance.call(API, "f", "x")


@pytest.mark.parametrize("what", ["(drop (call $new (i32.const 1)))", "(call $drop (i32.const 1))", "(call $ping)"])
def test_nothing_is_called_while_wasi_has_room_made_for_its_result(
    flat_engine: Engine, bridge_engine: Engine, what: str
) -> None:
    text = f"""(component (import "ping" (func $ping)) (core func $ping (canon lower (func $ping)))
      (import "wasi:random/random@0.2.0" (instance $r
        (export "get-random-bytes" (func (param "len" u64) (result (list u8))))))
      (type $t (resource (rep i32))) (core func $new (canon resource.new $t)) (core func $drop (canon resource.drop $t))
      (core module $m (import "h" "ping" (func $ping)) (import "h" "new" (func $new (param i32) (result i32)))
        (import "h" "drop" (func $drop (param i32))) (memory (export "memory") 1)
        (func (export "make") (drop (call $new (i32.const 4))))
        (func (export "realloc") (param i32 i32 i32 i32) (result i32) {what} (i32.const 64)))
      (core instance $i (instantiate $m (with "h" (instance
        (export "ping" (func $ping)) (export "new" (func $new)) (export "drop" (func $drop))))))
      (core func $bytes (canon lower (func $r "get-random-bytes")
        (memory (core memory $i "memory")) (realloc (core func $i "realloc"))))
      (core module $n (import "i" "make" (func $make)) (import "h" "bytes" (func $bytes (param i64 i32)))
        (func (export "f") (call $make) (call $bytes (i64.const 4) (i32.const 128))))
      (core instance $j (instantiate $n (with "i" (instance $i)) (with "h" (instance (export "bytes" (func $bytes))))))
      (func (export "f") (canon lift (core func $j "f"))))"""
    for engine in (flat_engine, bridge_engine):
        loaded = engine.load(bytes(wasmtime.wat2wasm(text)), name="kit")
        assert loaded.flattened is (engine is flat_engine)
        reached: list[str] = []
        with loaded.instantiate({"": {"ping": lambda into=reached: into.append("ping")}}) as instance:
            with pytest.raises(ProtocolFault, match=r"realloc or post-return|cannot leave"):
                instance.call("", "f")
            assert not instance.alive and not reached


@pytest.mark.parametrize(("encoding", "units", "data"), [
    ("utf16", 1, "\\00\\d8"), ("utf16", 2, "\\00\\dc\\00\\d8"), ("latin1+utf16", 0x80000001, "\\00\\d8"),
    ("utf16", 2**31 - 1, ""),
])  # fmt: skip
def test_a_text_of_another_encoding_that_is_not_valid(
    flat_engine: Engine, encoding: str, units: int, data: str
) -> None:
    text = f"""(component (core module $m (memory (export "memory") 1) (data (i32.const 80) "{data}")
      (func (export "f") (result i32)
        (i32.store (i32.const 64) (i32.const 80)) (i32.store (i32.const 68) (i32.const {units})) (i32.const 64)))
      (core instance $i (instantiate $m))
      (func (export "f") (result string)
        (canon lift (core func $i "f") string-encoding={encoding} (memory (core memory $i "memory")))))"""
    with flat_engine.load(bytes(wasmtime.wat2wasm(text)), name="kit").instantiate({}) as instance:
        with pytest.raises(ProtocolFault, match="broke the canonical ABI"):
            instance.call("", "f")
        assert not instance.alive


def test_a_bool_of_many_bits_is_true(flat_engine: Engine) -> None:
    with flat_engine.load(guest("bool", body="(i32.const 256)"), name="kit").instantiate(HOST_OF_KIT) as instance:
        assert instance.call(API, "f") is True
    listed = guest("(list bool)", data="\\48\\00\\00\\00\\03\\00\\00\\00\\02\\00\\80")
    with flat_engine.load(listed, name="kit").instantiate(HOST_OF_KIT) as instance:
        assert instance.call(API, "f").tobytes() == b"\x01\x00\x01"


HOST_OF_KIT = {HOST: {"ping": lambda: None, "take": lambda _: None}}


def test_more_than_the_hosts_memory_holds_is_a_limit(flat_engine: Engine) -> None:
    # All lists are the same 64 KiB: 20,000 of them are more than the memory has.
    text = """(component
      (core module $m (memory (export "memory") 4)
        (func (export "f") (param $n i32) (result i32) (local $i i32)
          (loop $next
            (i32.store offset=64 (i32.shl (local.get $i) (i32.const 3)) (i32.const 0))
            (i32.store offset=68 (i32.shl (local.get $i) (i32.const 3)) (i32.const 65536))
            (br_if $next (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (local.get $n))))
          (i32.store (i32.const 8) (i32.const 64)) (i32.store (i32.const 12) (local.get $n)) (i32.const 8)))
      (core instance $i (instantiate $m))
      (func $f (param "n" u32) (result (list (list u8)))
        (canon lift (core func $i "f") (memory (core memory $i "memory"))))
      (export "f" (func $f)))"""
    loaded = flat_engine.load(bytes(wasmtime.wat2wasm(text)), name="kit")
    assert loaded.flattened
    with loaded.instantiate({}) as instance:
        assert [len(each) for each in instance.call("", "f", 10)] == [65536] * 10
        with pytest.raises(MemoryLimitExceeded, match="512 MiB"):
            instance.call("", "f", 20_000)
        assert not instance.alive


def test_texts_are_looked_at_as_python_looks_at_them(flat_engine: Engine) -> None:
    u8 = ListT(PrimT("u8"))
    binary = component({}, {"f": FuncT((("x", u8),), PrimT("string"))})
    loaded = flat_engine.load(binary, name="kit")
    assert loaded.flattened
    generator = random.Random(7)
    edges = [0x00, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC1, 0xC2, 0xDF, 0xE0, 0xE1, 0xEC, 0xED, 0xEE, 0xEF]
    edges += [0xF0, 0xF1, 0xF3, 0xF4, 0xF5, 0xFF]
    texts = ["", "a", "é", "€", "😀", "\ud7ff", "\ue000", "\U0010ffff", "plain text of some length"]
    instance, right, wrong = loaded.instantiate({}), 0, 0
    for _ in range(3000):
        raw = b"".join(
            generator.choice(texts).encode() if generator.random() < 0.6 else bytes([generator.choice(edges)])
            for _ in range(generator.randrange(5))
        )
        try:
            expected = raw.decode()
        except UnicodeDecodeError:
            wrong += 1
            with pytest.raises(ProtocolFault, match="UTF-8"):
                instance.call(API, "f", raw)
            instance.close()
            instance = loaded.instantiate({})
        else:
            right += 1
            assert instance.call(API, "f", raw) == expected
    instance.close()
    assert right > 500 and wrong > 500


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("(core type (func))", "section 3"),
        (
            '(core module $m (memory (export "m") 1) (func (export "f") (result i32) (i32.const 8)))'
            " (core instance $i (instantiate $m)) (func $f (result string)"
            ' (canon lift (core func $i "f") (memory (core memory $i "m")) string-encoding=utf16))'
            ' (export "f" (func $f))',
            "UTF-8",
        ),
        (
            '(core module $m (func (export "f"))) (core instance $i (instantiate $m)) (func $f (canon lift'
            ' (core func $i "f"))) (core func $g (canon lower (func $f))) (core module $n (import "g" "g" (func)))'
            ' (core instance (instantiate $n (with "g" (instance (export "g" (func $g)))))) (export "f" (func $f))',
            "own exports",
        ),
        (
            '(component $c (core module $m (func (export "f"))) (core instance $i (instantiate $m))'
            ' (func $f (canon lift (core func $i "f"))) (export "f" (func $f))) (instance $n (instantiate $c))'
            ' (export "f" (func $n "f"))',
            "code of its own",
        ),
    ],
)
def test_what_cannot_be_flattened_has_bridges(flat_engine: Engine, text: str, why: str) -> None:
    binary = bytes(wasmtime.wat2wasm(f"(component {text})"))
    assert why in flat_engine.why_bridges(binary, name="kit")
    loaded = flat_engine.load(binary, name="kit")
    again = flat_engine.load(binary, name="kit")
    assert not loaded.flattened and not again.flattened and again.from_cache
    with (
        Engine(cache_dir=flat_engine.cache_dir, flatten=True) as only,
        pytest.raises(UnsupportedComponent, match=f"kit: cannot be flattened: .*{why}"),
    ):
        only.load(binary, name="kit")


def test_engines_flatten_unless_they_are_told_not_to(bridge_engine: Engine, flat_engine: Engine) -> None:
    binary = component({}, {"f": FuncT((("x", PrimT("string")),), PrimT("string"))})
    assert not bridge_engine.load(binary, name="kit").flattened
    assert flat_engine.load(binary, name="kit").flattened and flat_engine.why_bridges(binary, name="kit") == ""
    again = flat_engine.load(binary, name="kit")
    assert again.flattened and again.from_cache


def test_code_that_nothing_uses_is_validated(flat_engine: Engine) -> None:
    bad = b"\0asm\x01\0\0\0" + b"\x01\x05\x01\x60\0\x01\x7f" + b"\x03\x02\x01\0" + b"\x0a\x04\x01\x02\0\x0b"
    for inner in (section(1, bad), section(4, COMPONENT_HEADER + section(1, bad)), section(0, b"\x05abc")):
        binary = bytes(wasmtime.wat2wasm("(component)")) + inner
        with pytest.raises(NotAComponent):
            flat_engine.load(binary, name="kit")


HANDLES = (Path(__file__).parent / "handle_programs.wat").read_text()
NEW, REP, DROP, MAKE, DROP_THING, TAKE, LOOK, BOTH, TURN = range(9)


class Thing:
    """What is behind a handle of the host's."""


@pytest.mark.parametrize(
    ("program", "text"),
    [
        ([(REP, 1)], "unknown"),
        ([(REP, 0)], "unknown"),
        ([(REP, 2**31)], "unknown"),
        ([(NEW, 5), (DROP, 1), (REP, 1)], "unknown"),
        ([(NEW, 5), (DROP, 1), (DROP, 1)], "unknown"),
        ([(MAKE, 5), (TAKE, 1), (LOOK, 1)], "unknown"),
        ([(NEW, 5), (LOOK, 1)], "another resource"),
        ([(NEW, 5), (DROP_THING, 1)], "another resource"),
        ([(MAKE, 5), (REP, 1)], "another resource"),
        ([(MAKE, 5), (BOTH, 1 | 1 << 16)], "lends it"),
        ([(MAKE, 5), (TURN, 1 | 1 << 16)], "unknown"),
    ],
)
def test_handles_are_typed_and_used_once(flat_engine: Engine, program: list[tuple[int, int]], text: str) -> None:
    loaded = flat_engine.load(bytes(wasmtime.wat2wasm(HANDLES)), name="kit")
    assert loaded.flattened
    host = {name: lambda *_: 7 for name in ("take", "look", "both", "turn", "swap")}
    with loaded.instantiate({HOST: {**host, "[constructor]thing": lambda _: Thing()}}) as instance:
        assert len(instance.call(API, "run", [])) == 0
        with pytest.raises(ProtocolFault, match=text):
            instance.call(API, "run", program)
        assert not instance.alive


@pytest.mark.parametrize(
    ("program", "text"), [([], "not dropped"), ([(TAKE, 1)], "owned one"), ([(DROP_THING, 1), (LOOK, 1)], "unknown")]
)
def test_borrowed_handles_end_with_the_call(flat_engine: Engine, program: list[tuple[int, int]], text: str) -> None:
    loaded = flat_engine.load(bytes(wasmtime.wat2wasm(HANDLES)), name="kit")
    host = {name: lambda *_: 7 for name in ("take", "look", "both", "turn", "swap", "[constructor]thing")}
    with loaded.instantiate({HOST: host}) as instance:
        assert list(instance.call(API, "lend-thing", Thing(), [(LOOK, 1), (DROP_THING, 1)])) == [7, 0, 1]
        with pytest.raises(ProtocolFault, match=text):
            instance.call(API, "lend-thing", Thing(), program)


def test_a_full_table_of_handles_is_a_limit(flat_engine: Engine) -> None:
    text = """(component (type $r (resource (rep i32))) (core func $new (canon resource.new $r))
      (core module $m (import "h" "new" (func $new (param i32) (result i32)))
        (func (export "f") (param i32) (loop $l (drop (call $new (i32.const 1)))
          (br_if $l (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))))
      (core instance $i (instantiate $m (with "h" (instance (export "new" (func $new))))))
      (func $f (param "n" u32) (canon lift (core func $i "f"))) (export "f" (func $f)))"""
    loaded = flat_engine.load(bytes(wasmtime.wat2wasm(text)), name="kit")
    assert loaded.flattened
    with loaded.instantiate({}) as instance:
        instance.call("", "f", MAX_HANDLES)
        with pytest.raises(HandleLimitExceeded, match="1,048,575 handles"):
            instance.call("", "f", 1)


@pytest.mark.parametrize(("text", "flattened"), [("0", False), ("1", True), ("", True)])
def test_a_variable_gives_all_components_bridges(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, flattened: bool
) -> None:
    monkeypatch.setenv("DATAFLARE_FLATTEN", text)
    binary = echo(PrimT("u32"))
    with Engine(cache_dir=tmp_path / "compiled") as engine:
        assert engine.load(binary, name="kit").flattened is flattened
        assert bool(engine.why_bridges(binary, name="kit")) is not flattened
    with Engine(cache_dir=tmp_path / "compiled", flatten=True) as engine:
        assert engine.load(binary, name="kit").flattened


def test_a_variable_that_is_neither_0_nor_1_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATAFLARE_FLATTEN", "no")
    with pytest.raises(ConfigError, match="DATAFLARE_FLATTEN: 'no' is neither 0 nor 1"):
        Engine(cache_dir=tmp_path / "compiled")
