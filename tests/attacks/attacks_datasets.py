"""Attacks by sources and destinations that answer what does not belong to the read or the run."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Final

import pyarrow as pa

from arena import Arena, Mutation, answers, attack
from dataflare.data.batches import Batch
from dataflare.data.roles import Roles
from dataflare.errors import DataflareError, ProtocolFault
from dataflare.runtime.datasets import Target
from dataflare.runtime.host import Host
from dataflare.values import Ok
from runtime_fakes import FakeEngine, Guest, Numbers, Shelf, numbers

N: Final = pa.schema([("n", pa.int64())])


def loaded(arena: Arena, guest: type[Guest], **attributes: Any) -> Any:
    engine = FakeEngine()
    host = Host(engine=engine)
    arena.at_close(host.close)
    return host.load(engine.add(type("Hostile", (guest,), attributes)), name="plugin")


def refused(call: Callable[[], object]) -> DataflareError | None:
    """Make a call; the error where it is refused."""
    try:
        call()
    except DataflareError as error:
        return error
    return None


def assert_fault(arena: Arena, error: DataflareError | None, words: str) -> None:
    assert isinstance(error, ProtocolFault), error
    assert words in error.message
    assert error.plugin == "plugin"


@attack("neighbours")
def token_of_another_pipeline(arena: Arena) -> None:
    """Answer `open` with the token of another pipeline, so that this one continues from a place that is not its own."""
    shelf = loaded(arena, Shelf, shelf=[], kept={"orders": b"dataflare:1\0salaries\0page 7"})
    error = refused(lambda: shelf.open(Target("rows", N), pipeline="orders"))
    assert_fault(arena, error, "it returned a token of the pipeline 'salaries'")


@attack("neighbours")
def token_that_nobody_gave(arena: Arena) -> None:
    """Answer `open` with bytes that the host never gave, for the program to read as its own."""
    shelf = loaded(arena, Shelf, shelf=[], kept={"orders": b'{"offset": -1}'})
    assert_fault(arena, refused(lambda: shelf.open(Target("rows", N), pipeline="orders")), "never given")


@attack("outputs")
def rejected_rows_that_there_are_not(arena: Arena) -> None:
    """Reject more rows than a batch has, so that fewer than none count as written."""
    shelf = loaded(arena, Shelf, shelf=[], rejects=(0, 1, 2, 3, 4, 5))
    shelf.open(Target("rows", N))
    assert_fault(arena, refused(lambda: shelf.write(numbers(1, 2))), "it rejected rows")
    assert shelf.rows_written == 0


@attack("outputs")
def rows_of_other_columns_than_were_told(arena: Arena) -> None:
    """Give rows of other columns than `open` told, to a destination that has made a table for those."""
    rows = Batch(pa.record_batch({"n": ["drop table"]}))

    def read(self: Any, max_rows: int) -> Any:
        found = Numbers.read(self, max_rows)
        found.value.value.rows = rows
        return found

    source = loaded(arena, Numbers, read=read)
    source.open()
    assert_fault(arena, refused(source.read), "it returned the columns n: string")


@attack("outputs")
def operation_column_that_is_a_text(arena: Arena) -> None:
    """Say that a column of texts tells which rows a destination has to delete."""
    schema = pa.schema([pa.field("n", pa.string(), metadata={"dataflare.role": "operation"})])
    error = refused(loaded(arena, Numbers, schema=schema).discover)
    assert_fault(arena, error, "an operation column is int8, not string")


@attack("limits")
def part_for_every_byte(arena: Arena) -> None:
    """Divide a read into many more parts than were asked for, each of which takes an instance."""
    source = loaded(
        arena, Numbers, split=lambda self, *_: Ok(SimpleNamespace(parts=[bytes([n]) for n in range(200)], rest=None))
    )
    assert_fault(arena, refused(lambda: source.split(at_most=2)), "it made 200 parts, of at most 2")


SOURCE: Final = "dataflare.runtime.source"
DESTINATION: Final = "dataflare.runtime.destination:Destination"
MUTATIONS: Final = [
    Mutation(f"{SOURCE}:Source._parts_of", lambda self, worker, found, at_most: found, ("part_for_every_byte",)),
    Mutation(
        f"{DESTINATION}._token_of",
        lambda self, worker, pipeline, kept: kept,
        ("token_of_another_pipeline", "token_that_nobody_gave"),
    ),
    Mutation(
        f"{DESTINATION}._rejected",
        lambda self, worker, found, rows, dataset: found,
        ("rejected_rows_that_there_are_not",),
    ),
    Mutation(f"{SOURCE}:fits_schema", answers(True), ("rows_of_other_columns_than_were_told",)),
    Mutation(f"{SOURCE}:roles_of", answers(Roles()), ("operation_column_that_is_a_text",)),
]
