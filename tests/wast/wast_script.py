"""Reads `.wast` scripts: the commands in them, with the text of each component, and values.

Only the script's own language is read here; what is within a component is WebAssembly's own text format, which
wasmtime reads.
"""

from __future__ import annotations

import math
import re
import struct
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Final, TypeAlias

from dataflare.engine.abi.types import (
    EnumT,
    FlagsT,
    ListT,
    OptionT,
    PrimT,
    RecordT,
    ResultT,
    TupleT,
    Type,
    VariantT,
)
from dataflare.values import Err, Ok, Some, Variant

__all__ = ["Form", "Text", "atoms", "commands", "same", "text_of", "value_of"]

_TOKEN: Final = re.compile(
    r"""(?P<skip>\s+|;;[^\n]*)|(?P<block>\(;)|(?P<open>\()|(?P<close>\))|(?P<text>"(?:[^"\\]|\\.)*")|(?P<atom>[^\s()";]+)""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPES: Final = {"t": b"\t", "n": b"\n", "r": b"\r", '"': b'"', "'": b"'", "\\": b"\\"}


class Text(bytes):
    """A string of a script, as bytes."""


@dataclass(slots=True)
class Form:
    """Something in parentheses: what is in it, and where it stands in the source."""

    items: list[Item]
    start: int
    end: int = 0

    @property
    def head(self) -> str:
        """Its first word."""
        return self.items[0] if self.items and type(self.items[0]) is str else ""

    def forms(self) -> list[Form]:
        """The forms in it."""
        return [item for item in self.items if isinstance(item, Form)]


Item: TypeAlias = "str | Text | Form"


def commands(source: str) -> list[Form]:
    """The top-level forms of a script.

    Raises:
        ValueError: It is not one.
    """
    top = Form([], 0)
    stack, at = [top], 0
    while at < len(source):
        found = _TOKEN.match(source, at)
        if found is None:
            raise ValueError(f"no script: {source[at : at + 20]!r}")
        match found.lastgroup:
            case "block":
                at = _after_block(source, at)
                continue
            case "open":
                stack.append(Form([], at))
            case "close":
                done = stack.pop()
                done.end = found.end()
                stack[-1].items.append(done)
            case "text":
                stack[-1].items.append(text_of(found.group()))
            case "atom":
                stack[-1].items.append(found.group())
        at = found.end()
    if len(stack) != 1:
        raise ValueError("a parenthesis is not closed")
    return top.forms()


def _after_block(source: str, at: int) -> int:
    depth = 0
    for found in re.compile(r"\(;|;\)").finditer(source, at):
        depth += 1 if found.group() == "(;" else -1
        if depth == 0:
            return found.end()
    raise ValueError("a comment is not closed")


def text_of(quoted: str) -> Text:
    """The bytes of a string in quotes."""

    def unescaped(found: re.Match[str]) -> bytes:
        escape = found.group(1)
        if escape.startswith("u{"):
            return chr(int(escape[2:-1].replace("_", ""), 16)).encode("utf-8", "surrogatepass")
        return _ESCAPES[escape] if escape in _ESCAPES else bytes([int(escape, 16)])

    parts, end = [], 0
    body = quoted[1:-1]
    for found in re.finditer(r"\\(u\{[0-9a-fA-F_]+\}|[0-9a-fA-F]{2}|.)", body, re.DOTALL):
        parts += [body[end : found.start()].encode(), unescaped(found)]
        end = found.end()
    return Text(b"".join([*parts, body[end:].encode()]))


def atoms(form: Form) -> list[str]:
    """The words of a form, without its first."""
    return [item for item in form.items[1:] if type(item) is str]


def _payload(form: Form) -> Form:
    """The value within a case: in parentheses, or bare after its name."""
    bare = [item for item in form.items[1:] if not isinstance(item, Form)]
    return form.forms()[0] if form.forms() else Form(bare[1:] if isinstance(bare[0], Text) else bare, form.start)


def _texts(form: Form) -> list[str]:
    return [item.decode() for item in form.items if isinstance(item, Text)]


def value_of(form: Form, ty: Type) -> Any:
    """The value that a form such as `(u32.const 1)` stands for, as the engine takes values of this type."""
    inner = form.forms()
    match ty:
        case PrimT("bool"):
            return atoms(form)[0] in ("true", "1")
        case PrimT("char" | "string"):
            return next(item for item in form.items if isinstance(item, Text)).decode()
        case PrimT("f32" | "f64"):
            return _float(atoms(form)[0], ty.name)
        case PrimT():
            number = int(atoms(form)[0].replace("_", ""), 0)
            bits = int(ty.name[1:])
            return number - (1 << bits) if ty.name[0] == "s" and number >= 1 << bits - 1 else number
        case ListT():
            return [value_of(each, ty.element) for each in inner]
        case TupleT():
            return tuple(value_of(each, t) for each, t in zip(inner, ty.items, strict=True))
        case RecordT():
            found = {_texts(field)[0]: Form(field.items[2:], field.start) for field in inner}
            return SimpleNamespace(**{n.replace("-", "_"): value_of(found[n], t) for n, t in ty.fields})
        case VariantT():
            name = _texts(form)[0]
            payload = dict(ty.cases)[name]
            return Variant(name, None if payload is None else value_of(_payload(form), payload))
        case EnumT():
            return _texts(form)[0]
        case FlagsT():
            return frozenset(_texts(form))
        case OptionT():
            value = value_of(_payload(form), ty.inner) if form.head == "option.some" else None
            return Some(value) if isinstance(ty.inner, OptionT) and form.head == "option.some" else value
        case ResultT():
            payload = ty.ok if form.head == "result.ok" else ty.err
            value = None if payload is None else value_of(_payload(form), payload)
            return Ok(value) if form.head == "result.ok" else Err(value)
    raise ValueError(f"no constant is a {type(ty).__name__}")


def _float(word: str, name: str) -> float:
    word = word.replace("_", "")
    if "nan" in word:
        return math.nan
    if "inf" in word:
        return -math.inf if word.startswith("-") else math.inf
    value = float.fromhex(word) if "0x" in word else float(word)
    return float(struct.unpack("<f", struct.pack("<f", value))[0]) if name == "f32" else value


def same(one: Any, other: Any) -> bool:
    """Whether two values that came out of the engine, or of `value_of`, are the same."""
    if isinstance(one, float) or isinstance(other, float):
        return struct.pack("<d", one) == struct.pack("<d", other) or (math.isnan(one) and math.isnan(other))
    if isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(other, SimpleNamespace):
        return all(same(getattr(one, name), value) for name, value in vars(other).items())
    if isinstance(other, Variant):
        return bool(one.case == other.case) and same(one.value, other.value)
    if isinstance(other, Some):
        return isinstance(one, Some) and same(one.value, other.value)
    if isinstance(other, (Ok, Err)):
        if type(one) is not type(other):
            return False
        values = [each.value if isinstance(each, Ok) else each.error for each in (one, other)]
        return same(*values)
    return bool(one == other)
