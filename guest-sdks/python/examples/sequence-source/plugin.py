"""A source that makes rows of consecutive numbers."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from componentize_py_types import Err
from dataflare_plugin import guarded, healthy, parse_object
from wit_world import exports
from wit_world.exports import source
from wit_world.imports import batches, datasets, types
from wit_world.imports.schemas import Field, Schema

LARGEST = 2**63 - 1
INTEGERS: dict[str, tuple[str, int | None, int, int]] = {
    # key: description, default (None: required), least, greatest
    "rows": ("How many rows to make.", None, 0, 2**53),
    "batch_rows": ("Rows in a batch, at most.", 65536, 1, 2**20),
    "start": ("The first number.", 0, -LARGEST - 1, LARGEST),
    "step": ("The difference between a number and the next.", 1, -LARGEST - 1, LARGEST),
}


@dataclass(frozen=True)
class Config:
    """The configuration."""

    rows: int
    batch_rows: int
    start: int
    step: int
    column: str


@dataclass
class Reading:
    """A read that is under way: the next row, and the one after the last."""

    next: int
    end: int


class Plugin:
    """What the instance knows: the configuration, set by `configure`, and the read that is under way."""

    config: Config
    reading: Reading | None = None


def config_schema() -> str:
    """A JSON Schema of the configuration."""
    properties: dict[str, Any] = {"column": {"description": "The column's name.", "type": "string", "default": "n"}}
    for key, (description, default, least, greatest) in INTEGERS.items():
        properties[key] = {"description": description, "type": "integer", "minimum": least, "maximum": greatest}
        if default is not None:
            properties[key]["default"] = default
    return json.dumps(
        {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "additionalProperties": False,
            "required": ["rows"],
            "properties": properties,
        }
    )


def parse_config(text: str) -> Config:
    """Read and check the configuration."""
    given = parse_object(text)
    if unknown := given.keys() - INTEGERS.keys() - {"column"}:
        raise Err(types.Error_InvalidConfig(f"unknown keys: {', '.join(sorted(unknown))}"))
    numbers = {key: given.get(key, default) for key, (_, default, _, _) in INTEGERS.items()}
    for key, (_, _, least, greatest) in INTEGERS.items():
        value = numbers[key]
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= greatest:
            raise Err(types.Error_InvalidConfig(f"{key}: give a whole number within {least} and {greatest}"))
    column = given.get("column", "n")
    if not isinstance(column, str) or not column:
        raise Err(types.Error_InvalidConfig("column: give a text"))
    config = Config(**numbers, column=column)
    if abs(config.start + config.step * max(config.rows - 1, 0)) > LARGEST:
        raise Err(types.Error_InvalidConfig("rows: the last number would not fit 64 bits"))
    return config


def parse_rows(data: bytes, *keys: str) -> list[int]:
    """The row numbers of a state or a part, which are JSON objects with just these keys."""
    try:
        given = json.loads(data)
        numbers = [given[key] for key in keys] if given.keys() == set(keys) else []
    except (ValueError, TypeError, KeyError, AttributeError):
        numbers = []
    rows = Plugin.config.rows
    if not numbers or any(
        not isinstance(each, int) or isinstance(each, bool) or not 0 <= each <= rows for each in numbers
    ):
        raise Err(types.Error_InvalidState("these bytes do not come from this source and its configuration"))
    return numbers


def rows_of(part: bytes | None, state: bytes | None) -> Reading:
    """The rows that a part and a state leave."""
    begin, end = (0, Plugin.config.rows) if part is None else parse_rows(part, "from", "to")
    if state is not None:
        (done,) = parse_rows(state, "rows")
        if not begin <= done <= end:
            raise Err(types.Error_InvalidState("the state is of another part"))
        begin = done
    return Reading(begin, end)


def check(selections: list[source.Selection]) -> None:
    """Refuse what is not the one dataset, all of it."""
    for each in selections:
        if (each.dataset.namespace, each.dataset.name) != ("", "sequence"):
            raise Err(types.Error_InvalidConfig(f"there is no dataset {each.dataset.name!r}, only 'sequence'"))
        if not isinstance(each.mode, datasets.ReadingMode_Full):
            raise Err(types.Error_InvalidConfig("dataset 'sequence': it can only be read in the mode full"))
        if unknown := set(each.columns) - {Plugin.config.column}:
            raise Err(types.Error_InvalidConfig(f"dataset 'sequence': there is no column {min(unknown)!r}"))
    if len(selections) != 1:
        raise Err(types.Error_InvalidConfig("select the dataset 'sequence', once"))


def schema() -> Schema:
    """One column of whole numbers, which tell rows apart unless they are all the same."""
    config = Plugin.config
    roles = [("dataflare.key", "0")] if config.step else []
    return Schema([Field(config.column, "int64", True, roles)], [])


class Lifecycle(exports.Lifecycle):
    """The plugin's life."""

    def get_metadata(self) -> types.Metadata:
        """What the plugin says of itself."""
        description = "Makes rows of consecutive numbers"
        return types.Metadata("sequence-source", "1.0.0", types.Kind.SOURCE, description, config_schema())

    @guarded
    def configure(self, config: str) -> None:
        """Take the configuration."""
        Plugin.config = parse_config(config)

    def initialize(self) -> None:
        """Nothing is to be opened."""

    def shutdown(self) -> None:
        """Nothing is to be closed."""

    def health_check(self) -> types.Health:
        """It always works."""
        return healthy()


class Source(exports.Source):
    """The numbers."""

    @guarded
    def discover(self) -> list[datasets.Dataset]:
        """There is one sequence."""
        config = Plugin.config
        name = datasets.DatasetName("", "sequence")
        description = f"{config.rows} numbers from {config.start}, {config.step} apart"
        modes = datasets.ReadingModes.FULL | datasets.ReadingModes.SPLITTABLE
        key = [config.column] if config.step else []
        return [datasets.Dataset(name, description, schema(), key, [], modes)]

    @guarded
    def split(self, selections: list[source.Selection], state: bytes | None, at_most: int) -> source.Division:
        """Parts of nearly the same number of rows."""
        check(selections)
        left = rows_of(None, state)
        rows = left.end - left.next
        parts = max(1, min(at_most, rows))
        bounds = [left.next + rows * part // parts for part in range(parts + 1)]
        return source.Division([json.dumps({"from": a, "to": b}).encode() for a, b in pairwise(bounds)], None)

    @guarded
    def estimate(
        self, selections: list[source.Selection], part: bytes | None, state: bytes | None
    ) -> source.EstimatedRows | None:
        """How many are left is known exactly."""
        check(selections)
        left = rows_of(part, state)
        return source.EstimatedRows(left.end - left.next, True)

    @guarded
    def open(self, selections: list[source.Selection], part: bytes | None, state: bytes | None) -> list[Schema]:
        """Begin, or go on from a state."""
        check(selections)
        Plugin.reading = rows_of(part, state)
        return [schema()]

    @guarded
    def read(self, max_rows: int) -> source.Progress:
        """Make the next numbers."""
        config, reading = Plugin.config, Plugin.reading
        if reading is None:
            raise Err(types.Error_Unsupported("no read is under way: `open` comes first"))
        if reading.next == reading.end:
            return source.Progress_Ended()
        end = min(reading.next + min(config.batch_rows, max_rows), reading.end)
        numbers = [config.start + config.step * row for row in range(reading.next, end)]
        with batches.new_batch(len(numbers)) as empty:
            batch = empty.with_int64_column(config.column, numbers, None)
        reading.next = end
        return source.Progress_Rows(source.Chunk(0, batch, json.dumps({"rows": end}).encode()))

    def acknowledge(self, state: bytes) -> None:
        """Nothing is kept for a state."""

    def close(self) -> None:
        """End the read."""
        Plugin.reading = None
