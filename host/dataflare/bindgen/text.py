"""Python source text: docstrings with any content, strings, and calls and signatures wrapped like a formatter's."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from dataflare.printable import printable
from dataflare.wit import model as wit

__all__ = ["HEADER", "Node", "Tree", "docstring", "gate_text", "quote", "signature", "wrap"]

HEADER: Final = "# Written by `dataflare bindgen`. Write it anew rather than change it.\n"
_WIDTH: Final = 88
_QUOTES: Final = re.compile('"{3,}|"+$')
_BULLET: Final = re.compile(r"(?:[-*+]|\d+[.)])\s")


@dataclass(frozen=True, slots=True)
class Tree:
    """An expression with parts, such as a call: the text before the parts, the parts, and the text after them."""

    head: str
    parts: tuple[Node, ...]
    tail: str = ")"


Node: TypeAlias = str | Tree


def wrap(node: Node, indent: int, before: str = "", after: str = "") -> list[str]:
    """Return the lines of an expression: one if it fits, otherwise one for each part."""
    space = " " * indent
    flat = before + _flat(node) + after
    if isinstance(node, str) or not node.parts or indent + len(flat) <= _WIDTH:
        return [space + flat]
    if before.endswith(" = ") and indent + len(before) + len(node.head) > _WIDTH:
        return [f"{space}{before}(", *wrap(node, indent + 4), f"{space}){after}"]
    lines = [f"{space}{before}{node.head}"]
    for part in node.parts:
        lines += wrap(part, indent + 4, after=",")
    return [*lines, f"{space}{node.tail}{after}"]


def _flat(node: Node) -> str:
    if isinstance(node, str):
        return node
    return node.head + ", ".join(map(_flat, node.parts)) + node.tail


def quote(text: str) -> str:
    """Write a string literal in ASCII."""
    inner = ascii(text)[1:-1]
    if ascii(text)[0] == "'":
        inner = inner.replace("\\'", "'").replace('"', '\\"')
    return f'"{inner}"'


def signature(name: str, parameters: Sequence[str], result: str, indent: int) -> list[str]:
    """Write the head of a function."""
    return wrap(Tree(f"def {name}(", tuple(parameters)), indent, after=f" -> {result}:")


def docstring(paragraphs: Sequence[str], indent: int) -> list[str]:
    """Write a docstring of these paragraphs, with any characters; each paragraph may have several lines."""
    width = _WIDTH - indent
    lines: list[str] = []
    for paragraph in paragraphs:
        if not paragraph.strip():
            continue
        if lines:
            lines.append("")
        for line in _unwrapped(paragraph):
            lines += [_escaped(each) for each in _wrapped(line, width)]
    if not lines:
        return []
    if lines[0].startswith(('"', '\\"')):
        lines[0] = f" {lines[0]}"  # as formatters separate it from the quotes
    space = " " * indent
    if len(lines) == 1 and indent + len(lines[0]) + 6 > _WIDTH:
        # The closing quotes belong to the line: if they do not fit, a word moves to the next line.
        (whole,) = (line for paragraph in paragraphs for line in _unwrapped(paragraph) if line.strip())
        lines = [_escaped(each) for each in _wrapped(whole, width - 3)]
    if len(lines) == 1:
        return [f'{space}"""{lines[0]}"""']
    first, *rest = lines
    return [f'{space}"""{first}', *(f"{space}{each}".rstrip() for each in rest), f'{space}"""']


def _unwrapped(paragraph: str) -> list[str]:
    """Return the lines of a text, with the lines of each paragraph joined."""
    lines: list[str] = []
    fenced = False
    for raw in paragraph.strip().splitlines():
        line = raw.rstrip()
        fence = line.lstrip().startswith("```")
        if lines and line.startswith("  ") and not fenced and _continues(lines[-1], line.lstrip()):
            lines[-1] += f" {line.lstrip()}"
            continue
        plain = bool(line) and line[0] not in " \t#|>" and _BULLET.match(line) is None and not fence and not fenced
        if plain and lines and lines[-1] and lines[-1] != "\0" and not lines[-1].startswith((" ", "\t", "#", "|", ">")):
            lines[-1] += f" {line}"
        else:
            lines.append(line)
        if fence:
            fenced = not fenced
            if not fenced:
                lines.append("\0")
    return [line for line in lines if line != "\0"]


def _continues(item: str, line: str) -> bool:
    """Whether an indented line continues the item of a list."""
    return _BULLET.match(item) is not None and _BULLET.match(line) is None and not line.startswith(("```", "|"))


def _wrapped(line: str, width: int) -> list[str]:
    shown = printable(line.expandtabs(4))
    if len(shown) + 3 <= width:
        return [shown]
    bullet = _BULLET.match(shown)
    hang = " " * (len(shown) - len(shown.lstrip()) + (2 if bullet else 0))
    return textwrap.wrap(shown, width - 3, subsequent_indent=hang, break_long_words=False, break_on_hyphens=False) or [
        ""
    ]


def _escaped(line: str) -> str:
    """Escape a line so that it can neither end its docstring nor escape what follows."""
    return _QUOTES.sub(lambda run: '\\"' * len(run.group()), line.replace("\\", "\\\\"))


def gate_text(gate: wit.Gate) -> str:
    """Describe a gate in a sentence."""
    parts = []
    if gate.since:
        parts.append(f"Since version {gate.since}.")
    if gate.unstable:
        parts.append(f"Unstable: part of the feature {gate.unstable}.")
    if gate.deprecated:
        parts.append(f"Deprecated since version {gate.deprecated}.")
    return " ".join(parts)
