"""Steps for destinations that write files: the files after a flush, an abort, a plan, and a run that was shut out.

The texts of the sample are looked for in the bytes of the files, so that the format does not matter, as long as it is
written plainly.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from dataflare import PluginError
from dataflare.conformance.samples import halves, plain_texts
from dataflare.conformance.steps import Bench, NotConformant, NotTested, step
from dataflare.conformance.steps_destination import modes, require, running, target
from dataflare.conformance.values import as_table, objects, shown

__all__ = ["require_plain", "texts_in_files", "times_in_files"]

_MOST_BYTES: Final = 64 * 2**20


@step("files-after")
def files_after(bench: Bench, arguments: dict[str, Any]) -> None:
    """After `finish`, or a `flush` that said true and no more, all rows are in the files; after `abort`, none is."""
    what = arguments["what"]
    first, second = _halves(bench)
    require_plain(bench, first)
    due = plain_texts(second) - plain_texts(first)
    if not due:
        raise NotTested("the texts of the second half of the sample are those of the first")
    earlier = plain_texts(first) - plain_texts(second)
    tried = False
    for number, mode in enumerate(modes(bench)):
        rejected: set[int] = set()
        there = texts_in_files(bench, earlier) if mode == "append" or what == "abort" else set()
        with running(bench, target(bench, mode), number + 2) as plugin:
            rejected = {each.row for each in plugin.write(second)}
            match what:
                case "finish":
                    plugin.finish(b"second")
                case "abort":
                    plugin.abort()
                case "flush":
                    safe = plugin.flush(b"second")
        if what == "flush":
            if not safe:
                plugin.abort()
                continue
            # As after a crash: the run is not ended, and another instance begins.
            bench.leave()
            again = bench.make()
            again.open(target(bench), pipeline="another", run="r", generation=1)
            again.abort()
        tried = True
        taken = plain_texts(second.take([row for row in range(second.num_rows) if row not in rejected]))
        if refused := texts_in_files(bench, due - taken):
            raise NotConformant(f"in the mode `{mode}`, {sorted(refused)[:3]} of rejected rows are in the files")
        due &= taken
        found = texts_in_files(bench, due)
        if what == "abort" and found:
            raise NotConformant(f"in the mode `{mode}`, {sorted(found)[:3]} are in the files after `abort`")
        if what != "abort" and (lost := due - found):
            raise NotConformant(f"in the mode `{mode}`, {sorted(lost)[:3]} are in no file after `{what}`")
        if gone := there - texts_in_files(bench, there):
            raise NotConformant(f"in the mode `{mode}`, {sorted(gone)[:3]} of an earlier run are gone after `{what}`")
    if not tried:
        raise NotTested("the destination keeps its rows until `finish`")


@step("files-once")
def files_once(bench: Bench, _: Any) -> None:
    """A row is in the files once, however often `flush` and `finish` are called."""
    first, second = _halves(bench)
    if "append" not in modes(bench):
        raise NotTested("the destination writes rows by their keys, or replaces them")
    require_plain(bench, first)
    names = " ".join(first.schema.names)
    every = [*plain_texts(first), *plain_texts(second), names]
    # Texts that no other text, and no name, has within it: what is written of them can be counted.
    alone = {text for text in every if any(map(str.isalpha, text)) and sum(text in other for other in every) == 1}
    before, due = plain_texts(first) & alone, plain_texts(second) & alone - plain_texts(first)
    if not before or not due or _wrong_number(bench, first, before):
        raise NotTested("the texts of the sample cannot be counted in what is written")
    with running(bench, target(bench, "append"), 2) as plugin:
        rejected = {each.row for each in plugin.write(second)}
        for _call in range(2):
            plugin.flush(b"again")
        for _call in range(2):
            plugin.finish(b"again")
    taken = second.take([row for row in range(second.num_rows) if row not in rejected])
    if wrong := _wrong_number(bench, taken, due & plain_texts(taken)):
        text, number, times = wrong
        what = f"{text!r} is in {number} rows, and {times} times in the files, after two calls of `flush` and `finish`"
        raise NotConformant(what, given=shown(taken))


def _wrong_number(bench: Bench, rows: pa.RecordBatch, texts: Collection[str]) -> tuple[str, int, int] | None:
    """A text that is in the files another number of times than in the rows, with both numbers."""
    everything = b"\n".join(_contents(bench).values())
    values = [value for column in rows.columns if pa.types.is_string(column.type) for value in objects(column)]
    for text in sorted(texts):
        if values.count(text) != everything.count(text.encode()):
            return text, values.count(text), everything.count(text.encode())
    return None


@step("files-replaced")
def files_replaced(bench: Bench, _: Any) -> None:
    """A run in the mode `replace` leaves its own rows alone when it finishes, and nothing when it is aborted."""
    require(bench, "replace")
    first, second = _halves(bench)
    require_plain(bench, first)
    old, new = (plain_texts(one) - plain_texts(other) for one, other in ((first, second), (second, first)))
    runs: tuple[tuple[pa.RecordBatch, str], ...] = ((first, "finish"), (second, "abort"), (second, "finish"))
    for number, (rows, end) in enumerate(runs):
        with running(bench, target(bench, "replace"), number + 2) as plugin:
            plugin.write(rows)
            if end == "finish":
                plugin.finish(b"")
            else:
                plugin.abort()
        due, gone = (old, new) if number < 2 else (new, old)
        if lost := due - texts_in_files(bench, due):
            raise NotConformant(f"after `{end}`, {sorted(lost)[:3]} are in no file")
        if left := texts_in_files(bench, gone):
            raise NotConformant(f"after `{end}`, {sorted(left)[:3]} are in the files")


@step("files-merged")
def files_merged(bench: Bench, arguments: dict[str, Any]) -> None:
    """A row in the mode `merge` takes the place of the one with its key, or removes it."""
    delete = bool(arguments.get("delete"))
    require(bench, "merge", *(["delete"] if delete else []))
    rows, _ = _halves(bench)
    require_plain(bench, rows)
    key, *others = rows.schema.names
    texts = [name for name in others if pa.types.is_string(rows.schema.field(name).type)]
    keys = objects(rows.column(key))
    if not texts or None in keys or len({repr(each) for each in keys}) < len(keys):
        raise NotTested("the sample needs a first column of different values, and another one of texts")
    place = rows.schema.get_field_index(texts[0])
    old = pa.array([f"merged text {n}" for n in range(rows.num_rows)])
    before = rows.set_column(place, pa.field(texts[0], pa.string()), old)
    if delete:
        _merge_with_operations(bench, before, key)
        gone, due = {"merged text 0"}, set(old.to_pylist()[1:])
    else:
        new = pa.array([f"other text {n}" for n in range(rows.num_rows)])
        with running(bench, target(bench, "merge", before.schema), 2) as plugin:
            plugin.write(before)
            plugin.finish(b"")
        with running(bench, target(bench, "merge", before.schema), 3) as plugin:
            plugin.write(before)  # of two rows with one key, the last counts
            plugin.write(before.set_column(place, texts[0], new))
            plugin.finish(b"")
        gone, due = set(old.to_pylist()), set(new.to_pylist())
    if left := texts_in_files(bench, gone):
        raise NotConformant(f"{sorted(left)[:3]} of rows that are no more are in the files")
    if lost := due - texts_in_files(bench, due):
        raise NotConformant(f"{sorted(lost)[:3]} are in no file")


def _merge_with_operations(bench: Bench, rows: pa.RecordBatch, key: str) -> None:
    """Insert rows, and delete the first of them in the next run."""
    operation = pa.field("conformance_operation", pa.int8(), metadata={"dataflare.role": "operation"})
    schema = pa.schema([*(each.with_nullable(True) for each in rows.schema), operation])
    inserts = [*rows.columns, pa.nulls(rows.num_rows, pa.int8())]
    removed = [
        rows.column(n).slice(0, 1) if name == key else pa.nulls(1, rows.schema.field(n).type)
        for n, name in enumerate(rows.schema.names)
    ]
    for number, columns in enumerate((inserts, [*removed, pa.array([2], pa.int8())])):
        with running(bench, target(bench, "merge", schema), number + 2) as plugin:
            plugin.write(pa.RecordBatch.from_arrays(columns, schema=schema))
            plugin.finish(b"")


@step("files-planned")
def files_planned(bench: Bench, _: Any) -> None:
    """`plan` changes no file."""
    _folders(bench)
    for mode in modes(bench):
        before = _contents(bench)
        bench.plugin.plan(target(bench, mode))
        if _contents(bench) != before:
            raise NotConformant(f"in the mode `{mode}`, `plan` changed files")


@step("files-shut-out")
def files_shut_out(bench: Bench, _: Any) -> None:
    """Rows of a run that was shut out are in no file when it was told so."""
    require(bench, "shut-out")
    old_rows, new_rows = _halves(bench)
    require_plain(bench, new_rows)
    old, new = bench.make(), bench.make()
    old.open(target(bench), pipeline="conformance", run="old", generation=8)
    old.write(old_rows)
    new.open(target(bench), pipeline="conformance", run="new", generation=9)
    ends: tuple[Callable[[bytes], Any], ...] = (old.flush, old.finish)
    for end in ends:
        try:
            end(b"old")
        except PluginError as error:
            if error.error.case != "superseded":
                raise
    new.write(new_rows)
    new.finish(b"new")
    if found := texts_in_files(bench, plain_texts(old_rows) - plain_texts(new_rows)):
        raise NotConformant(f"{sorted(found)[:3]} of a run that was shut out are in the files")


def _halves(bench: Bench) -> tuple[pa.RecordBatch, pa.RecordBatch]:
    first, second = halves(as_table(bench["sample"]))
    if not first.num_rows:
        raise NotTested("the sample has not two rows")
    return first.to_batches()[0], second.to_batches()[0]


def require_plain(bench: Bench, rows: pa.RecordBatch) -> None:
    """Let the case apply only where a finished run's texts can be found, tried with other rows."""
    _folders(bench)
    require(bench)
    if not plain_texts(rows):
        raise NotTested("the sample has no column of plain texts, of three letters or more")
    with running(bench, target(bench), 1, plugin=bench.make()) as plugin:
        plugin.write(rows)
        plugin.finish(b"first")
    if not texts_in_files(bench, plain_texts(rows)):
        raise NotTested("what is written cannot be read as plain text")


def _folders(bench: Bench) -> list[Path]:
    if not bench.work.folders:
        raise NotTested("the destination was not granted a directory to write")
    return bench.work.folders


def _contents(bench: Bench) -> dict[Path, bytes]:
    files = [each for folder in _folders(bench) for each in sorted(folder.rglob("*")) if each.is_file()]
    if sum(each.stat().st_size for each in files) > _MOST_BYTES:
        raise NotTested("the files are too large to be looked at")
    return {each: each.read_bytes() for each in files}


def texts_in_files(bench: Bench, texts: Collection[str]) -> set[str]:
    """Those of the texts that are in a file of the directories that were granted; none where none was granted."""
    if not bench.work.folders:
        return set()
    everything = b"\n".join(_contents(bench).values())
    return {each for each in texts if each.encode() in everything}


def times_in_files(bench: Bench, text: str) -> int:
    """How often a text is in the files of the directories that were granted."""
    return sum(data.count(text.encode()) for data in _contents(bench).values()) if bench.work.folders else 0
