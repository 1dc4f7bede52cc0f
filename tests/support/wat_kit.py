"""Components for tests, written as text for any tree of `dataflare.engine.abi.types`.

A kit component exports `test:kit/api@1.0.0` with the functions that it is asked for. A function is one of two kinds:

- a relay calls the host's function of the same name and type in `test:kit/host@1.0.0` and returns what it got, so that
  arguments and results cross the border twice each; borrowed handles are dropped wherever they are in the arguments;
- an identity returns the address and length that it was given, without a host function.

The code is what toolchains make: a module with a memory and an allocator, one with the functions, and a component
around the exports that gives the types their names.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import wasmtime

from dataflare.engine.abi.types import (
    MAX_FLAT_PARAMS,
    MAX_FLAT_RESULTS,
    BorrowT,
    EnumT,
    FlagsT,
    FuncT,
    ListT,
    OptionT,
    OwnT,
    PrimT,
    RecordT,
    ResultT,
    TupleT,
    Type,
    VariantT,
    alignment,
    cases_of,
    discriminant_size,
    fields_of,
    flatten,
    has_handles,
    offsets,
    payload_offset,
    size,
)

API = "test:kit/api@1.0.0"
HOST = "test:kit/host@1.0.0"

LIBC = """
  (core module $libc-code
    (memory (export "memory") 1)
    (global $next (mut i32) (i32.const 64))
    (func (export "reset") (global.set $next (i32.const 64)))
    (func (export "realloc") (param $old i32) (param $old-size i32) (param $align i32) (param $size i32) (result i32)
      (local $at i32) (local $end i32)
      (local.set $at (i32.and (i32.add (global.get $next) (i32.sub (local.get $align) (i32.const 1)))
                              (i32.sub (i32.const 0) (local.get $align))))
      (local.set $end (i32.add (local.get $at) (local.get $size)))
      (if (i32.gt_u (local.get $end) (i32.mul (memory.size) (i32.const 65536)))
        (then (if (i32.eq (i32.const -1) (memory.grow (i32.add (i32.const 1) (i32.div_u
                    (i32.sub (local.get $end) (i32.mul (memory.size) (i32.const 65536))) (i32.const 65536)))))
                (then unreachable))))
      (memory.copy (local.get $at) (local.get $old)
        (select (local.get $old-size) (local.get $size) (i32.lt_u (local.get $old-size) (local.get $size))))
      (global.set $next (local.get $end))
      (local.get $at)))
  (core instance $libc (instantiate $libc-code))
  (alias core export $libc "memory" (core memory $mem))
  (alias core export $libc "realloc" (core func $alloc))"""

OPTIONS = "(memory $mem) (realloc $alloc)"


def echo(ty: Type, resources: Sequence[str] = ()) -> bytes:
    """`echo: func(x: T) -> T`, a relay."""
    return component({"echo": FuncT((("x", ty),), ty)}, resources=resources)


def echo_list(element: Type) -> bytes:
    """`echo-list: func(x: list<T>) -> list<T>`, an identity; no host function."""
    return component({}, {"echo-list": FuncT((("x", ListT(element)),), ListT(element))})


def component(
    relays: Mapping[str, FuncT], identities: Mapping[str, FuncT] | None = None, *, resources: Sequence[str] = ()
) -> bytes:
    """A component of relays and identities; `resources` names the host's resources, by the indices in the types."""
    return bytes(wasmtime.wat2wasm(component_text(relays, identities, resources=resources)))


def component_text(
    relays: Mapping[str, FuncT],
    identities: Mapping[str, FuncT] | None = None,
    *,
    resources: Sequence[str] = (),
    libc: str = "",
    module: str = "",
) -> str:
    """The text of `component`; `libc` and `module` are other code than its own, with the same exports."""
    identities = identities or {}
    functions = {**relays, **identities}
    named = named_types(
        t for ty in functions.values() for t in (*(p for _, p in ty.params), ty.result) if t is not None
    )
    code = CoreCode(relays, identities)
    text = ["(component"]
    if relays or resources:
        text.append(_host_import(relays, named, resources))
    else:
        text += [f"  (type ${name} {definition(ty, named, '')})" for ty, name in named.items()]
    text.append(libc or LIBC)
    given = []
    for name in relays:
        text.append(f'  (alias export $host "{name}" (func $host-{name}))')
        text.append(f"  (core func $low-{name} (canon lower (func $host-{name}) {OPTIONS}))")
        given.append(f'(export "{name}" (func $low-{name}))')
    for index, resource in enumerate(resources):
        text.append(f"  (core func $drop-{index} (canon resource.drop ${resource}))")
        given.append(f'(export "drop-{index}" (func $drop-{index}))')
    text.append(module or code.module(len(resources)))
    text.append(
        '  (core instance $code (instantiate $module (with "libc" (instance $libc))'
        f' (with "host" (instance {" ".join(given)}))))'
    )
    for name, ty in functions.items():
        text += [
            f'  (alias core export $code "{name}" (core func $core-{name}))',
            f'  (alias core export $code "post {name}" (core func $post-{name}))',
            f"  (func $lift-{name} {signature(ty, named, '', resources)}"
            f" (canon lift (core func $core-{name}) {OPTIONS} (post-return $post-{name})))",
        ]
    text.append(shim(functions, named, resources))
    return "\n".join([*text, ")"])


def named_types(types: Iterable[Type]) -> dict[Type, str]:
    """Names for the types that need one, inner ones first."""
    found: dict[Type, str] = {}

    def visit(ty: Type) -> None:
        match ty:
            case ListT():
                visit(ty.element)
            case RecordT() | TupleT():
                for t in fields_of(ty):
                    visit(t)
            case VariantT() | OptionT() | ResultT():
                for t in cases_of(ty):
                    if t is not None:
                        visit(t)
        if isinstance(ty, RecordT | VariantT | EnumT | FlagsT) and ty not in found:
            found[ty] = f"{type(ty).__name__.removesuffix('T').lower()}{len(found)}"

    for ty in types:
        visit(ty)
    return found


def _reference(ty: Type, named: Mapping[Type, str], prefix: str, resources: Sequence[str] = ()) -> str:
    def sub(t: Type) -> str:
        return _reference(t, named, prefix, resources)

    match ty:
        case PrimT():
            return ty.name
        case ListT():
            return f"(list {sub(ty.element)})"
        case TupleT():
            return f"(tuple {' '.join(map(sub, ty.items))})"
        case OptionT():
            return f"(option {sub(ty.inner)})"
        case ResultT():
            ok = f" {sub(ty.ok)}" if ty.ok is not None else ""
            err = f" (error {sub(ty.err)})" if ty.err is not None else ""
            return f"(result{ok}{err})"
        case OwnT():
            return f"(own ${prefix}{resources[ty.resource]})"
        case BorrowT():
            return f"(borrow ${prefix}{resources[ty.resource]})"
        case _:
            return f"${prefix}{named[ty]}"


def definition(ty: Type, named: Mapping[Type, str], prefix: str, resources: Sequence[str] = ()) -> str:
    """The definition of a type that needs a name, as text."""

    def sub(t: Type) -> str:
        return _reference(t, named, prefix, resources)

    match ty:
        case RecordT():
            return "(record " + " ".join(f'(field "{n}" {sub(t)})' for n, t in ty.fields) + ")"
        case VariantT():
            cases = [f'(case "{n}")' if t is None else f'(case "{n}" {sub(t)})' for n, t in ty.cases]
            return f"(variant {' '.join(cases)})"
        case EnumT():
            return f"(enum {_quoted(ty.names)})"
        case FlagsT():
            return f"(flags {_quoted(ty.names)})"
        case _:
            raise TypeError(f"{ty} needs no definition")


def _quoted(names: Iterable[str]) -> str:
    return " ".join(f'"{name}"' for name in names)


def signature(ty: FuncT, named: Mapping[Type, str], prefix: str, resources: Sequence[str]) -> str:
    """A function's parameters and result as text; `prefix` begins the names of types."""
    params = [f'(param "{n}" {_reference(t, named, prefix, resources)})' for n, t in ty.params]
    if ty.result is not None:
        params.append(f"(result {_reference(ty.result, named, prefix, resources)})")
    return " ".join(params)


def _host_import(relays: Mapping[str, FuncT], named: Mapping[Type, str], resources: Sequence[str]) -> str:
    text = [f'  (import "{HOST}" (instance $host']
    text += [f'    (export "{name}" (type $h-{name} (sub resource)))' for name in resources]
    for ty, name in named.items():
        text.append(f"    (type $d-{name} {definition(ty, named, 'h-', resources)})")
        text.append(f'    (export "{name}" (type $h-{name} (eq $d-{name})))')
    text += [f'    (export "{name}" (func {signature(ty, named, "h-", resources)}))' for name, ty in relays.items()]
    text.append("  ))")
    text += [f'  (alias export $host "{name}" (type ${name}))' for name in (*resources, *named.values())]
    return "\n".join(text)


def shim(functions: Mapping[str, FuncT], named: Mapping[Type, str], resources: Sequence[str]) -> str:
    """The component around lifted functions that gives their types names, and its export as `API`."""
    text, given = ["  (component $shim"], []
    for name in resources:
        text.append(f'    (import "import-type-{name}" (type $i-{name} (sub resource)))')
    for ty, name in named.items():
        text.append(f"    (type $d-{name} {definition(ty, named, 'i-', resources)})")
        text.append(f'    (import "import-type-{name}" (type $i-{name} (eq $d-{name})))')
    for name, ty in functions.items():
        text.append(f'    (import "import-func-{name}" (func $f-{name} {signature(ty, named, "i-", resources)}))')
    for name in resources:
        text.append(f'    (export $e-{name} "{name}" (type $i-{name}))')
    for ty, name in named.items():
        text.append(f"    (type $x-{name} {definition(ty, named, 'e-', resources)})")
        text.append(f'    (export $e-{name} "{name}" (type $x-{name}))')
    for name, ty in functions.items():
        text.append(f'    (export "{name}" (func $f-{name}) (func {signature(ty, named, "e-", resources)}))')
    given = [f'(with "import-type-{name}" (type ${name}))' for name in (*resources, *named.values())]
    given += [f'(with "import-func-{name}" (func $lift-{name}))' for name in functions]
    return "\n".join(
        [
            *text,
            "  )",
            f"  (instance $api (instantiate $shim {' '.join(given)}))",
            f'  (export "{API}" (instance $api))',
        ]
    )


class CoreCode:
    """Writes the core module: the functions, and walks through values that drop the borrowed handles in them."""

    def __init__(self, relays: Mapping[str, FuncT], identities: Mapping[str, FuncT]) -> None:
        self._relays = relays
        self._identities = identities
        self._walks: dict[Type, str] = {}
        self._walk_texts: list[str] = []

    def module(self, resources: int, more: Sequence[str] = ()) -> str:
        """The module. `more` is further imports, and after them further functions."""
        imports, functions = [], []
        for name, ty in self._relays.items():
            params, result, direct = core_type(ty)
            imported = [*params, *([] if direct else ["i32"])]
            returns = f" (result {result})" if result and direct else ""
            imports.append(f'(import "host" "{name}" (func $host-{name} (param {" ".join(imported)}){returns}))')
            functions.append(self._relay(name, ty))
        functions += [self._identity(name) for name in self._identities]
        for name, ty in {**self._relays, **self._identities}.items():
            _, result, _ = core_type(ty)
            takes = f" (param {result})" if result else ""
            functions.append(f'(func (export "post {name}"){takes} (call $reset))')
        imports += [f'(import "host" "drop-{i}" (func $drop-{i} (param i32)))' for i in range(resources)]
        lines = [
            '(import "libc" "memory" (memory 1))',
            '(import "libc" "realloc" (func $realloc (param i32 i32 i32 i32) (result i32)))',
            '(import "libc" "reset" (func $reset))',
            *imports,
            *more,
            *functions,
            *self._walk_texts,
        ]
        return "  (core module $module\n" + "\n".join(f"    {line}" for line in lines) + ")"

    def _relay(self, name: str, ty: FuncT) -> str:
        params, result, direct = core_type(ty)
        passed = " ".join(f"(local.get {i})" for i in range(len(params)))
        returns = f" (result {result})" if result else ""
        head = f'(func (export "{name}") (param {" ".join(params)}){returns}'
        dropped = self.drops(ty.args)
        local = len(params)
        if direct:
            if not result:
                return f"{head} (call $host-{name} {passed}) {dropped})"
            called = f"(local.set {local} (call $host-{name} {passed}))"
            return f"{head} (local {result}) {called} {dropped} (local.get {local}))"
        assert ty.result is not None
        at = area(alignment(ty.result), size(ty.result))
        return (
            f"{head} (local i32) (local.set {local} {at})"
            f" (call $host-{name} {passed} (local.get {local})) {dropped} (local.get {local}))"
        )

    def drops(self, args: TupleT) -> str:
        """Code that drops the borrowed handles in a function's arguments."""
        flat = flatten(args)
        if len(flat) > MAX_FLAT_PARAMS:
            return self._drop_in_memory(args, "(local.get 0)")
        return self._drop_flat(args, [(f"(local.get {i})", core) for i, core in enumerate(flat)])

    def _identity(self, name: str) -> str:
        at = area(4, 8)
        return (
            f'(func (export "{name}") (param i32 i32) (result i32) (local i32) (local.set 2 {at})'
            " (i32.store (local.get 2) (local.get 0)) (i32.store offset=4 (local.get 2) (local.get 1)) (local.get 2))"
        )

    def _drop_flat(self, ty: Type, flat: list[tuple[str, str]]) -> str:
        if not _borrows(ty):
            return ""
        match ty:
            case BorrowT():
                return f"(call $drop-{ty.resource} {_as_i32(flat[0])})"
            case ListT():
                return f"(call {self._walk_list(ty)} {_as_i32(flat[0])} {_as_i32(flat[1])})"
            case RecordT() | TupleT():
                text, at = [], 0
                for t in fields_of(ty):
                    width = len(flatten(t))
                    text.append(self._drop_flat(t, flat[at : at + width]))
                    at += width
                return " ".join(text)
            case VariantT() | OptionT() | ResultT():
                return " ".join(
                    f"(if (i32.eq {_as_i32(flat[0])} (i32.const {i})) (then {self._drop_flat(t, flat[1:])}))"
                    for i, t in enumerate(cases_of(ty))
                    if t is not None and _borrows(t)
                )
            case _:
                raise TypeError(f"no borrows in {ty}")

    def _drop_in_memory(self, ty: Type, address: str) -> str:
        return f"(call {self._walk(ty)} {address})" if _borrows(ty) else ""

    def _walk(self, ty: Type) -> str:
        if isinstance(ty, ListT):
            # A function over the address of the list's address and length.
            return self._function(
                ty, "$p", f"(call {self._walk_list(ty)} (i32.load (local.get $p)) (i32.load offset=4 (local.get $p)))"
            )
        match ty:
            case BorrowT():
                body = f"(call $drop-{ty.resource} (i32.load (local.get $p)))"
            case RecordT() | TupleT():
                body = " ".join(
                    self._drop_in_memory(t, f"(i32.add (local.get $p) (i32.const {at}))") for at, t in offsets(ty)
                )
            case VariantT() | OptionT() | ResultT():
                load = {1: "i32.load8_u", 2: "i32.load16_u", 4: "i32.load"}[discriminant_size(len(cases_of(ty)))]
                inner = f"(i32.add (local.get $p) (i32.const {payload_offset(ty)}))"
                body = " ".join(
                    f"(if (i32.eq ({load} (local.get $p)) (i32.const {i})) (then {self._drop_in_memory(t, inner)}))"
                    for i, t in enumerate(cases_of(ty))
                    if t is not None and _borrows(t)
                )
            case _:
                raise TypeError(f"no borrows in {ty}")
        return self._function(ty, "$p", body)

    def _walk_list(self, ty: ListT) -> str:
        name = f"$list-{self._function(ty.element, '$p', None).removeprefix('$')}"
        step = (
            f"(func {name} (param $p i32) (param $n i32) (block $end (loop $next"
            f" (br_if $end (i32.eqz (local.get $n))) {self._drop_in_memory(ty.element, '(local.get $p)')}"
            f" (local.set $p (i32.add (local.get $p) (i32.const {size(ty.element)})))"
            " (local.set $n (i32.sub (local.get $n) (i32.const 1))) (br $next))))"
        )
        if not any(text.startswith(f"(func {name} ") for text in self._walk_texts):
            self._walk_texts.append(step)
        return name

    def _function(self, ty: Type, param: str, body: str | None) -> str:
        if ty not in self._walks:
            self._walks[ty] = f"$walk-{len(self._walks)}"
        name = self._walks[ty]
        if body is not None and not any(text.startswith(f"(func {name} ") for text in self._walk_texts):
            self._walk_texts.append(f"(func {name} (param {param} i32) {body})")
        return name


def area(align: int, length: int) -> str:
    """Code that asks for memory; its value is the address."""
    return f"(call $realloc (i32.const 0) (i32.const 0) (i32.const {align}) (i32.const {length}))"


def _borrows(ty: Type) -> bool:
    return any(kind == "borrow" for kind, _ in has_handles(ty))


def _as_i32(value: tuple[str, str]) -> str:
    text, core = value
    return f"(i32.wrap_i64 {text})" if core == "i64" else text


def core_type(ty: FuncT) -> tuple[list[str], str, bool]:
    """Core parameters, the core result of the export, and whether it is the value itself rather than its address."""
    flat = list(flatten(ty.args))
    params = flat if len(flat) <= MAX_FLAT_PARAMS else ["i32"]
    results = flatten(ty.result) if ty.result is not None else ()
    if len(results) > MAX_FLAT_RESULTS:
        return params, "i32", False
    return params, results[0] if results else "", True
