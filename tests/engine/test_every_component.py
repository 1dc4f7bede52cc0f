"""Components of every valid shape: aliases, named handles, types of worlds, empty and ascribed instances, any WASI."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import wasmtime

from dataflare.engine.engine import Engine
from dataflare.errors import CallTimeout, ConfigError, UnsupportedComponent
from dataflare.limits import Limits
from wat_kit import API, LIBC, OPTIONS

HOST = "test:kit/things@1.0.0"


def binary(text: str) -> bytes:
    return bytes(wasmtime.wat2wasm(f"(component {text})"))


@pytest.mark.parametrize(
    "names",
    [
        ("a", ["b"]),
        ("a", ["b", "c"]),
        ("b", ["a"]),
    ],
)
def test_a_resource_of_several_names(instantiate: Any, names: tuple[str, list[str]]) -> None:
    first, others = names
    aliases = " ".join(f'(export "{n}" (type ${n} (eq ${first})))' for n in others)
    imports = f"""(import "{HOST}" (instance $i (export "{first}" (type ${first} (sub resource))) {aliases}
      (export "[constructor]{first}" (func (result (own ${first}))))
      (export "[method]{first}.m" (func (param "self" (borrow ${first}))))
      (export "f" (func (param "x" u32) (result (own ${others[-1]}))))))"""
    made = object()
    whole = binary(f"""{imports}
      (alias export $i "{others[-1]}" (type $t)) (alias export $i "f" (func $f)) (core func $cf (canon lower (func $f)))
      (core module $m (import "h" "f" (func $f (param i32) (result i32)))
        (func (export "go") (result i32) (call $f (i32.const 7))))
      (core instance $c (instantiate $m (with "h" (instance (export "f" (func $cf))))))
      (func $go (result (own $t)) (canon lift (core func $c "go"))) (export "go" (func $go))""")
    host = {HOST: {f"[constructor]{first}": object, f"[method]{first}.m": lambda _: None, "f": lambda x: [x, made]}}
    with instantiate(whole, host) as instance:
        assert instance.call("", "go") == [7, made]


def test_an_alias_and_its_resource_in_one_function(instantiate: Any) -> None:
    whole = binary(f"""
      (import "{HOST}" (instance $i (export "a" (type $a (sub resource))) (export "b" (type $b (eq $a)))
        (export "f" (func (param "x" (borrow $b)) (result (own $a))))))
      (alias export $i "a" (type $a)) (alias export $i "f" (func $f)) (core func $cf (canon lower (func $f)))
      (core func $drop (canon resource.drop $a))
      (core module $m (import "h" "f" (func $f (param i32) (result i32))) (import "h" "drop" (func $drop (param i32)))
        (func (export "go") (param i32) (result i32)
          (call $f (local.get 0)) (call $drop (local.get 0))))
      (core instance $c (instantiate $m (with "h" (instance (export "f" (func $cf)) (export "drop" (func $drop))))))
      (func $go (param "x" (own $a)) (result (own $a)) (canon lift (core func $c "go"))) (export "go" (func $go))""")
    one, two = object(), object()
    with instantiate(whole, {HOST: {"f": lambda x: two if x is one else None}}) as instance:
        assert instance.call("", "go", one) is two


@pytest.mark.parametrize("named", ["(borrow $a)", "(own $a)", "(list (own $a))", "(result (own $a))", "(option u32)"])
def test_types_that_name_handles(engine: Engine, instantiate: Any, named: str) -> None:
    takes = "i32" if named in ("(borrow $a)", "(own $a)") else "i32 i32"
    options = '(memory (core memory $c0 "mem"))' if "list" in named else ""
    whole = binary(f"""
      (import "{HOST}" (instance $i (export "bar" (type $a (sub resource)))
        (type $h {named}) (export "h" (type $hh (eq $h)))
        (export "[constructor]bar" (func (result (own $a))))
        (export "[method]bar.m" (func (param "self" (borrow $a)) (result u32)))
        (export "f" (func (param "x" $hh)))))
      (core module $m0 (memory (export "mem") 1)) (core instance $c0 (instantiate $m0))
      (alias export $i "bar" (type $a)) (alias export $i "[method]bar.m" (func $mf))
      (alias export $i "[constructor]bar" (func $new)) (alias export $i "f" (func $f))
      (core func $cm (canon lower (func $mf))) (core func $cn (canon lower (func $new)))
      (core func $cf (canon lower (func $f) {options}))
      (core module $m (import "h" "m" (func $m (param i32) (result i32))) (import "h" "n" (func $n (result i32)))
        (import "h" "f" (func $f (param {takes})))
        (func (export "go") (result i32) (call $m (call $n))))
      (core instance $c (instantiate $m (with "h" (instance
        (export "m" (func $cm)) (export "n" (func $cn)) (export "f" (func $cf))))))
      (func $go (result u32) (canon lift (core func $c "go"))) (export "go" (func $go))""")
    thing = SimpleNamespace(size=41)
    host = {HOST: {"[constructor]bar": lambda: thing, "[method]bar.m": lambda it: it.size + 1, "f": lambda _: None}}
    with instantiate(whole, host) as instance:
        assert instance.call("", "go") == 42


TYPES = {
    "enum": ('(enum "a" "b")', "b", "i32"),
    "flags": ('(flags "a" "b")', {"a", "b"}, "i32"),
    "number": ("u64", 2**40, "i64"),
    "option": ("(option f32)", 1.5, "i32 f32"),
    "record": ('(record (field "a" u8))', None, "i32"),
    "variant": ('(variant (case "a") (case "b" u8))', None, "i32 i32"),
}


@pytest.mark.parametrize("kind", TYPES)
def test_types_of_the_world_itself(engine: Engine, kind: str) -> None:
    text, value, core = TYPES[kind]
    whole = binary(f"""
      (type $d {text}) (import "e" (type $e (eq $d))) (import "note" (func $note (param "x" $e)))
      (core func $cn (canon lower (func $note)))
      (core module $m (import "h" "note" (func $note (param {core})))
        (func (export "go") (param {core}) {" ".join(f"(local.get {i})" for i in range(len(core.split())))}
          (call $note)))
      (core instance $c (instantiate $m (with "h" (instance (export "note" (func $cn))))))
      (func $go (param "x" $e) (canon lift (core func $c "go"))) (export "go" (func $go))""")
    heard: list[Any] = []
    component = engine.load(whole, name="kit")
    assert list(component.shape.world_types) == ["e"]
    with component.instantiate({"": {"note": heard.append}}) as instance:
        if value is not None:
            instance.call("", "go", value)
            assert heard == [value]
        elif kind == "record":
            instance.call("", "go", SimpleNamespace(a=3))
            assert heard[0].a == 3
        else:
            instance.call("", "go", SimpleNamespace(case="b", value=3))
            assert (heard[0].case, heard[0].value) == ("b", 3)
    assert engine.load(whole, name="kit").from_cache
    assert engine.load(whole, name="kit", fuel=True).shape == component.shape


def test_types_that_the_world_uses_from_interfaces(engine: Engine) -> None:
    whole = binary(f"""
      (import "{HOST}" (instance $t (export "r" (type $r (sub resource)))
        (type $p (record (field "a" u8) (field "b" (own $r)))) (export "p" (type (eq $p)))))
      (alias export $t "p" (type $p)) (import "p" (type $p2 (eq $p)))
      (alias export $t "r" (type $r)) (import "r" (type $r2 (eq $r)))
      (import "swap" (func $swap (param "x" $p2) (result (own $r2))))
      (core func $cs (canon lower (func $swap)))
      (core module $m (import "h" "swap" (func $swap (param i32 i32) (result i32)))
        (func (export "go") (param i32 i32) (result i32) (call $swap (local.get 0) (local.get 1))))
      (core instance $c (instantiate $m (with "h" (instance (export "swap" (func $cs))))))
      (func $go (param "x" $p2) (result (own $r2)) (canon lift (core func $c "go"))) (export "go" (func $go))""")
    thing = object()
    with engine.load(whole, name="kit").instantiate({"": {"swap": lambda x: (x.b, x.a)}, HOST: {}}) as instance:
        assert instance.call("", "go", SimpleNamespace(a=5, b=thing)) == (thing, 5)


def test_a_world_of_types_that_has_an_export_of_the_name_that_shows_them(engine: Engine) -> None:
    whole = binary("""
      (type $d (enum "a" "b")) (import "e" (type $e (eq $d)))
      (core module $m (func (export "go"))) (core instance $c (instantiate $m))
      (func $go (canon lift (core func $c "go"))) (instance $x (export "go" (func $go)))
      (export "dataflare:world/types" (instance $x))""")
    with engine.load(whole, name="kit").instantiate({}) as instance:
        assert instance.call("dataflare:world/types", "go") is None


def test_empty_instances(instantiate: Any) -> None:
    whole = binary(f"""
      (import "{HOST}" (instance)) (import "test:kit/more@1.0.0" (instance))
      (core module $m (func (export "go") (result i32) (i32.const 3))) (core instance $c (instantiate $m))
      (func $go (result u32) (canon lift (core func $c "go"))) (instance $api (export "go" (func $go)))
      (instance $none) (export "test:kit/none@1.0.0" (instance $none)) (export "{API}" (instance $api))""")
    with instantiate(whole, {}) as instance:
        assert instance.call(API, "go") == 3


def test_an_export_that_shows_less_than_the_instance_has(engine: Engine) -> None:
    whole = binary(f"""
      (core module $m (func (export "go") (result i32) (i32.const 3))) (core instance $c (instantiate $m))
      (func $go (result u32) (canon lift (core func $c "go")))
      (instance $api (export "go" (func $go)) (export "hidden" (func $go)))
      (export "{API}" (instance $api) (instance (export "go" (func (result u32)))))""")
    component = engine.load(whole, name="kit")
    assert list(component.shape.exports[API].funcs) == ["go"]
    with component.instantiate({}) as instance:
        assert instance.call(API, "go") == 3


def wasi_import(name: str) -> bytes:
    return binary(f"""
      (import "{name}" (instance $i (export "f" (func (result u32))))) (alias export $i "f" (func $f))
      (core func $cf (canon lower (func $f)))
      (core module $m (import "h" "f" (func $f (result i32))) (func (export "go") (result i32) (call $f)))
      (core instance $c (instantiate $m (with "h" (instance (export "f" (func $cf))))))
      (func $go (result u32) (canon lift (core func $c "go"))) (export "go" (func $go))""")


@pytest.mark.parametrize(
    "name", ["wasi:keyvalue/store@0.2.0-draft", "wasi:http/x@0.2.0", "wasi:cli/run@0.3.0", "wasi:nn/graph", "a:b/c"]
)
def test_embedders_provide_what_the_host_does_not(instantiate: Any, name: str) -> None:
    with instantiate(wasi_import(name), {name: {"f": lambda: 9}}) as instance:
        assert instance.call("", "go") == 9


def test_what_nobody_provides_is_named(engine: Engine) -> None:
    component = engine.load(wasi_import("wasi:keyvalue/store@0.2.0-draft"), name="kit")
    with pytest.raises(ConfigError, match=r"imports wasi:keyvalue.*#f, which the host does not provide"):
        component.instantiate({})


def test_the_name_of_what_nobody_provides_is_cut_and_has_no_empty_interface(engine: Engine) -> None:
    for name, shown in (("f", "imports f, which"), ("a" * 50_000, "a... (cut), which")):
        with pytest.raises(ConfigError) as caught:
            engine.load(binary(f'(import "{name}" (func))'), name="kit").instantiate({})
        assert shown in str(caught.value) and len(str(caught.value)) < 500


def test_a_function_by_the_name_of_an_interface_of_wasi_is_the_embedders(instantiate: Any) -> None:
    name = "wasi:random/random@0.2.0"
    whole = binary(f"""(import "{name}" (func $f (result u32))) (core func $l (canon lower (func $f)))
      (func (export "go") (result u32) (canon lift (core func $l)))""")
    with instantiate(whole, {"": {name: lambda: 9}}) as instance:
        assert instance.call("", "go") == 9


POLLABLE = '(export "pollable" (type $p (sub resource)))'
BLOCK = '(export "[method]pollable.block" (func (param "self" (borrow $p))))'
POLL = '(export "poll" (func (param "in" (list (borrow $p))) (result (list u32))))'


@pytest.mark.parametrize(
    "imports",
    [
        [f"{POLLABLE} {BLOCK}", f"{POLLABLE} {POLL}"],
        [f"{POLLABLE} {BLOCK}"] * 12,
        [f'{POLLABLE} (export "q" (type (eq $p))) {POLL}', f'{POLLABLE} (export "q" (type $q (eq $p)))'],
    ],
    ids=["two", "twelve", "an alias"],
)
def test_several_versions_of_an_interface_of_wasi(engine: Engine, imports: list[str]) -> None:
    text = " ".join(f'(import "wasi:io/poll@0.2.{n}" (instance {items}))' for n, items in enumerate(imports))
    with engine.load(binary(text), name="kit").instantiate({}) as instance:
        assert instance.alive


def test_waiting_ends_in_time_if_the_resource_comes_from_another_version(engine: Engine) -> None:
    whole = binary(f"""
      (import "wasi:io/poll@0.2.0" (instance $a {POLLABLE})) (alias export $a "pollable" (type $p))
      (import "wasi:clocks/monotonic-clock@0.2.1" (instance $c (alias outer 1 $p (type $p))
        (export "subscribe-duration" (func (param "when" u64) (result (own $p))))))
      (import "wasi:io/poll@0.2.3" (instance $b (alias outer 1 $p (type $p)) {POLL}))
      {LIBC}
      (core func $sub (canon lower (func $c "subscribe-duration")))
      (core func $poll (canon lower (func $b "poll") {OPTIONS}))
      (core module $m (import "libc" "memory" (memory 1)) (import "h" "sub" (func $sub (param i64) (result i32)))
        (import "h" "poll" (func $poll (param i32 i32 i32)))
        (func (export "wait") (param i64) (i32.store (i32.const 32) (call $sub (local.get 0)))
          (call $poll (i32.const 32) (i32.const 1) (i32.const 48))))
      (core instance $i (instantiate $m (with "libc" (instance $libc))
        (with "h" (instance (export "sub" (func $sub)) (export "poll" (func $poll))))))
      (func (export "wait") (param "ns" u64) (canon lift (core func $i "wait")))""")
    with engine.load(whole, name="kit").instantiate({}, limits=Limits(call_timeout_s=0.5)) as instance:
        instance.call("", "wait", 1_000_000)
        with pytest.raises(CallTimeout):
            instance.call("", "wait", 10**18)


@pytest.mark.parametrize(
    ("interface", "items"),
    [
        ("wasi:random/random@0.2.0", '(export "get-random-u64" (func (result string)))'),
        ("wasi:random/random@0.2.0", '(export "more" (func))'),
        ("wasi:random/more@0.2.0", '(export "f" (func))'),
        ("wasi:io/poll@0.2.0", f'{POLLABLE} (export "more" (func (param "self" (borrow $p))))'),
        ("wasi:io/poll@0.2.0", '(export "poll" (func (param "x" u32)))'),
    ],
)
def test_what_wasi_does_not_have_is_named(engine: Engine, interface: str, items: str) -> None:
    with pytest.raises(UnsupportedComponent, match=f"imports {interface} in a form that this host does not have"):
        engine.load(binary(f'(import "{interface}" (instance {items}))'), name="kit").instantiate({})


def test_an_interface_of_embedders_cannot_take_resources_of_wasi(engine: Engine) -> None:
    text = """(import "wasi:io/error@0.2.0" (instance $e (export "error" (type (sub resource)))))
      (alias export $e "error" (type $error))
      (import "wasi:http/types@0.2.0" (instance (alias outer 1 $error (type $o)) (export "error" (type $t (eq $o)))
        (export "f" (func (param "e" (borrow $t))))))"""
    with pytest.raises(UnsupportedComponent, match="resource of an interface that is not bridged"):
        engine.load(binary(text), name="kit")


@pytest.mark.parametrize("name", ["wasi:io/streams@0.2.0", "wasi:io/error@0.2.0", "wasi:cli/run@0.2.0", API])
def test_an_export_cannot_take_resources_of_wasi_whatever_its_name(engine: Engine, name: str) -> None:
    text = f"""(import "wasi:io/error@0.2.0" (instance $e (export "error" (type (sub resource)))))
      (alias export $e "error" (type $error)) (core func $drop (canon resource.drop $error))
      (func $f (param "x" (own $error)) (canon lift (core func $drop)))
      (component $s (import "r" (type $r (sub resource))) (import "f" (func $f (param "x" (own $r))))
        (export $e "error" (type $r)) (export "f" (func $f) (func (param "x" (own $e)))))
      (instance $i (instantiate $s (with "r" (type $error)) (with "f" (func $f)))) (export "{name}" (instance $i))"""
    with pytest.raises(UnsupportedComponent, match=rf"{name}#f\(x\) .*resource of an interface that is not bridged"):
        engine.load(binary(text), name="kit")


def test_an_export_may_have_the_name_of_an_interface_of_wasi_and_its_own_resources(engine: Engine) -> None:
    name = "wasi:io/error@0.2.0"
    whole = binary(f"""(import "{name}" (instance (export "error" (type (sub resource)))))
      (type $r (resource (rep i32))) (core func $new (canon resource.new $r))
      (func $new (param "x" u32) (result (own $r)) (canon lift (core func $new)))
      (core module $m (func (export "get") (param i32) (result i32) (local.get 0))) (core instance $c (instantiate $m))
      (func $get (param "x" (borrow $r)) (result u32) (canon lift (core func $c "get")))
      (component $s (import "r" (type $r (sub resource))) (import "new" (func $new (param "x" u32) (result (own $r))))
        (import "get" (func $get (param "x" (borrow $r)) (result u32))) (export $e "error" (type $r))
        (export "new" (func $new) (func (param "x" u32) (result (own $e))))
        (export "get" (func $get) (func (param "x" (borrow $e)) (result u32))))
      (instance $i (instantiate $s (with "r" (type $r)) (with "new" (func $new)) (with "get" (func $get))))
      (export "{name}" (instance $i))""")
    with engine.load(whole, name="kit").instantiate({}) as instance:
        made = instance.call(name, "new", 5)
        assert instance.call(name, "get", made) == 5
        instance.drop(made)


def test_who_provides_a_resource_of_wasi_provides_all_interfaces_that_take_it(engine: Engine) -> None:
    poll, clock = "wasi:io/poll@0.2.0", "wasi:clocks/monotonic-clock@0.2.0"
    whole = binary(f"""
      (import "{poll}" (instance $p (export "pollable" (type (sub resource))))) (alias export $p "pollable" (type $t))
      (import "{clock}" (instance $c (alias outer 1 $t (type $o)) (export "pollable" (type $u (eq $o)))
        (export "subscribe-duration" (func (param "when" u64) (result (own $u))))))
      (core func $f (canon lower (func $c "subscribe-duration")))
      (func (export "go") (param "when" u64) (result (own $t)) (canon lift (core func $f)))""")
    with pytest.raises(UnsupportedComponent, match=f"of {poll}, which you provide") as caught:
        engine.load(whole, name="kit", hosted=frozenset({poll}))
    assert f"provide {clock} yourself" in caught.value.hint
    host = {poll: {}, clock: {"subscribe-duration": lambda when: [when]}}
    with engine.load(whole, name="kit", hosted=frozenset({poll, clock})).instantiate(host) as instance:
        assert instance.call("", "go", 7) == [7]


@pytest.mark.parametrize(
    ("ty", "feature"),
    [
        ("(map string u32)", "component-model-map"),
        ("(list u8 4)", "component-model-fixed-length-lists"),
        ("(stream u8)", "component-model-async"),
        ("(future u8)", "component-model-async"),
        ("error-context", "component-model-error-context"),
    ],
)
def test_features_that_are_off_are_named(engine: Engine, ty: str, feature: str) -> None:
    for text in (
        f'(import "{HOST}" (instance (export "f" (func (param "x" {ty})))))',
        f'(import "f" (func (param "x" {ty})))',
        f'(type $t {ty}) (import "t" (type (eq $t)))',
    ):
        with pytest.raises(UnsupportedComponent, match=f"needs the feature {feature}"):
            engine.load(binary(text), name="kit")


def test_async_functions_are_named(engine: Engine) -> None:
    with pytest.raises(UnsupportedComponent, match="needs the feature component-model-async"):
        engine.load(binary('(import "f" (func async (param "x" u8)))'), name="kit")


def test_exported_resources_with_aliases_and_named_handles(instantiate: Any) -> None:
    whole = binary(f"""
      (type $r (resource (rep i32)))
      (core func $new (canon resource.new $r))
      (core module $m (import "h" "new" (func $new (param i32) (result i32)))
        (func (export "make") (param i32) (result i32) (call $new (local.get 0)))
        (func (export "get") (param i32) (result i32) (local.get 0)))
      (core instance $c (instantiate $m (with "h" (instance (export "new" (func $new))))))
      (func $make (param "x" u32) (result (own $r)) (canon lift (core func $c "make")))
      (func $get (param "self" (borrow $r)) (result u32) (canon lift (core func $c "get")))
      (component $shim
        (import "r" (type $r (sub resource)))
        (import "make" (func $make (param "x" u32) (result (own $r))))
        (import "get" (func $get (param "self" (borrow $r)) (result u32)))
        (export $a "a" (type $r)) (export $b "b" (type $a))
        (type $h (borrow $a)) (export $hh "h" (type $h))
        (export "[method]a.get" (func $get) (func (param "self" (borrow $a)) (result u32)))
        (export "make" (func $make) (func (param "x" u32) (result (own $b))))
        (export "look" (func $get) (func (param "self" $hh) (result u32))))
      (instance $api (instantiate $shim (with "r" (type $r)) (with "make" (func $make)) (with "get" (func $get))))
      (export "{API}" (instance $api))""")
    with instantiate(whole, {}) as instance:
        made = instance.call(API, "make", 17)
        assert instance.call(API, "[method]a.get", made) == 17 == instance.call(API, "look", made)


@pytest.mark.parametrize("name", ["url=<a\nb>", "url=<\x1b[31m\u202e>", "url=<\x00é😀>", 'url=<\\"\\u{41}>'])
def test_names_of_any_characters(engine: Engine, name: str) -> None:
    spelled = "".join(f"\\u{{{ord(each):x}}}" for each in name)
    whole = binary(f"""
      (import "{spelled}" (instance $i (export "f" (func (param "x" u32) (result u32)))))
      (core func $f (canon lower (func $i "f")))
      (core module $m (import "{spelled}" "{spelled}" (func $f (param i32) (result i32)))
        (func (export "{spelled}") (param i32) (result i32) (call $f (local.get 0))))
      (core instance $c (instantiate $m (with "{spelled}" (instance (export "{spelled}" (func $f))))))
      (func (export "go") (param "x" u32) (result u32) (canon lift (core func $c "{spelled}")))""")
    loaded = engine.load(whole, name="kit")
    assert loaded.flattened is (engine.flatten is None)
    with loaded.instantiate({name: {"f": lambda x: x + 1}}) as instance:
        assert instance.call("", "go", 41) == 42
