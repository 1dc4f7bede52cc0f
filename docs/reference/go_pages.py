"""The parts of the page about the Go SDK that follow from its doc comments and declarations."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["go_packages", "go_sdk", "go_testing"]

_SDK = Path(__file__).parents[2] / "guest-sdks" / "go"

SECTIONS = {
    "Kinds of plugins": (
        *("Source", "Discoverer", "ChangeLog", "Evolver", "Splitter", "Estimator", "Acknowledger", "Destination"),
        *("Able", "Planner", "Opener", "SchemaChanger", "Flusher", "Processor", "BatchProcessor", "Transformer"),
        *("SchemaTransformer", "Validator", "RowValidator", "Initializer", "Shutdowner", "HealthReporter"),
        *("ExportSource", "ExportChangeLog", "ExportDestination", "ExportProcessor", "ExportTransformer"),
        *("ExportValidator",),
    ),
    "Configuration and logging": ("NoConfig", "ParseConfig", "LevelTrace"),
    "Batches": (
        *(
            "Batch",
            "NewBatch",
            "Named",
            "BatchOfRows",
            "FromRecords",
            "FromJSONLines",
            "FromArrow",
            "Concat",
            "Records",
        ),
        *("Record", "Column", "Value", "NewColumn", "NewColumnOf", "Read", "Field", "Nullable", "Schema", "Pair"),
    ),
    "Expressions": (
        *("Expression", "Col", "Lit", "TypedLit", "Call", "Computed", "SortKey", "AggregateColumn", "JoinKind"),
    ),
    "What sources read": (
        *("Dataset", "Mode", "Request", "Chunk", "Event", "Insert", "Update", "Delete", "NewSchema", "Commit", "Idle"),
    ),
    "What destinations write": ("Run", "Target", "WritingMode", "Abilities", "PlannedChange", "RejectedRow"),
    "What validators say": ("Rule", "NewRule", "Severity", "Violation"),
    "Errors": (
        *("Error", "ErrorKind", "DataError", "InvalidConfig", "InvalidInput", "InvalidState", "Denied", "Unavailable"),
        *("RateLimited", "Superseded", "Cancelled", "Unsupported"),
    ),
}
PACKAGES = ("files", "http", "state", "secrets", "shared", "plugins", "clock", "random", "metrics", "tasks")

_METHOD = re.compile(r"func \(\w+ \*?(\w+)(?:\[[^\]]*\])?\) ")


@dataclass
class _Item:
    """A declaration with its comment, the constants and variables after it in its file, and the methods of a type."""

    doc: str
    code: str
    after: list[str] = field(default_factory=list)
    methods: list[tuple[str, str]] = field(default_factory=list)


def go_sdk() -> str:
    """The names of the package `dataflare`."""
    items = _items(_SDK)
    out: list[str] = []
    for title, names in SECTIONS.items():
        out += [f"### {title}", ""]
        for name in names:
            out += _shown(name, items[name], "####")
    if missing := items.keys() - {name for names in SECTIONS.values() for name in names}:
        raise LookupError(f"no section of docs/reference/go_pages.py has {', '.join(sorted(missing))}")
    return "\n".join(out)


def go_packages() -> str:
    """The packages of the host's interfaces."""
    return "\n".join(line for name in PACKAGES for line in _package(name))


def go_testing() -> str:
    """The package for unit tests."""
    return "\n".join(_package("dataflaretest"))


def _package(name: str) -> Iterator[str]:
    text = (_SDK / name / f"{name}.go").read_text(encoding="utf-8")
    said = re.search(r"((?:^//(?!go:).*\n)+)package ", text, re.MULTILINE)
    yield from (f"### `dataflare/{name}`", "", _text(said[1] if said else ""), "")
    items = _items(_SDK / name)
    for each, item in items.items():
        if not item.code.startswith("func "):
            yield from _shown(each, item, "####")
    rows = [(item.code.removeprefix("func "), item.doc) for item in items.values() if item.code.startswith("func ")]
    yield from _table("function", rows)


def _shown(name: str, item: _Item, level: str) -> Iterator[str]:
    yield from (f"{level} `{name}`", "")
    if item.doc:
        yield from (item.doc, "")
    yield from ("```go", "\n\n".join([item.code, *item.after]), "```", "")
    if item.methods:
        yield from _table("method", item.methods)


def _table(title: str, rows: Iterable[tuple[str, str]]) -> Iterator[str]:
    yield from (f"| {title} | |", "| --- | --- |")
    yield from (f"| `{code}` | {' '.join(doc.split())} |" for code, doc in rows)
    yield ""


def _items(folder: Path) -> dict[str, _Item]:
    """The exported names of a package, in the order of its files."""
    internal = _SDK / "internal"
    aliases: dict[str, _Item] = {}
    if folder.parent != internal:
        aliases = {
            f"{each}.{name}": item for each in ("host", "twin") for name, item in _items(internal / each).items()
        }
    found: dict[str, _Item] = {}
    methods: list[tuple[str, str, str]] = []
    for path in sorted(folder.glob("*.go")):
        text = path.read_text(encoding="utf-8")
        if path.name.endswith("_test.go") or "//go:build wasip1" in text:
            continue
        last = None
        for doc, code in _declarations(text):
            if method := _METHOD.match(code):
                methods.append((method[1], code[method.end() :], doc))
            elif code.startswith(("const (", "var (")):
                if last is not None:
                    if " = host." in code:  # the same under the names of this package
                        last.after.clear()
                    last.after.append(re.sub(r" += host\.\w+", "", code))
                elif exported := re.search(r"^\t([A-Z]\w*)", code, re.MULTILINE):
                    found[exported[1]] = _Item(doc, code)
            else:
                name = re.findall(r"\w+", code)[1]
                last = None
                if name[0].isupper():
                    item = found[name] = _aliased(doc, code, aliases)
                    last = item if code.startswith("type ") else None
    for owner, code, doc in methods:
        if owner in found and code[0].isupper():
            found[owner].methods.append((code, doc))
    return found


def _aliased(doc: str, code: str, aliases: dict[str, _Item]) -> _Item:
    """A declaration; of a name that stands for one of an internal package, that one."""
    alias = re.fullmatch(r"type (\w+) = (\w+\.(\w+))", code)
    if alias is None or alias[2] not in aliases:
        return _Item(doc, code)
    item = aliases[alias[2]]
    return _Item(doc, re.sub(rf"\b{alias[3]}\b", alias[1], item.code), list(item.after), list(item.methods))


def _declarations(text: str) -> Iterator[tuple[str, str]]:
    """The comment and the code of each declaration, without bodies and without what is not exported."""
    comment: list[str] = []
    lines = iter(text.splitlines())
    for line in lines:
        if line.startswith("//"):
            comment.append(line)
            continue
        if line.startswith("func "):
            yield _text("\n".join(comment)), line.partition(" {")[0]
        elif line.startswith(("type ", "const ", "var ")):
            yield _text("\n".join(comment)), _exported([line, *_rest(line, lines)])
        comment = []


def _rest(line: str, lines: Iterator[str]) -> Iterator[str]:
    """The lines of a declaration after its first one."""
    if line.endswith(("{", "(")):
        for each in lines:
            yield each
            if each[:1] in ("}", ")"):
                return


def _exported(lines: Iterable[str]) -> str:
    """A declaration without what is not exported."""
    first, *rest = lines
    if re.search(r"struct\{ [a-z]", first):
        return first.partition("{")[0] + " {\n\t// contains what is not exported\n}"
    kept: list[str] = []
    comment: list[str] = []
    hidden = False
    for line in rest:
        if line.startswith("\t//"):
            comment.append(line)
        elif first.endswith("struct {") and re.match(r"\t[a-z]", line):
            hidden, comment = True, []
        else:
            kept += [*(["\t// contains what is not exported"] if hidden and line == "}" else []), *comment, line]
            comment = []
    return "\n".join([first, *kept])


def _text(comment: str) -> str:
    """A comment as Markdown: its links to other names as code."""
    lines = [re.sub(r"^// ?", "", line) for line in comment.splitlines() if not line.startswith("//go:")]
    said = re.sub(r"(?<!\w)\[([\w.]+)\](?!\()", r"`\1`", "\n".join(lines)).strip()
    return re.sub(r"\w+\[\w+\]\([^)]*\)", r"`\g<0>`", said)  # a call with a type, which is not a link
