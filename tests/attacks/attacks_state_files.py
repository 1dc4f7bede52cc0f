"""Attacks by those who may write where a pipeline keeps its state, or who hand somebody a state to import."""

from __future__ import annotations

import contextlib
import json
import math
import re
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import yaml

from arena import Arena, Mutation, answers, attack
from attacks_terminal import shown
from dataflare.capabilities import sqlite_state
from dataflare.capabilities.capability_failure import CapabilityFailure
from dataflare.capabilities.sqlite_state import SqliteStateStore
from dataflare.cli import app as application
from dataflare.cli import state
from dataflare.cli.conformance_common import known_failures
from dataflare.documents.reader import Document
from dataflare.errors import ConfigError
from dataflare.pipeline.pipeline_state import Checkpoint
from dataflare.pipeline.run_errors import StateError
from dataflare.pipeline.state_file import StateFile
from dataflare.texts import LOG_CHARACTERS

ENDLESS = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT x FROM c"


def _pipeline(arena: Arena) -> tuple[Path, Path]:
    """A pipeline's file, and its state, in which something is kept of each kind."""
    nodes = {
        "read": {"connector": "csv", "read": "in.csv", "schema": "evolve"},
        "write": {"connector": "jsonl", "input": "read", "write": "out.jsonl"},
    }
    file, state = arena.folder / "p.yaml", arena.folder / "p.state"
    file.write_text(json.dumps({"name": "p", "nodes": nodes}))
    column = json.dumps([{"name": "a", "type": "int64", "nullable": True}])
    change = {"change": "new-column", "column": "a", "before": "", "now": "int64", "result": "evolved", "since": "run"}
    with contextlib.suppress(FileNotFoundError):
        state.unlink()
    with StateFile(state, pipeline="p") as kept:
        kept.begin("read", "{}")
        kept.commit([("read", Checkpoint(1, b"{}"), 1)], [("read", column, [json.dumps(change)])])
    return file, state


def _commands(file: Path, state: Path) -> Iterator[tuple[str, str]]:
    """What the commands that read a state say."""
    for words in (["state", "list"], ["state", "show"], ["state", "export"], ["runs", "list"]):
        line = [*words, str(file), "--state", str(state)]
        try:
            yield " ".join(words), shown(lambda line=line: application.run(line))
        except Exception as error:
            raise AssertionError(f"{words}: {error!r}") from error


@attack("files-in")
def nonsense_in_the_state_of_a_pipeline(arena: Arena) -> None:
    """Put times of another age, endless counts and nonsense into a state, which end commands in ways of their own."""
    for change in (
        *("UPDATE node SET saved_at = 1e300", "UPDATE node SET saved_at = 9e999", "UPDATE node SET saved_at = 'x'"),
        *(
            "UPDATE node SET sequence = 9223372036854775807",
            "UPDATE node SET rows = -1",
            "UPDATE node SET rows = 1e300",
        ),
        *("UPDATE known_schema SET columns = '5'", "UPDATE known_schema SET columns = '[1]'"),
        *("UPDATE known_schema SET columns = x'00'", "UPDATE schema_change SET change = '[1]'"),
        *("UPDATE schema_change SET change = '{}'", "UPDATE schema_change SET noted_at = 1e300"),
    ):
        file, state = _pipeline(arena)
        with contextlib.closing(sqlite3.connect(state, isolation_level=None)) as other:
            other.execute(change)
        said = dict(_commands(file, state))
        assert any("error: " in text for text in said.values()), f"{change}: {said}"


@attack("files-in")
def state_that_computes_without_end(arena: Arena) -> None:
    """Put a view, a trigger or a computed column in place of a state's table: reading it never ends."""
    for change in (
        f"DROP TABLE node; CREATE VIEW node AS {ENDLESS}",
        "CREATE TRIGGER t AFTER INSERT ON run BEGIN INSERT INTO intent VALUES (zeroblob(900000000), 1); END",
        "DROP TABLE intent; CREATE TABLE intent (path TEXT, mark TEXT AS (zeroblob(900000000)))",
        "DROP TABLE intent; CREATE TABLE intent (path TEXT, mark TEXT CHECK (length(zeroblob(900000000)) > 0))",
        "DROP TABLE intent; CREATE TABLE intent (path TEXT, mark TEXT DEFAULT (zeroblob(900000000)))",
        "CREATE INDEX i ON intent (length(zeroblob(900000000)))",
    ):
        _, state = _pipeline(arena)
        with contextlib.closing(sqlite3.connect(state)) as other:
            other.executescript(change)
        arena.raises(StateError, lambda state=state: StateFile(state, pipeline="p"), says="is not a plain table")


@attack("limits")
def state_that_takes_long_to_read(arena: Arena) -> None:
    """Link the pages of a state so that it has rows without end: a use of it ends with its time, and with its call."""
    before, sqlite_state._MOST_S = sqlite_state._MOST_S, 0.1  # type: ignore[misc]
    arena.at_close(lambda: setattr(sqlite_state, "_MOST_S", before))
    store = SqliteStateStore(arena.folder / "state")
    arena.at_close(store.close)
    began = time.monotonic()
    long = f"{ENDLESS} LIMIT 3000000"  # no damaged file is made here: what SQLite does for one is this
    arena.raises(
        CapabilityFailure, lambda: store._use(lambda connection: list(connection.execute(long))), says="interrupted"
    )
    assert time.monotonic() - began < 2
    arena.raises(
        CapabilityFailure,
        lambda: store._use(lambda connection: connection.execute("SELECT length(zeroblob(900000000))").fetchone()),
        says="too big",
    )


@attack("files-in")
def counts_that_are_imported(arena: Arena) -> None:
    """Import a state with the largest possible numbers, so that the next run cannot increment them."""
    file, state = _pipeline(arena)
    source = {"node": "read", "lineage": "x", "reading": {}, "state": None, "complete": False}
    for counts in ({"sequence": 2**63 - 1, "rows": 0}, {"sequence": 0, "rows": 2**63 - 1}):
        states = arena.folder / "states.json"
        states.write_text(json.dumps({"pipeline": "p", "sources": [source | counts]}))
        line = ["state", "import", str(file), str(states), "--state", str(state)]
        written = shown(lambda line=line: application.run(line))
        assert "less than" in written, written


@attack("terminal")
def keys_of_a_megabyte_in_what_is_imported(arena: Arena) -> None:
    """Fill the terminal with a key, or a name, of a state that is imported or opened."""
    file, state = _pipeline(arena)
    states = arena.folder / "states.json"
    states.write_text(json.dumps({"pipeline": "p", "sources": [], "k" * 2**20: 1}))
    written = shown(lambda: application.run(["state", "import", str(file), str(states), "--state", str(state)]))
    assert "error: " in written and len(written) < 2 * LOG_CHARACTERS, len(written)
    with contextlib.closing(sqlite3.connect(state, isolation_level=None)) as other:
        other.execute("UPDATE pipeline SET name = ?", ("n" * 2**20,))
    for _, written in _commands(file, state):
        assert "it is the state of" in written and len(written) < 2 * LOG_CHARACTERS, written[:500]


@attack("files-in")
def numbers_that_json_does_not_have(arena: Arena) -> None:
    """Have a state say NaN, or a number that is infinite, of which JSON knows nothing when it is shown."""
    file, state = _pipeline(arena)
    for text in (b"NaN", b"1e999", b'{"a": [-Infinity]}'):
        with contextlib.closing(sqlite3.connect(state, isolation_level=None)) as other:
            other.execute("UPDATE node SET state = ?", (text,))
        exported = shown(lambda: application.run(["state", "export", str(file), "--state", str(state)]))
        readable = json.loads(exported, parse_constant=_no_number)["sources"][0]["readable"]
        assert re.search("nan|inf", str(readable)), readable


@attack("files-in")
def known_failures_that_yaml_stumbles_over(arena: Arena) -> None:
    """Write a list of known failures of conformance that YAML's parser fails at in ways of its own."""
    file = arena.folder / "known.yaml"
    for text in ("a: 2026-99-99", "a: !!python/object:os.system {}", "a: &a [*a]", "? [b]\n: c", "a: \ud800"):
        file.write_text(text, errors="surrogatepass")
        arena.raises(ConfigError, lambda: known_failures(file))


def _no_number(name: str) -> None:
    raise AssertionError(f"{name} is not JSON")


class _AnySource(state._Source):
    sequence: int
    rows: int


class _AnyExport(state._Export):
    sources: list[_AnySource]  # type: ignore[assignment]  # more than the real one takes


MUTATIONS = [
    Mutation("dataflare.cli.state:_Export", _AnyExport, ("counts_that_are_imported",)),
    Mutation(
        "dataflare.documents.reader:_parse",
        lambda text, name, _: Document(name, yaml.unsafe_load(text), {}),
        ("known_failures_that_yaml_stumbles_over",),
    ),
    Mutation("dataflare.pipeline.pipeline_state:_FAR_S", math.inf, ("nonsense_in_the_state_of_a_pipeline",)),
    Mutation("dataflare.cli.state:schema_from_text", answers(None), ("nonsense_in_the_state_of_a_pipeline",)),
    Mutation(
        "dataflare.capabilities.sqlite_state:SqliteStateStore._check_tables",
        answers(None),
        ("state_that_computes_without_end",),
    ),
    Mutation("dataflare.capabilities.sqlite_state:Guard.begin", answers(None), ("state_that_takes_long_to_read",)),
    Mutation("dataflare.capabilities.sqlite_state:_MAX_VALUE_BYTES", 2**30, ("state_that_takes_long_to_read",)),
    Mutation("dataflare.errors:cut", lambda text, *_: text, ("keys_of_a_megabyte_in_what_is_imported",)),
    Mutation("dataflare.cli.output:_finite", lambda value: value, ("numbers_that_json_does_not_have",)),
]
