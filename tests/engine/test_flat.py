"""Flattened components: what hostile guests get, which components have bridges, and both ways compared."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import wasmtime

from child_kit import run_child
from dataflare.engine.abi.types import FuncT, ListT, PrimT
from dataflare.engine.engine import Engine
from dataflare.errors import MemoryLimitExceeded, PluginFault, ProtocolFault
from wat_kit import API, HOST, component


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
    "the result is out of bounds": ({**LIST, "body": "(i32.const -8)"}, ([1],), "bounds"),
    "the result ends out of bounds": ({**LIST, "body": "(i32.const 65532)"}, ([1],), "bounds"),
    "the result is not aligned": ({**LIST, "body": "(i32.const 65)"}, ([1],), "aligned"),
    "a list is longer than memory": ({**LIST, "data": "\\00\\00\\00\\00\\ff\\ff\\ff\\ff"}, ([1],), "bounds"),
    "a list's size overflows": ({**LIST, "data": "\\00\\00\\00\\00\\01\\00\\00\\20"}, ([1],), "bounds"),
    "a list is not aligned": ({**LIST, "data": "\\01\\04\\00\\00\\01\\00\\00\\00"}, ([1],), "aligned"),
    "an empty list is not aligned": ({**LIST, "data": "\\01\\04\\00\\00\\00\\00\\00\\00"}, ([1],), "aligned"),
    "an empty list is out of bounds": ({**LIST, "data": "\\f8\\ff\\ff\\ff\\00\\00\\00\\00"}, ([1],), "bounds"),
    "a text is out of bounds": ({"result": "string", "data": "\\ff\\ff\\00\\00\\02\\00\\00\\00"}, (), "bounds"),
    "a text is no UTF-8": ({"result": "string", "data": "\\48\\00\\00\\00\\01\\00\\00\\00\\ff"}, (), "UTF-8"),
    "a text ends within a character": (
        {"result": "string", "data": "\\48\\00\\00\\00\\02\\00\\00\\00\\e2\\82\\ac"},
        (),
        "UTF-8",
    ),
    "a text in a list is no UTF-8": (
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
    "an argument of the host's is no UTF-8": (
        {"result": "u32", "body": "(call $take (i32.const 64) (i32.const 1)) (i32.const 0)", "data": "\\ff"},
        (),
        "UTF-8",
    ),
}


@pytest.fixture(scope="module")
def flat_engine(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with Engine(cache_dir=tmp_path_factory.mktemp("flat") / "compiled", flatten=True) as engine:
        yield engine


@pytest.fixture(scope="module")
def bridge_engine(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with Engine(cache_dir=tmp_path_factory.mktemp("bridges") / "compiled") as engine:
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
    if case == "post-return calls the host":
        return  # wasmtime's adapters let it
    bridged = bridge_engine.load(binary, name="bad")
    assert not bridged.flattened
    with bridged.instantiate(host) as instance, pytest.raises(PluginFault):
        instance.call(API, "f", *args)


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
        ('(type $r (resource (rep i32))) (export "r" (type $r))', "resources"),
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


def test_engines_flatten_only_when_they_are_told_to(bridge_engine: Engine, flat_engine: Engine) -> None:
    binary = component({}, {"f": FuncT((("x", PrimT("string")),), PrimT("string"))})
    assert not bridge_engine.load(binary, name="kit").flattened
    assert flat_engine.load(binary, name="kit").flattened and flat_engine.why_bridges(binary, name="kit") == ""
    again = flat_engine.load(binary, name="kit")
    assert again.flattened and again.from_cache


FUZZ = """
from hypothesis import HealthCheck, Phase, given, seed, settings
import numpy as np
from dataflare.errors import PluginFault
from dataflare.engine.abi.types import FuncT
from wat_kit import component
from wit_strategies import normal, wit_types
flat_engine = Engine(cache_dir=folder / "flat", flatten=True)
counts = {"value": 0, "fault": 0}
generator = random.Random(SEED)

def words():
    # Small numbers are lengths and discriminants, then addresses in and out of the one page that the guest has.
    def half():
        return generator.choice((0, 1, 2, 3, 8, 64, 256, 1 << 16, (1 << 16) - 8, (1 << 32) - 1,
                                 generator.randrange(70), generator.randrange(1 << 17), generator.randrange(1 << 32)))
    return [half() | half() << 32 for _ in range(generator.randrange(1, 9))]

@seed(SEED)
@settings(max_examples=TYPES, deadline=None, database=None, phases=[Phase.generate],
          suppress_health_check=list(HealthCheck))
@given(wit_types(max_depth=3))
def go(ty):
    result = ListT(ty)
    binary = component({}, {"f": FuncT((("x", ListT(PrimT("u64"))),), result)})
    ways = [each.load(binary, name="kit") for each in (engine, flat_engine)]
    assert [way.flattened for way in ways] == [False, True]
    limits = Limits(call_timeout_s=5.0)
    instances = [None, None]
    for _ in range(VALUES):
        value = words()
        got = []
        for i, way in enumerate(ways):
            if instances[i] is None or not instances[i].alive:
                instances[i] = way.instantiate({}, limits=limits)
            try:
                got.append(("value", normal(result, instances[i].call(API, "f", value))))
            except PluginFault as fault:
                got.append(("fault", None))
        assert got[0] == got[1], (ty, value, got)
        counts[got[0][0]] += 1

go()
print(counts["value"], counts["fault"], flush=True)
"""


def test_random_words_for_every_pointer_and_discriminant(tmp_path: Path) -> None:
    """In both ways the same value or a fault; in a child process, which must live on."""
    script = FUZZ.replace("SEED", "5").replace("TYPES", "40").replace("VALUES", "40")
    values, faults = map(int, run_child(script, tmp_path, timeout_s=300)[-1].split())
    assert values > 100 and faults > 100
