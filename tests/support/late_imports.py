"""Does in one process what a worker does, and prints what it imports where a worker could not any more."""

from __future__ import annotations

import ast
import decimal
import importlib
import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from dataflare.runtime.isolation.worker import load_late
from dataflare.runtime.isolation.worker_task import SERVED_HERE


def imports_in_functions(name: str) -> Iterator[str]:
    """The modules that a module imports when its functions run."""
    module = sys.modules[name]
    source = getattr(module, "__file__", None)
    if source is None:
        return
    for function in ast.walk(ast.parse(Path(source).read_bytes())):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        for node in ast.walk(function):
            if isinstance(node, ast.Import):
                yield from (each.name for each in node.names)
            if isinstance(node, ast.ImportFrom):
                package = module.__package__ if node.level else None
                base = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
                yield base
                for each in node.names:
                    inner = f"{base}.{each.name}"
                    if importlib.util.find_spec(base) and not hasattr(importlib.import_module(base), each.name):
                        yield inner


def scanned() -> list[str]:
    """What functions of the package's modules import, and is not there yet."""
    loaded = {name for name in sys.modules if name.split(".")[0] == "dataflare"}
    before = set(sys.modules)
    found = {(name, each) for name in sorted(loaded) for each in imports_in_functions(name)}
    return sorted(f"{name} imports {each}" for name, each in found if each not in before)


class Recorder:
    """Stands before all finders, and notes what is looked for."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        self.found.append(name)


def work() -> None:
    """Run the functions over batches that a worker serves: each expression's example, and all that reads and writes."""
    import pyarrow as pa

    from dataflare.data import batches
    from dataflare.data.expressions import interface
    from dataflare.data.expressions.registry import FUNCTIONS
    from dataflare.data.shapes import DataFailure
    from expression_kit import call, column, compute, literal_of

    for function in FUNCTIONS.values():
        arguments = [each if isinstance(each, pa.Scalar) else pa.scalar(each) for each in function.example.arguments]
        columns = {f"c{at}": pa.array([each.as_py()] * 3, each.type) for at, each in enumerate(arguments)}
        keep = len(arguments) if function.literal_from is None else function.literal_from
        nodes = [column(f"c{at}") if at < keep else literal_of(each.as_py()) for at, each in enumerate(arguments)]
        options = {name: literal_of(value) for name, value in function.example.options.items()}
        compute(pa.RecordBatch.from_pydict(columns), [*nodes, call(function.name, *range(len(nodes)), **options)])
    kinds = {
        "i": pa.array([1, None]),
        "d": pa.array([decimal.Decimal("1.5"), None]),
        "t": pa.array([0, None], pa.timestamp("us", "UTC")),
        "z": pa.array([0, None], pa.timestamp("us", "Asia/Tokyo")),
        "n": pa.array([[{"a": 1}], None]),
        "s": pa.array(["a", None]).dictionary_encode(),
        "b": pa.array([b"a", None]),
        "u": pa.array([5, None], pa.duration("s")),
        "y": pa.array([5, None], pa.date32()),
        "h": pa.array([5, None], pa.time64("ns")),
    }
    rows = batches.Batch(pa.RecordBatch.from_pydict(kinds), max_bytes=2**20)
    functions = batches.imports(max_batch_bytes=2**20)
    columns = [(name, name) for name in kinds]
    lines = b'{"a": 1, "b": [1.5, {"c": "2024-01-01"}]}\n'
    stream = batches.encode_stream(rows.arrow)  # type: ignore[attr-defined]
    given: list[tuple[Any, ...]] = [(rows,), ([rows, rows],), (rows, list(kinds)), (rows, 0, 1), (lines,), (stream,)]
    given += [(rows, name) for name, _ in columns]  # type: ignore[str-unpack]
    given += [(rows, name, kind) for name in kinds for kind in ("string", "int64", "timestamp[us, tz=UTC]")]
    ran = set()
    for name, function in functions.items():
        for arguments in given:
            try:
                function(*arguments)
            except (DataFailure, TypeError, ValueError, AttributeError, IndexError, KeyError):
                continue  # another function's arguments
            ran.add(name)
    relations = interface.imports(max_batch_bytes=2**20)
    relations["sort"](rows, [SimpleNamespace(column="i", descending=True)], "first")
    count, total = (SimpleNamespace(name=each, aggregate=each, column="i") for each in ("count", "sum"))
    for keys in (["s"], []):
        relations["aggregate"](rows, keys, [count, total])
    renamed = rows.rename_column("d", "e")
    for kind in ("inner", "left-outer", "left-semi", "left-anti"):
        relations["join"](rows.select(["i", "d"]), renamed.select(["i", "e"]), [("i", "i")], kind)
    missed = {each for each in functions if "with-" not in each} - ran
    assert len(missed) < 8, missed


def main() -> None:
    """Print both lists."""
    for module in SERVED_HERE.values():
        importlib.import_module(module)
    importlib.import_module("expression_kit")
    load_late()
    recorder = Recorder()
    sys.meta_path.insert(0, recorder)  # type: ignore[arg-type]  # no more than what Python asks for
    work()
    sys.meta_path.remove(recorder)  # type: ignore[arg-type]
    json.dump([sorted(set(recorder.found)), scanned()], sys.stdout)


if __name__ == "__main__":
    main()
