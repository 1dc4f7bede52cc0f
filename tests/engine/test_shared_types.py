"""What is in the world itself, what interfaces share, and what runs at the start."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import wasmtime

from dataflare.engine.abi.types import FuncT, ListT, OwnT, PrimT, RecordT, ResultT, TupleT
from dataflare.engine.engine import Engine
from dataflare.errors import UnsupportedComponent
from dataflare.values import Err, Ok
from wat_kit import API, HOST, component

LIBC = """
  (core module $libc (memory (export "memory") 1)
    (global $next (mut i32) (i32.const 1024))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (local $p i32)
      (local.set $p (i32.and (i32.add (global.get $next) (i32.const 7)) (i32.const -8)))
      (global.set $next (i32.add (local.get $p) (local.get 3)))
      (local.get $p)))
  (core instance $l (instantiate $libc))
  (alias core export $l "memory" (core memory $mem))
  (alias core export $l "realloc" (core func $realloc))
"""


def world(type_of_pair: str, pair: str) -> bytes:
    text = f"""(component
      {type_of_pair}
      (import "thing" (type $thing (sub resource)))
      (import "double" (func $double (param "x" {pair}) (result {pair})))
      (import "make" (func $make (result (own $thing))))
      {LIBC}
      (core func $cdouble (canon lower (func $double) (memory $mem) (realloc $realloc)))
      (core func $cmake (canon lower (func $make)))
      (core module $m
        (import "h" "double" (func $double (param i32 i64 i32)))
        (func (export "double") (param i32 i64) (result i32)
          (call $double (local.get 0) (local.get 1) (i32.const 64)) (i32.const 64)))
      (core instance $i (instantiate $m (with "h" (instance (export "double" (func $cdouble))))))
      (alias core export $i "double" (core func $code))
      (func $lifted (param "x" {pair}) (result {pair}) (canon lift (core func $code) (memory $mem)))
      (func $made (result (own $thing)) (canon lift (core func $cmake)))
      (export "again" (func $lifted))
      (export "made" (func $made)))"""
    return bytes(wasmtime.wat2wasm(text))


def test_functions_and_resources_of_the_world_itself(instantiate: Any) -> None:
    thing = object()
    host = {"": {"double": lambda x: (x[0] * 2, x[1] * 2), "make": lambda: thing}}
    with instantiate(world("", "(tuple u8 u64)"), host) as instance:
        assert instance.call("", "again", (3, 2**40)) == (6, 2**41)
        assert instance.call("", "made") is thing


def test_a_named_type_of_the_world_itself_is_carried_or_refused_by_name(engine: Engine) -> None:
    """wasmtime's reflection leaves such types out."""
    pair = '(type $d (record (field "a" u8) (field "b" u64))) (import "pair" (type $pair (eq $d)))'
    host = {"": {"double": lambda x: SimpleNamespace(a=x.a * 2, b=x.b * 2), "make": object}}
    try:
        loaded = engine.load(world(pair, "$pair"), name="kit")
    except UnsupportedComponent as error:
        assert "pair" in str(error) or "world" in str(error)
        return
    with loaded.instantiate(host) as instance:
        got = instance.call("", "again", SimpleNamespace(a=3, b=2**40))
        assert (got.a, got.b) == (6, 2**41)


SHARED = f"""(component
  (import "test:kit/things@1.0.0" (instance $things
    (export "thing" (type $t (sub resource)))
    (type $d (record (field "name" string) (field "it" (own $t))))
    (export "named" (type $n (eq $d)))
    (export "[method]thing.size" (func (param "self" (borrow $t)) (result u32)))
    (export "[constructor]thing" (func (param "size" u32) (result (own $t))))))
  (alias export $things "thing" (type $thing))
  (alias export $things "named" (type $named))
  (import "test:kit/shops@1.0.0" (instance $shops
    (alias outer 1 $thing (type $o1)) (export "thing" (type $t (eq $o1)))
    (alias outer 1 $named (type $o2)) (export "named" (type $n (eq $o2)))
    (export "shop" (type $s (sub resource)))
    (export "[static]shop.open" (func (result (own $s))))
    (export "[method]shop.sell" (func (param "self" (borrow $s)) (param "it" (own $t)) (result $n)))))
  (alias export $shops "shop" (type $shop))
  (alias export $things "[constructor]thing" (func $new))
  (alias export $things "[method]thing.size" (func $size))
  (alias export $shops "[static]shop.open" (func $open))
  (alias export $shops "[method]shop.sell" (func $sell))
  {LIBC}
  (core func $cnew (canon lower (func $new)))
  (core func $csize (canon lower (func $size)))
  (core func $copen (canon lower (func $open)))
  (core func $csell (canon lower (func $sell) (memory $mem) (realloc $realloc)))
  (core func $drop-shop (canon resource.drop $shop))
  (core module $m
    (import "h" "new" (func $new (param i32) (result i32)))
    (import "h" "size" (func $size (param i32) (result i32)))
    (import "h" "open" (func $open (result i32)))
    (import "h" "sell" (func $sell (param i32 i32 i32)))
    (import "h" "drop-shop" (func $drop-shop (param i32)))
    (import "h" "memory" (memory 1))
    ;; Makes a thing one larger than the given one is, and sells it.
    (func (export "trade") (param $size i32) (result i32) (local $shop i32) (local $thing i32)
      (local.set $thing (call $new (local.get $size)))
      (local.set $shop (call $open))
      (call $sell (local.get $shop)
        (call $new (i32.add (i32.const 1) (call $size (local.get $thing)))) (i32.const 64))
      (call $drop-shop (local.get $shop))
      (i32.const 64)))
  (core instance $i (instantiate $m (with "h" (instance
    (export "new" (func $cnew)) (export "size" (func $csize)) (export "open" (func $copen))
    (export "sell" (func $csell)) (export "drop-shop" (func $drop-shop)) (export "memory" (memory $mem))))))
  (alias core export $i "trade" (core func $ctrade))
  (func $trade (param "size" u32) (result $named) (canon lift (core func $ctrade) (memory $mem)))
  (instance $api (export "named" (type $named)) (export "thing" (type $thing)) (export "trade" (func $trade)))
  (export "{API}" (instance $api)))"""


class Thing:
    def __init__(self, size: int) -> None:
        self.size = size
        self.closed = 0

    def close_handle(self) -> None:
        self.closed += 1


def test_interfaces_share_types_and_resources(instantiate: Any) -> None:
    made: list[Thing] = []
    shops: list[Thing] = []

    def new(size: int) -> Thing:
        made.append(Thing(size))
        return made[-1]

    def open_() -> Thing:
        shops.append(Thing(0))
        return shops[-1]

    def sell(shop: Thing, thing: Thing) -> Any:
        assert shop is shops[-1] and thing is made[-1]
        return SimpleNamespace(name=f"size {thing.size}", it=thing)

    host = {
        "test:kit/things@1.0.0": {"[constructor]thing": new, "[method]thing.size": lambda thing: thing.size},
        "test:kit/shops@1.0.0": {"[static]shop.open": open_, "[method]shop.sell": sell},
    }
    with instantiate(bytes(wasmtime.wat2wasm(SHARED)), host) as instance:
        got = instance.call(API, "trade", 7)
        assert got.name == "size 8" and got.it is made[1]
        again = instance.call(API, "trade", 20)
        assert again.name == "size 21" and again.it is made[3]
    # The plugin dropped the shops, kept the things that it did not sell, and gave the others back.
    assert [shop.closed for shop in shops] == [1, 1]
    assert [thing.closed for thing in made] == [1, 0, 1, 0]


def test_a_component_that_calls_the_host_at_its_start(instantiate: Any) -> None:
    text = f"""(component
      (import "{HOST}" (instance $h (export "hello" (func (param "n" u32) (result u32)))))
      (alias export $h "hello" (func $hello)) (core func $chello (canon lower (func $hello)))
      (core module $m
        (import "h" "hello" (func $hello (param i32) (result i32)))
        (global $kept (mut i32) (i32.const 0))
        (func $start (global.set $kept (call $hello (i32.const 20)))) (start $start)
        (func (export "kept") (result i32) (global.get $kept)))
      (core instance $i (instantiate $m (with "h" (instance (export "hello" (func $chello))))))
      (alias core export $i "kept" (core func $ckept))
      (func $kept (result u32) (canon lift (core func $ckept)))
      (instance $api (export "kept" (func $kept)))
      (export "{API}" (instance $api)))"""
    binary = bytes(wasmtime.wat2wasm(text))
    with instantiate(binary, {HOST: {"hello": lambda n: n + 1}}) as instance:
        assert instance.call(API, "kept") == 21

    def fail(_: int) -> int:
        raise LookupError("at the start")

    with pytest.raises(LookupError, match="at the start"):
        instantiate(binary, {HOST: {"hello": fail}})


def test_functions_without_parameters_and_results(instantiate: Any) -> None:
    heard: list[str] = []
    with instantiate(component({"f": FuncT((), None)}), {HOST: {"f": lambda: heard.append("f")}}) as instance:
        assert instance.call(API, "f") is None and instance.call(API, "f") is None
    assert heard == ["f", "f"]


def test_two_resources_do_not_mix(instantiate: Any) -> None:
    both = TupleT((OwnT(0), ListT(OwnT(1)), OwnT(0)))
    one, two, three = object(), object(), object()
    binary = component({"f": FuncT((("x", both),), both)}, resources=["left", "right"])
    with instantiate(binary, {HOST: {"f": lambda x: (x[2], x[1], x[0])}}) as instance:
        assert instance.call(API, "f", (one, [two, two], three)) == (three, [two, two], one)


def test_a_function_that_takes_views_sees_the_plugins_memory(engine: Engine) -> None:
    ty = RecordT((("numbers", ListT(PrimT("f64"))), ("raw", ListT(PrimT("u8"))), ("text", PrimT("string"))))
    sums: list[Any] = []

    def total(x: Any) -> Any:
        sums.append((float(np.sum(x.numbers)), bytes(x.raw), bytes(x.text).decode()))
        return Ok(None) if sums[-1][0] > 0 else Err(None)

    total.takes_views = True  # type: ignore[attr-defined]
    total.text_as_bytes = True  # type: ignore[attr-defined]
    binary = component({"f": FuncT((("x", ty),), ResultT(None, None))})
    with engine.load(binary, name="kit").instantiate({HOST: {"f": total}}) as instance:
        value = SimpleNamespace(numbers=np.arange(100_000.0), raw=b"abc" * 1000, text="ä" * 1000)
        assert instance.call(API, "f", value) == Ok(None)
        assert instance.call(API, "f", SimpleNamespace(numbers=[], raw=b"", text="")) == Err(None)
    assert sums == [(4999950000.0, b"abc" * 1000, "ä" * 1000), (0.0, b"", "")]


def test_the_shape_tells_what_is_there(engine: Engine) -> None:
    shape = engine.shape(bytes(wasmtime.wat2wasm(SHARED)), name="shared")
    assert [(r.name, r.interface, r.imported) for r in shape.resources] == [
        ("thing", "test:kit/things@1.0.0", True),
        ("shop", "test:kit/shops@1.0.0", True),
    ]
    assert shape.imports["test:kit/shops@1.0.0"].resources == {"thing": 0, "shop": 1}
    named = RecordT((("name", PrimT("string")), ("it", OwnT(0))))
    assert shape.exports[API].funcs == {"trade": FuncT((("size", PrimT("u32")),), named)}
    assert shape.exports[API].types == {"named": named}
    loaded = engine.load(bytes(wasmtime.wat2wasm(SHARED)), name="shared")
    again = engine.load(bytes(wasmtime.wat2wasm(SHARED)), name="shared")
    assert loaded.shape == shape == again.shape and again.from_cache
