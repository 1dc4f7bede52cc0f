"""Codecs: Python values to and from the canonical ABI's layout in a bridge's memory.

A decoder and an encoder are compiled once for each type, as Python source over `struct`. The fixed part of a record,
with everything inline, is one `unpack_from` or `pack_into`. Values have the Python types of `dataflare.values`.

Encoders check while they write. A value that does not fit raises some Python exception; `explain` then finds the wrong
part of the value. Nothing has reached the plugin by then.
"""

from __future__ import annotations

import linecache
import weakref
from collections.abc import Callable
from struct import Struct
from typing import Any, Final

from dataflare.engine.abi import convert
from dataflare.engine.abi.bridge_memory import LIST_PART
from dataflare.engine.abi.records import attributes, record_class
from dataflare.engine.abi.types import (
    BorrowT,
    EnumT,
    FlagsT,
    ListT,
    OptionT,
    OwnT,
    PrimT,
    RecordT,
    Resource,
    ResultT,
    TupleT,
    Type,
    VariantT,
    alignment,
    cases_of,
    discriminant_size,
    fields_of,
    offsets,
    payload_offset,
    size,
)
from dataflare.values import Err, Ok, Some, Variant

__all__ = ["Codecs"]

_FORMATS: Final = {
    "bool": "B", "s8": "b", "u8": "B", "s16": "h", "u16": "H", "s32": "i", "u32": "I", "s64": "q", "u64": "Q",
    "f32": "f", "f64": "d", "char": "I", "string": "II",
}  # fmt: skip
_DISCRIMINANTS: Final = {1: "B", 2: "H", 4: "I"}


def _reads_address(ty: Type) -> bool:
    """Whether reading a value needs its address, since it has a variant, whose payload is read separately."""
    match ty:
        case VariantT() | OptionT() | ResultT():
            return True
        case RecordT() | TupleT():
            return any(_reads_address(t) for t in fields_of(ty))
        case _:
            return False


def _kind(ty: Type) -> str:
    """A type's kind, for the names of functions."""
    return ty.name if isinstance(ty, PrimT) else type(ty).__name__.removesuffix("T").lower()


class Codecs:
    """Compiles and keeps the codecs of one component. Compiling is not thread-safe; compiled codecs may run in any
    thread.
    """

    def __init__(self, resources: list[Resource]) -> None:
        self._resources = resources
        self._scope: dict[str, Any] = {"Ok": Ok, "Err": Err, "Some": Some, "Variant": Variant, **convert.HELPERS}
        self._load: dict[Type, str] = {}
        self._load_items: dict[Type, str] = {}
        self._store: dict[Type, str] = {}
        self._store_items: dict[Type, str] = {}
        self._count = self._parts = 0
        # Python source that is not compiled yet: functions, and tables of functions.
        self._functions: list[str] = []
        self._tables: list[str] = []
        self._records: dict[RecordT, str] = {}

    def decoder(self, ty: Type) -> Callable[[Any, int], Any]:
        """Return a function that reads a value, given a bridge memory and an address."""
        name = self._loader(ty)
        self._compile()
        function: Callable[[Any, int], Any] = self._scope[name]
        return function

    def encoder(self, ty: Type) -> Callable[[Any, int, Any], None]:
        """Return a function that writes a value, given a bridge memory, an address and the value."""
        name = self._storer(ty)
        self._compile()
        function: Callable[[Any, int, Any], None] = self._scope[name]
        return function

    # Building blocks.

    def _name(self, prefix: str) -> str:
        self._count += 1
        return f"_{prefix}{self._count}"

    def _constant(self, prefix: str, value: Any) -> str:
        name = self._name(prefix)
        self._scope[name] = value
        return name

    def _function(self, name: str, source: str) -> str:
        self._functions.append(source)
        return name

    def _table(self, prefix: str, source: str) -> str:
        """Return a constant made of functions, which may not exist yet."""
        name = self._name(prefix)
        self._tables.append(f"{name} = {source}\n")
        return name

    def _compile(self) -> None:
        """Compile all pending source in one call, since each call of the compiler is expensive."""
        if self._functions:
            source = "".join((*self._functions, *self._tables))
            self._functions, self._tables = [], []
            self._parts += 1
            file = f"<codecs {id(self):x}, part {self._parts}>"
            exec(compile(source, file, "exec"), self._scope)
            # Tracebacks and debuggers find the text here, as long as the codecs live.
            linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
            weakref.finalize(self, linecache.cache.pop, file, None).atexit = False

    def _record(self, ty: RecordT) -> str:
        """Return a function that makes a record from the values of its fields."""
        if ty not in self._records:
            names = attributes(ty)
            cls = record_class(names) if ty.made is None else ty.made
            new, made = self._constant("new", object.__new__), self._constant("Record", cls)
            sets = [self._constant("set_field", getattr(cls, name).__set__) for name in names]
            fields = [f"x{i}" for i in range(len(names))]
            body = "".join(f" {write}(o, {x})\n" for write, x in zip(sets, fields, strict=True))
            name = self._records[ty] = self._name("make_record_")
            self._function(name, f"def {name}({', '.join(fields)}):\n o = {new}({made})\n{body} return o\n")
        return self._records[ty]

    # Reading. `_fixed` gives the format of the inline part, the names that it unpacks to, and the expression that makes
    # the value from them.

    def _loader(self, ty: Type) -> str:
        if ty in self._load:
            return self._load[ty]
        name = self._load[ty] = self._name(f"load_{_kind(ty)}_")
        fmt, variables, expression = self._fixed(ty, "a")
        unpack = self._constant("unpack", Struct("<" + fmt).unpack_from)
        if variables:
            targets = ", ".join(variables) + ","
            source = f"def {name}(m, a):\n {targets} = {unpack}(m.view, a)\n return {expression}\n"
        else:
            source = f"def {name}(m, a):\n return {expression}\n"
        return self._function(name, source)

    def _fixed(self, ty: Type, at: str) -> tuple[str, list[str], str]:
        match ty:
            case PrimT("string"):
                p, n = self._name("v"), self._name("v")
                return "II", [p, n], f"m.text({p}, {n})"
            case PrimT("bool"):
                v = self._name("v")
                return "B", [v], f"{v} != 0"
            case PrimT("char"):
                v = self._name("v")
                return "I", [v], f"chr({v})"
            case PrimT():
                v = self._name("v")
                return _FORMATS[ty.name], [v], v
            case ListT():
                p, n = self._name("v"), self._name("v")
                return "II", [p, n], self._list_expression(ty, p, n)
            case RecordT() | TupleT():
                fmt, variables, expressions, end = "", [], [], 0
                for offset, t in offsets(ty):
                    inner, names, expression = self._fixed(t, f"{at} + {offset}")
                    fmt += f"{offset - end}x" * (offset > end) + inner
                    end = offset + size(t)
                    variables += names
                    expressions.append(expression)
                fmt += f"{size(ty) - end}x" * (size(ty) > end)
                joined = ", ".join(expressions)
                if isinstance(ty, TupleT):
                    return fmt, variables, f"({joined},)" if expressions else "()"
                return fmt, variables, f"{self._record(ty)}({joined})"
            case EnumT():
                v = self._name("v")
                names_of = self._constant("names", ty.names if ty.made is None else tuple(ty.made))
                return _DISCRIMINANTS[discriminant_size(len(ty.names))], [v], f"{names_of}[{v}]"
            case FlagsT():
                v = self._name("v")
                flags = self._constant("flags", convert.MadeFlags(ty.made) if ty.made else convert.FlagSets(ty.names))
                return _DISCRIMINANTS[size(ty)], [v], f"{flags}[{v}]"
            case VariantT() | OptionT() | ResultT():
                d = self._name("v")
                width = discriminant_size(len(cases_of(ty)))
                rest = size(ty) - width
                fmt = _DISCRIMINANTS[width] + f"{rest}x" * (rest > 0)
                return fmt, [d], self._variant_expression(ty, d, at)
            case OwnT() | BorrowT():
                v = self._name("v")
                return "I", [v], self._handle_expression(ty, v)

    def _list_expression(self, ty: ListT, p: str, n: str) -> str:
        element = ty.element
        if element == PrimT("u8"):
            return f"m.blob({p}, {n})"
        if isinstance(element, PrimT) and element.name in convert.DTYPES:
            return f"m.numbers({p}, {n}, {self._constant('dtype', convert.DTYPES[element.name])})"
        if element not in self._load_items:
            name = self._load_items[element] = self._name(f"load_list_of_{_kind(element)}_")
            fmt, variables, expression = self._fixed(element, "a")
            unpack = self._constant("unpack", Struct("<" + fmt).iter_unpack)
            step = size(element)
            targets = ", ".join(variables) + "," if variables else "_"
            if _reads_address(element) or not variables:
                loop = f"for a, ({targets}) in zip(range(p, p + {step} * n, {step}), {unpack}(raw))"
            else:
                loop = f"for {targets} in {unpack}(raw)"
            self._function(
                name,
                f"def {name}(m, p, n):\n"
                f" if n > {LIST_PART}: return m.long_list({name}, p, n, {step})\n"
                f" raw = m.part(p, n * {step})\n"
                f" return [{expression} {loop}]\n",
            )
        return f"{self._load_items[element]}(m, {p}, {n})"

    def _variant_expression(self, ty: VariantT | OptionT | ResultT, d: str, at: str) -> str:
        inside = f"{at} + {payload_offset(ty)}"
        if isinstance(ty, OptionT):
            value = f"{self._loader(ty.inner)}(m, {inside})"
            return f"({f'Some({value})' if isinstance(ty.inner, OptionT) else value} if {d} else None)"
        if isinstance(ty, ResultT):
            good = f"Ok({f'{self._loader(ty.ok)}(m, {inside})' if ty.ok is not None else ''})"
            bad = f"Err({f'{self._loader(ty.err)}(m, {inside})' if ty.err is not None else ''})"
            return f"({bad} if {d} else {good})"
        loaders = [self._loader(t) if t is not None else "None" for _, t in ty.cases]
        table = self._table("cases", f"({', '.join(loaders)},)")
        if ty.made is not None:
            return f"load_made({self._constant('classes', ty.made)}, {table}, m, {d}, {inside})"
        names = self._constant("names", tuple(n for n, _ in ty.cases))
        return f"load_case({names}, {table}, m, {d}, {inside})"

    def _handle_expression(self, ty: OwnT | BorrowT, v: str) -> str:
        resource = self._resources[ty.resource]
        if resource.imported:
            return f"m.{'take' if isinstance(ty, OwnT) else 'get'}({v})"
        made = "" if ty.made is None else self._constant("made", ty.made)
        return f"{made}(m.guest({v}, {resource.name!r}, {ty.resource}))"

    # Writing. `_fixed_store` gives the format, statements before, the values to pack, and statements after.

    def _storer(self, ty: Type) -> str:
        if ty in self._store:
            return self._store[ty]
        name = self._store[ty] = self._name(f"store_{_kind(ty)}_")
        fmt, before, values, after = self._fixed_store(ty, "v", "a")
        pack = self._constant("pack", Struct("<" + fmt).pack_into)
        lines = [*before, f"{pack}(m.view, {', '.join(['a', *values])})", *after]
        return self._function(name, f"def {name}(m, a, v):\n" + "".join(f" {line}\n" for line in lines))

    def _fixed_store(self, ty: Type, v: str, at: str) -> tuple[str, list[str], list[str], list[str]]:
        match ty:
            case PrimT("string"):
                p, n = self._name("v"), self._name("v")
                return "II", [f"{p}, {n} = m.put_text({v})"], [p, n], []
            case PrimT("bool"):
                return "B", [], [f"({v} if {v} is True or {v} is False else as_bool({v}))"], []
            case PrimT("char"):
                return "I", [], [f"as_char({v})"], []
            case PrimT("f32") | PrimT("f64"):
                return _FORMATS[ty.name], [], [f"({v} if type({v}) is float else as_float({v}))"], []
            case PrimT():
                return _FORMATS[ty.name], [], [f"({v} if type({v}) is int else as_int({v}))"], []
            case ListT():
                p, n = self._name("v"), self._name("v")
                return "II", [f"{p}, {n} = {self._put_list(ty, v)}"], [p, n], []
            case RecordT() | TupleT():
                fmt, end = "", 0
                before: list[str] = []
                values: list[str] = []
                after: list[str] = []
                items = [self._name("v") for _ in offsets(ty)]
                if isinstance(ty, TupleT):
                    listed = f"{v} if type({v}) is tuple else list_items({v})"
                    before.append(f"{', '.join(items)}, = {listed}" if items else f"no_items({v})")
                else:
                    before += [f"{x} = {v}.{name}" for x, name in zip(items, attributes(ty), strict=True)]
                for x, (offset, t) in zip(items, offsets(ty), strict=True):
                    inner, first, packed, last = self._fixed_store(t, x, f"{at} + {offset}")
                    fmt += f"{offset - end}x" * (offset > end) + inner
                    end = offset + size(t)
                    before += first
                    values += packed
                    after += last
                return fmt + f"{size(ty) - end}x" * (size(ty) > end), before, values, after
            case EnumT():
                members = ty.names if ty.made is None else tuple(ty.made)
                table = self._constant("enum", {member: i for i, member in enumerate(members)})
                return _DISCRIMINANTS[discriminant_size(len(ty.names))], [], [f"{table}[{v}]"], []
            case FlagsT(made=type() as made):
                return _DISCRIMINANTS[size(ty)], [], [f"made_bits({self._constant('flags', made)}, {v})"], []
            case FlagsT():
                bits = self._constant("bits", {n: 1 << i for i, n in enumerate(ty.names)})
                return _DISCRIMINANTS[size(ty)], [], [f"flag_bits({bits}, {v})"], []
            case VariantT() | OptionT() | ResultT():
                return self._variant_store(ty, v, at)
            case OwnT() | BorrowT():
                resource = self._resources[ty.resource]
                if resource.imported:
                    checked = v if ty.made is None else f"{self._constant('made', ty.made.check)}({v})"
                    return "I", [], [f"m.{'give' if isinstance(ty, OwnT) else 'lend'}({checked})"], []
                how = "give_guest" if isinstance(ty, OwnT) else "lend_guest"
                handle = v if ty.made is None else f"{v}._resource"
                return "I", [], [f"m.{how}({handle}, {ty.resource})"], []

    def _variant_store(
        self, ty: VariantT | OptionT | ResultT, v: str, at: str
    ) -> tuple[str, list[str], list[str], list[str]]:
        d, w = self._name("v"), self._name("v")
        width = discriminant_size(len(cases_of(ty)))
        rest = size(ty) - width
        fmt = _DISCRIMINANTS[width] + f"{rest}x" * (rest > 0)
        inside = f"{at} + {payload_offset(ty)}"
        if isinstance(ty, OptionT):
            wrapped = isinstance(ty.inner, OptionT)
            before = [f"{d} = 0 if {v} is None else 1"]
            value = f"some({v})" if wrapped else v
            return fmt, before, [d], [f"if {d}: {self._storer(ty.inner)}(m, {inside}, {value})"]
        if isinstance(ty, ResultT):
            before = [f"{d}, {w} = result_parts({v})"]
            after = [
                f"if {d} == {i}: " + (f"{self._storer(t)}(m, {inside}, {w})" if t is not None else f"no_payload({w})")
                for i, t in enumerate((ty.ok, ty.err))
            ]
            return fmt, before, [d], after
        storers = [self._storer(t) if t is not None else "None" for _, t in ty.cases]
        if ty.made is not None:
            keys = [self._constant("case", cls) for cls in ty.made]
            rows = (f"{key}: ({i}, {store})" for i, (key, store) in enumerate(zip(keys, storers, strict=True)))
            table = self._table("cases", f"{{{', '.join(rows)}}}")
            return fmt, [f"{d}, {w} = {table}[type({v})]"], [d], [f"if {w} is not None: {w}(m, {inside}, {v}.value)"]
        cases = (f"{n!r}: ({i}, {store})" for i, ((n, _), store) in enumerate(zip(ty.cases, storers, strict=True)))
        table = self._table("cases", f"{{{', '.join(cases)}}}")
        return fmt, [f"{d}, {w} = {table}[{v}.case]"], [d], [f"store_case({w}, m, {inside}, {v}.value)"]

    def _put_list(self, ty: ListT, v: str) -> str:
        element = ty.element
        if element == PrimT("u8"):
            return f"m.put_blob({v})"
        if isinstance(element, PrimT) and element.name in convert.DTYPES:
            return f"m.put_numbers({v}, {self._constant('dtype', convert.DTYPES[element.name])})"
        if element not in self._store_items:
            name = self._store_items[element] = self._name(f"store_list_of_{_kind(element)}_")
            store, step = self._storer(element), size(element)
            self._function(
                name,
                f"def {name}(m, v):\n"
                f" v = list_items(v)\n n = len(v)\n"
                f" p = a = m.allocate(n * {step}, {alignment(element)})\n"
                f" for x in v:\n"
                f"  {store}(m, a, x)\n"
                f"  a += {step}\n"
                f" same_length(a, p + n * {step})\n"
                f" return p, n\n",
            )
        return f"{self._store_items[element]}(m, {v})"
