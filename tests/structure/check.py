"""What `make lint` checks of the structure of `host/`, beside the import contracts.

- No module imports itself by way of others. Imports that are for types only count, as do those within functions.
- No module has more than 500 lines, unless a line says why: `# Over 500 lines: REASON`. Test
  files have no such way out.
- No module uses a name of another module that begins with an underscore, nor such an attribute of another's object.
- No ten lines stand in two places. Imports, `__all__`, comments, docstrings and bare punctuation do not count.
- Only the modules of `PROCESS_STARTERS` start or become a process, by whatever means.
"""

from __future__ import annotations

import ast
import io
import sys
import tokenize
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

__all__ = ["Module", "cycles", "duplicates", "faults", "modules_below"]

ROOT = Path(__file__).resolve().parents[2]
MOST_LINES = 500
SAME_LINES = 10
REASON = "# Over 500 lines: "
# `_resource`: of classes that bindings generate, where no method of the WIT can have that name. The others are of
# objects of httpcore and wasmtime.
OTHERS_NAMES = {"_resource", "_connection", "_context", "_func"}
PROCESS_STARTERS = (
    *("dataflare.toolchain", "dataflare.runtime.isolation"),
    *("dataflare.conformance.adapter", "dataflare.conformance.killed_host", "dataflare.cli.editor"),
)
STARTING_MODULES = {"subprocess", "multiprocessing", "pty", "posix", "_posixsubprocess"}
STARTING_NAMES = {"ProcessPoolExecutor", "create_subprocess_exec", "create_subprocess_shell"}
STARTING_CALLS = {"fork", "forkpty", "system", "popen", "posix_spawn", "posix_spawnp", "startfile"}
STARTING_PREFIXES = ("exec", "spawn")


@dataclass(frozen=True)
class Module:
    """A module's name, file and text."""

    name: str
    file: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @cached_property
    def nodes(self) -> list[ast.AST]:
        return list(ast.walk(self.tree))

    @cached_property
    def private_names(self) -> set[str]:
        """The functions and attributes that it defines whose names begin with an underscore."""
        found = set()
        for node in self.nodes:
            if isinstance(node, ast.FunctionDef):
                found.add(node.name)
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                found.add(node.attr)
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                found.add(node.target.id)
        return {name for name in found if _is_private(name)}

    @cached_property
    def lines(self) -> list[str]:
        return self.text.splitlines()


def modules_below(folder: Path) -> dict[str, Module]:
    """All modules below a folder of packages, by name."""
    found = {}
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = Module(name, str(path.relative_to(folder)), path.read_text(encoding="utf-8"))
    return found


def imports_of(module: Module, known: Mapping[str, Module]) -> set[str]:
    """The modules that one imports, anywhere in it."""
    found = set()
    for node in module.nodes:
        if isinstance(node, ast.Import):
            found |= {each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            for each in node.names:
                whole = f"{node.module}.{each.name}"
                found.add(whole if whole in known else node.module)
    return (found & known.keys()) - {module.name}


def cycles(imports: Mapping[str, Iterable[str]]) -> list[list[str]]:
    """Groups of modules that import each other."""
    numbers: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    found = []

    def visit(name: str) -> None:
        numbers[name] = lowest[name] = len(numbers)
        stack.append(name)
        for other in imports[name]:
            if other not in numbers:
                visit(other)
                lowest[name] = min(lowest[name], lowest[other])
            elif other in stack:
                lowest[name] = min(lowest[name], numbers[other])
        if lowest[name] == numbers[name]:
            group = stack[stack.index(name) :]
            del stack[stack.index(name) :]
            if len(group) > 1:
                found.append(sorted(group))

    for name in imports:
        if name not in numbers:
            visit(name)
    return sorted(found)


def private_uses(module: Module, known: Mapping[str, Module]) -> Iterator[str]:
    """Names of other modules, and attributes of objects that other modules define, that begin with an underscore."""
    elsewhere = set().union(*(each.private_names for each in known.values())) - module.private_names - OTHERS_NAMES
    for node in module.nodes:
        if (
            isinstance(node, ast.Attribute)
            and node.attr in elsewhere
            and ast.unparse(node.value) not in ("self", "cls")
        ):
            yield f"{module.file}:{node.lineno}: takes {node.attr} of {ast.unparse(node.value)}"
    bound = {}
    for node in module.nodes:
        if isinstance(node, ast.ImportFrom) and node.module in known and node.module != module.name:
            for each in node.names:
                if _is_private(each.name):
                    yield f"{module.file}:{node.lineno}: takes {each.name} of {node.module}"
                if f"{node.module}.{each.name}" in known:
                    bound[each.asname or each.name] = f"{node.module}.{each.name}"
    for node in module.nodes:
        if not isinstance(node, ast.Attribute) or not isinstance(node.value, ast.Name):
            continue
        if _is_private(node.attr) and node.value.id in bound:
            yield f"{module.file}:{node.lineno}: takes {node.attr} of {bound[node.value.id]}"


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def process_starts(module: Module) -> Iterator[str]:
    """Where a module starts a process, or becomes another."""
    if module.name.startswith(PROCESS_STARTERS):
        return
    systems = {
        each.asname or each.name
        for node in module.nodes
        if isinstance(node, ast.Import)
        for each in node.names
        if each.name == "os"
    }
    for node in module.nodes:
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [each.name for each in node.names if each.name.partition(".")[0] in STARTING_MODULES]
        elif isinstance(node, ast.ImportFrom) and node.module:
            if node.module.partition(".")[0] in STARTING_MODULES:
                names = [node.module]
            elif node.module == "os":
                names = [each.name for each in node.names if _starts(each.name)]
            else:
                names = [each.name for each in node.names if each.name in STARTING_NAMES]
        elif isinstance(node, ast.Attribute):
            of_os = isinstance(node.value, ast.Name) and node.value.id in systems and _starts(node.attr)
            names = [node.attr] if of_os or node.attr in STARTING_NAMES else []
        for name in names:
            yield f"{module.file}:{node.lineno}: {name} starts a process: only {', '.join(PROCESS_STARTERS)} may"  # type: ignore[attr-defined]


def _starts(name: str) -> bool:
    return name in STARTING_CALLS or name.startswith(STARTING_PREFIXES)


def counted_lines(module: Module) -> list[tuple[int, str]]:
    """A module's lines with their numbers, without what does not count for duplicates."""
    passed: set[int] = set()
    for node in module.nodes:
        is_text = (
            isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        )
        is_list = isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
        if is_text or is_list or isinstance(node, ast.Import | ast.ImportFrom):
            passed |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))  # type: ignore[attr-defined]
    comments = {}
    for token in tokenize.generate_tokens(io.StringIO(module.text).readline):
        if token.type == tokenize.COMMENT:
            comments[token.start[0]] = token.start[1]
    out = []
    for number, line in enumerate(module.lines, 1):
        text = " ".join(line[: comments.get(number, len(line))].split())
        if number not in passed and any(each.isalnum() for each in text):
            out.append((number, text))
    return out


def duplicates(modules: Iterable[Module]) -> list[str]:
    """Runs of lines that stand in two places, each said once."""
    places: dict[tuple[str, ...], list[tuple[str, int, int]]] = defaultdict(list)
    for module in modules:
        lines = counted_lines(module)
        for at in range(len(lines) - SAME_LINES + 1):
            part = lines[at : at + SAME_LINES]
            places[tuple(text for _, text in part)].append((module.file, part[0][0], part[-1][0]))
    out, said = [], set()
    for found in places.values():
        if len(found) > 1:
            (one, begin, end), (two, other, _) = found[:2]
            # What begins a line later is the same run, going on.
            if (one, two, other - begin) not in said:
                out.append(f"{one}:{begin}-{end}: stands in {two}:{other} too")
            said.add((one, two, other - begin))
    return out


def faults(host: Mapping[str, Module], tests: Iterable[Module]) -> list[str]:
    """All that is wrong."""
    imports = {name: imports_of(module, host) for name, module in host.items()}
    out = [f"modules import each other: {', '.join(group)}" for group in cycles(imports)]
    for module in host.values():
        if len(module.lines) > MOST_LINES and REASON not in module.text:
            out.append(f"{module.file}: has {len(module.lines)} lines: split it, or say why not with {REASON!r}")
        out += [*private_uses(module, host), *process_starts(module)]
    out += [
        f"tests/{each.file}: has {len(each.lines)} lines, more than {MOST_LINES}: split it"
        for each in tests
        if len(each.lines) > MOST_LINES
    ]
    return out + duplicates(host.values())


def main() -> int:
    """Check; returns the exit code."""
    found = faults(modules_below(ROOT / "host"), modules_below(ROOT / "tests").values())
    sys.stderr.write("".join(f"{fault}\n" for fault in found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
