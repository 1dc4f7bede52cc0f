"""A source that makes rows of consecutive numbers."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from componentize_py_types import Err
from dataflare_plugin import guarded, healthy, parse_object
from wit_world import exports
from wit_world.exports import source
from wit_world.imports import batches, types
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


class Plugin:
    """What the instance knows; set by `configure`."""

    config: Config


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


def rows_so_far(state: bytes | None) -> int:
    """What a state says."""
    if state is None:
        return 0
    try:
        done = json.loads(state)["rows"]
    except (ValueError, TypeError, KeyError):
        done = None
    if not isinstance(done, int) or isinstance(done, bool) or not 0 <= done <= Plugin.config.rows:
        raise Err(types.Error_InvalidInput("these bytes are no state of this source"))
    return done


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
    def discover(self) -> list[source.Dataset]:
        """There is one sequence."""
        config = Plugin.config
        return [source.Dataset("sequence", f"{config.rows} numbers from {config.start}, {config.step} apart", True)]

    @guarded
    def get_schema(self) -> Schema:
        """One column of whole numbers."""
        return Schema([Field(Plugin.config.column, "int64", True, [])], [])

    @guarded
    def estimate_record_count(self, state: bytes | None) -> source.Estimate | None:
        """How many are left is known exactly."""
        return source.Estimate(Plugin.config.rows - rows_so_far(state), True)

    @guarded
    def read(self, state: bytes | None) -> source.Chunk:
        """Make the next numbers."""
        config = Plugin.config
        begin = rows_so_far(state)
        end = min(begin + config.batch_rows, config.rows)
        numbers = [config.start + config.step * row for row in range(begin, end)]
        with batches.new_batch(end - begin) as empty:
            batch = empty.with_int64_column(config.column, numbers, None)
        return source.Chunk(batch, json.dumps({"rows": end}).encode(), end == config.rows)
