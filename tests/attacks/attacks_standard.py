"""Attacks through what connectors need: files that grow, and the metadata of columns."""

from __future__ import annotations

import os
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Final

import pyarrow as pa

from arena import Arena, Mutation, answers, attack
from dataflare.budgets import HostBudget, OverHostBytes, serving
from dataflare.capabilities.capability_failure import CapabilityFailure
from dataflare.capabilities.directory_files import DirectoryFiles
from dataflare.data.batches import Batch
from dataflare.data.batches import imports as batch_imports
from dataflare.data.schemas import to_wit
from dataflare.errors import PermissionDenied
from dataflare.grants import DatasetGrants, DirectoryGrant, Grants
from dataflare.runtime.dataset_grants import DatasetRules
from dataflare.runtime.datasets import Target
from dataflare.runtime.host import Host
from dataflare.values import Ok, Variant
from dataflare.wit_types.schemas import Field, Schema
from runtime_fakes import FakeEngine, Numbers, Shelf

KIB: Final = 1024
ROOM: Final = 4 * KIB * KIB


def files_of(arena: Arena) -> DirectoryFiles:
    """A folder `d` that a plugin may write to, beside a file that it may not."""
    (arena.folder / "d").mkdir()
    (arena.folder / "outside").write_bytes(b"outside\n")
    files = DirectoryFiles({"d": DirectoryGrant(path=arena.folder / "d", access="write")})
    arena.at_close(files.close)
    return files


@attack("files")
def append_to_a_second_name_of_a_file_outside(arena: Arena) -> None:
    """Append to a hard link in the granted folder whose file has another name outside of it."""
    files = files_of(arena)
    os.link(arena.folder / "outside", arena.folder / "d" / "inside")
    case = ""
    try:
        writer = files.append("d/inside")
        writer.write(b"evil\n")
        writer.publish()
        writer.close_handle()
    except CapabilityFailure as failure:
        case = failure.case
    assert ((arena.folder / "outside").read_bytes(), case) == (b"outside\n", "denied")


@attack("outputs")
def two_runs_append_at_once(arena: Arena) -> None:
    """Append to one file from two runs, so that the one that is dropped cuts off rows of the one that was published."""
    files = files_of(arena)
    (arena.folder / "d" / "log").write_bytes(b"old\n")
    one = files.append("d/log")
    one.write(b"first\n")
    try:
        other = files.append("d/log")
    except CapabilityFailure as failure:
        assert failure.case == "busy"
    else:
        other.write(b"x")
        one.publish()
        other.close_handle()
    one.publish()
    one.close_handle()
    assert (arena.folder / "d" / "log").read_bytes() == b"old\nfirst\n"


@attack("outputs")
def rows_of_a_run_that_was_killed(arena: Arena) -> None:
    """Be killed between two writes of an append: the file keeps rows of a run that never finished."""
    files = files_of(arena)
    (arena.folder / "d" / "log").write_bytes(b"old\n")
    writer = files.append("d/log")
    writer.write(b"half a ro")
    writer._file.close()  # type: ignore[attr-defined]
    writer._folder.close()  # type: ignore[attr-defined]
    assert files.stat("d/log").size_bytes == 4


def kept_batches(schema: Schema | None, metadata: list[tuple[str, str]]) -> int:
    """How many batches with metadata can be kept in a small room, of a thousand."""
    functions = batch_imports()
    kept = []
    try:
        with serving(HostBudget(ROOM)):
            for _ in range(1000):
                batch: Batch = functions["from-json-lines"](b"", schema).value
                if metadata:
                    batch = functions["[method]batch.with-column-metadata"](batch, "n", metadata).value
                # What is made of it keeps the metadata too, and the batch itself goes.
                kept.append(functions["[method]batch.slice"](batch, 0, 0).value)
    except OverHostBytes:
        pass
    return len(kept)


@attack("limits")
def metadata_of_columns_for_nothing(arena: Arena) -> None:
    """Keep many empty batches, each with 64 KB of metadata set on its column."""
    schema = Schema((Field("n", "int64", True, ()),), ())
    assert kept_batches(schema, [("k", "x" * 64 * KIB)]) < 2 * ROOM // (64 * KIB)


@attack("limits")
def metadata_of_schemas_for_nothing(arena: Arena) -> None:
    """Keep many empty batches, each with 64 KB of schema metadata."""
    field = Field("n", "int64", True, (("k", "x" * 32 * KIB),))
    assert kept_batches(Schema((field,), (("k", "x" * 32 * KIB),)), []) < 2 * ROOM // (64 * KIB)


class Payroll(Numbers):
    """A source of numbers, of which `wage` is a column that it has not shown."""

    def open(self, selections: Any, part: bytes | None, state: bytes | None) -> Any:
        super().open(selections, part, state)
        return Ok([to_wit(WAGES if self.greedy else self.schema)])

    def read(self, max_rows: int) -> Any:
        return Ok(Variant("new-schema", SimpleNamespace(selection=0, schema=to_wit(WAGES))))

    greedy = False


def payroll(datasets: DatasetGrants, arena: Arena, **attributes: Any) -> Any:
    engine = FakeEngine()
    host = Host(engine=engine)
    arena.at_close(host.close)
    component = engine.add(type("Hostile", (Payroll,), attributes))
    return host.load(component, name="plugin", grants=Grants(datasets=datasets))


def denied(call: Callable[[], object]) -> str:
    """The capability that a call was refused for; empty if it was not."""
    try:
        call()
    except PermissionDenied as error:
        return error.capability
    return ""


@attack("deny")
def dataset_beyond_the_grant(arena: Arena) -> None:
    """Read a dataset of a source of which the operator granted another one."""
    source = payroll({"others": "any"}, arena)
    assert source.discover() == []
    assert denied(lambda: source.open("numbers")) == "datasets:numbers"


@attack("deny")
def column_beyond_the_grant(arena: Arena) -> None:
    """Give rows a column that the operator did not grant: when a read is opened, and by a new schema within it."""
    granted = {"numbers": frozenset({"n"})}
    source = payroll(granted, arena, greedy=True)
    assert denied(lambda: source.open("numbers")) == "datasets:numbers.wage"
    source = payroll(granted, arena)
    source.open("numbers")
    assert denied(source.read) == "datasets:numbers.wage"


@attack("deny")
def target_beyond_the_grant(arena: Arena) -> None:
    """Write a dataset, and a column, that the operator did not grant."""
    engine = FakeEngine()
    host = Host(engine=engine)
    arena.at_close(host.close)
    component = engine.add(type("Hostile", (Shelf,), {"shelf": []}))
    shelf = host.load(component, name="plugin", grants=Grants(datasets={"numbers": frozenset({"n"})}))
    assert denied(lambda: shelf.open(Target("others", Payroll.schema))) == "datasets:others"  # type: ignore[attr-defined]
    assert denied(lambda: shelf.open(Target("numbers", WAGES))) == "datasets:numbers.wage"  # type: ignore[attr-defined]


WAGES: Final = pa.schema([("n", pa.int64()), ("wage", pa.int64())])
WRITERS: Final = "dataflare.capabilities.directory_writers"
MUTATIONS: Final = [
    *(
        Mutation(f"dataflare.runtime.{kind}:DatasetRules", lambda _, **rest: DatasetRules(None, **rest), attacks)
        for kind, attacks in (
            ("source", ("dataset_beyond_the_grant", "column_beyond_the_grant")),
            ("destination", ("target_beyond_the_grant",)),
        )
    ),
    Mutation(f"{WRITERS}:_require_own", answers(None), ("append_to_a_second_name_of_a_file_outside",)),
    Mutation(f"{WRITERS}:_lock", answers(True), ("two_runs_append_at_once",)),
    Mutation("dataflare.capabilities.directory_files:roll_back", answers(None), ("rows_of_a_run_that_was_killed",)),
    Mutation(
        "dataflare.data.charges:BatchMemory.described",
        lambda self, more_bytes: self,
        ("metadata_of_columns_for_nothing", "metadata_of_schemas_for_nothing"),
    ),
]
