"""Attacks by texts of which a part is looked for again and again in all that follows it."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

from arena import Arena, Mutation, attack
from dataflare.errors import ConfigError
from dataflare.pipeline.config_schema import misfits
from dataflare.pipeline.connectors.registry import BUILT_IN
from dataflare.pipeline.databases.statements import check_one_statement
from dataflare.pipeline.readers import open_source
from dataflare.pipeline.run_errors import DataError

MOST_S = 0.5
"""Far more than it takes to look at each character once, and far less than for each pair of them."""


def _in_time(call: Callable[[], Any]) -> Any:
    """The result of a call that takes little of the processor's time."""
    begun = time.thread_time()
    try:
        return call()
    finally:
        took_s = time.thread_time() - begun
        assert took_s < MOST_S, f"it took {took_s:.1f} s"


@attack("limits")
def query_of_openings(arena: Arena) -> None:
    """Fill a query with beginnings of comments, names and texts that are never closed, so that each is looked for."""
    tags = "".join(f" $a{number}$" for number in range(8_000))
    for kind, query in (
        ("sqlite", "/* " * 10_000),
        ("sqlite", "[" * 60_000),
        ("duckdb", "/* " * 10_000),
        ("duckdb", tags),
    ):
        kinds: Any = kind
        refused = lambda query=query, kinds=kinds: check_one_statement(f"SELECT 1 {query}", kinds)  # noqa: E731
        _in_time(lambda refused=refused: arena.raises(ConfigError, refused))


@attack("limits")
def schema_of_long_lists(arena: Arena) -> None:
    """Give a schema for the configuration that refers many times to a list of many values, or of words to compare."""
    config = {"a": "word"}
    lists: tuple[Any, ...] = (
        {"enum": [*range(20_000), config]},
        {"properties": {f"a{number}": True for number in range(900)}, "additionalProperties": False},
        {"required": [str(number) for number in range(20_000)]},
    )
    for each in lists:
        schema = {"$defs": {"e": each}, "allOf": [{"$ref": "#/$defs/e"}] * 80}
        assert len(_in_time(lambda schema=schema: misfits(config, json.dumps(schema)))) <= 100


@attack("limits")
def line_of_one_long_word(arena: Arena) -> None:
    """Put a word of many characters before what is wrong with a line of JSON, to have its beginning looked for."""
    place = arena.folder / "a.jsonl"
    node = BUILT_IN["jsonl"].read_node.model_validate({"connector": "jsonl", "read": str(place)})
    place.write_text(f'{{"a": "{"x" * 15_000}", b}}\n')

    def read() -> None:
        with closing(open_source(node, place)) as source:
            list(source.batches())

    _in_time(lambda: arena.raises(DataError, read))


_STEPS = "dataflare.pipeline.config_schema:_MAX_STEPS"
_STATEMENTS = "dataflare.pipeline.databases.statements"
MUTATIONS = [
    Mutation(f"{_STATEMENTS}:_SQLITE", re.compile(r"\[[^\]]*\]|/\*.*?\*/", re.DOTALL), ("query_of_openings",)),
    Mutation(
        f"{_STATEMENTS}:_OTHERS",
        re.compile(r"/\*.*?\*/|\$([a-z][a-z0-9]*)\$.*?\$\1\$", re.DOTALL),
        ("query_of_openings",),
    ),
    Mutation(_STEPS, 2**62, ("schema_of_long_lists",)),
    Mutation("dataflare.pipeline.reading.jsonl_reader:_MOST_WORD", 2**62, ("line_of_one_long_word",)),
]
