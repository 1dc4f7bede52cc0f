"""The parts of the SDKs' pages that follow from their docstrings, JSDoc and declarations."""

from __future__ import annotations

import importlib
import inspect
import re
import textwrap
from collections.abc import Iterator
from dataclasses import is_dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

__all__ = ["javascript_names", "javascript_sdk", "python_capabilities", "python_names", "python_sdk"]

_ROOT = Path(__file__).parents[2]
_TYPES = _ROOT / "guest-sdks" / "typescript" / "types" / "index.d.ts"

PYTHON = {
    "Kinds of plugins": ("Plugin", "Source", "Destination", "Processor", "Transformer", "Validator"),
    "Configuration and logging": ("option", "log"),
    "Batches and expressions": ("Batch", "Expression", "col", "lit", "call"),
    "What sources read": (
        "Dataset",
        "Field",
        "Request",
        "Chunk",
        "NewSchema",
        "Insert",
        "Update",
        "Delete",
        "Commit",
        "Idle",
    ),
    "What destinations write": ("Run", "Target", "RejectedRow"),
    "What validators say": ("Rule", "Violation"),
    "Errors": (
        *("InvalidConfig", "InvalidInput", "InvalidState", "Denied", "Unavailable", "RateLimited", "Superseded"),
        *("Cancelled", "Unsupported", "PluginError"),
    ),
}
CAPABILITIES = ("files", "http", "state", "secrets", "shared", "plugins", "clock", "random", "metrics", "tasks")

JAVASCRIPT = {
    "Kinds of plugins": ("Plugin", "Source", "Destination", "Processor", "Transformer", "Validator"),
    "Configuration": ("Option", "Options", "ConfigOf"),
    "Batches and expressions": (
        *(
            "Batch",
            "Field",
            "Row",
            "Json",
            "NumberText",
            "formatRecord",
            "Expression",
            "Constant",
            "Operand",
            "col",
            "lit",
            "call",
        ),
    ),
    "What sources read": (
        *("Dataset", "Mode", "Rows", "NewSchema", "LogEvent", "inserted", "updated", "deleted", "newSchema"),
        *("committed", "idle"),
    ),
    "What destinations write": ("Run", "Target", "RejectedRow"),
    "What validators say": ("Rule",),
    "Errors": (
        *("PluginError", "invalidConfig", "invalidInput", "invalidState", "denied", "unavailable", "rateLimited"),
        *("superseded", "cancelled", "unsupported"),
    ),
}


# Python


def python_sdk() -> str:
    """The names of `dataflare_plugin`, with their docstrings."""
    sdk = importlib.import_module("dataflare_plugin")
    out: list[str] = []
    for title, names in PYTHON.items():
        out += [f"### {title}", ""]
        for name in names:
            out += _python_item(name, _plugin() if name == "Plugin" else getattr(sdk, name))
    if missing := set(sdk.__all__) - python_names():
        raise LookupError(f"no section of docs/reference/sdk_pages.py has {', '.join(sorted(missing))}")
    return "\n".join(out)


def python_names() -> set[str]:
    """The names of the package that the page has."""
    return {name for names in PYTHON.values() for name in names}


def _plugin() -> Any:
    return importlib.import_module("dataflare_plugin.plugin").Plugin


def python_capabilities() -> str:
    """The modules of the host's interfaces."""
    out: list[str] = []
    for name in CAPABILITIES:
        module = importlib.import_module(f"dataflare_plugin.{name}")
        out += [f"### `dataflare_plugin.{name}`", "", *_paragraphs(inspect.getdoc(module) or ""), ""]
        listed = [(each, getattr(module, each)) for each in module.__all__]
        errors = [(each, value) for each, value in listed if inspect.isclass(value) and issubclass(value, Exception)]
        for each, value in listed:
            if (each, value) not in errors:
                out += _python_item(each, value)
        if errors:
            out += ["| error | is a | when |", "| --- | --- | --- |"]
            out += [f"| `{each}` | {_parents(value, module)} | {_cell(_first(value))} |" for each, value in errors]
            out.append("")
    return "\n".join(out)


def _parents(error: type, module: ModuleType) -> str:
    """The base classes of an error, those of the package by their names."""
    names = [
        f"`{each.__name__}`"
        for each in error.__bases__
        if each.__module__ != module.__name__ or each.__name__ in module.__all__
    ]
    return ", ".join(names)


def _python_item(name: str, value: Any) -> Iterator[str]:
    if inspect.isclass(value):
        yield f"#### `{name}`"
        yield ""
        if is_dataclass(value):
            yield f"`{name}{_signature(value)}`"
            yield ""
        yield from _paragraphs(inspect.getdoc(value) or "")
        yield ""
        rows = [row for owner in _owners(value) for row in _members(owner)]
        if rows:
            yield from ("| member | |", "| --- | --- |", *rows, "")
    elif callable(value):
        yield from (f"#### `{name}{_signature(value)}`", "", *_paragraphs(inspect.getdoc(value) or ""), "")
    else:
        module = importlib.import_module(f"dataflare_plugin.{name}")
        yield from (f"#### `{name}`", "", *_paragraphs(inspect.getdoc(module) or ""), "")


def _owners(value: type) -> list[type]:
    """The class and those that it is made from and that the page does not have."""
    if issubclass(value, Exception):
        return [value]
    named = (each for each in value.__mro__ if each.__module__.startswith("dataflare_plugin"))
    return [each for each in named if each is value or each is not _plugin()]


def _members(owner: type) -> Iterator[str]:
    hidden = {"to_wit", "raw"}
    for key, member in vars(owner).items():
        if key.startswith("_") or key in hidden:
            continue
        plain = member.__func__ if isinstance(member, classmethod | staticmethod) else member
        if inspect.isfunction(plain):
            yield f"| `{_cell(key + _signature(plain))}` | {_cell(_inline(inspect.getdoc(plain) or ''))} |"
        elif isinstance(member, property):
            yield f"| `{key}` | {_cell(_inline(inspect.getdoc(member) or ''))} |"


def _signature(function: Any) -> str:
    """Parameters with plain defaults and what is returned, with types as they are written."""
    found = inspect.signature(function)
    shown = []
    for parameter in found.parameters.values():
        if parameter.name in ("self", "cls"):
            continue
        default = parameter.default
        if default is not parameter.empty and not (default is None or isinstance(default, str | int | float | tuple)):
            default = ...
        shown.append(parameter.replace(default=default, annotation=_plain(parameter.annotation)))
    returned = inspect.Signature.empty if inspect.isclass(function) else _plain(found.return_annotation)
    return str(found.replace(parameters=shown, return_annotation=returned)).replace("Ellipsis", "...")


class _Text(str):
    """An annotation, which a signature shows without quotes."""

    __repr__ = str.__str__


def _plain(annotation: Any) -> Any:
    return _Text(annotation) if isinstance(annotation, str) else annotation


def _paragraphs(docstring: str) -> list[str]:
    """A docstring as Markdown: its sections as lists."""
    out: list[str] = []
    section = ""
    for line in docstring.replace("```python", "```python shown").splitlines():
        if match := re.fullmatch(r"(Args|Returns|Raises|Yields|Attributes):", line):
            section = match[1]
            out += [f"{section}:", ""]
        elif section and (match := re.fullmatch(r"    (\w+): (.*)", line)) and section != "Returns":
            out.append(f"- `{match[1]}`: {match[2]}")
        elif section and line.startswith("    "):
            out.append(f"  {line.strip()}" if out[-1] else line.strip())
        else:
            section = section if not line else ""
            out.append(line)
    while out and not out[-1]:
        out.pop()
    return out


def _inline(docstring: str) -> str:
    """A docstring in one line, for a cell."""
    parts = [" ".join(part.split()) for part in re.split(r"\n\n|\n(?=    \w+: )", docstring)]
    text = " ".join(parts)
    text = re.sub(r"\bArgs: (?=\w+: )", "", text)
    return re.sub(r" (Raises|Returns): ", r" \1 ", text)


def _first(value: Any) -> str:
    return " ".join((inspect.getdoc(value) or "").partition("\n\n")[0].split())


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


# JavaScript and TypeScript

_DECLARED = re.compile(
    r"(?:^/\*\*(?P<doc>(?:(?!\*/).)*)\*/\n)?"
    r"^(?:export |declare )(?P<abstract>abstract )?(?:declare )?(?P<kind>class|interface|type|function) (?P<name>\w+)"
    r"(?P<rest>.*?)(?=\n(?:/\*\*|export |declare |interface |//)|\Z)",
    re.MULTILINE | re.DOTALL,
)


def javascript_sdk() -> str:
    """The names of the SDK's declarations, with their comments."""
    declared = _declarations()
    out: list[str] = []
    for title, names in JAVASCRIPT.items():
        out += [f"### {title}", ""]
        for name in names:
            if name not in declared:
                raise LookupError(f"{_TYPES.name} declares no {name}")
            out += [f"#### `{name}`", "", *_said(declared[name][0]), "", "```ts", declared[name][1], "```", ""]
    if missing := declared.keys() - javascript_names():
        raise LookupError(f"no section of docs/reference/sdk_pages.py has {', '.join(sorted(missing))}")
    return "\n".join(out)


def javascript_names() -> set[str]:
    """The names that the page has."""
    return {name for names in JAVASCRIPT.values() for name in names}


def _declarations() -> dict[str, tuple[str, str]]:
    """The comment and the text of each declaration, by name."""
    text = _TYPES.read_text(encoding="utf-8")
    found = {}
    for match in _DECLARED.finditer(text):
        whole = match[0][len(match[0]) - len(match[0].lstrip()) :]
        code = whole.partition("*/\n")[2] if match["doc"] is not None else whole
        found[match["name"]] = (match["doc"] or "", code.strip())
    return found


def _said(comment: str) -> list[str]:
    lines = [re.sub(r"^\s*\* ?", "", line) for line in comment.strip().splitlines()]
    return textwrap.dedent("\n".join(lines)).strip().splitlines() or ["See its declaration."]
