"""A transformer that doubles one column, or hands batches through."""

from __future__ import annotations

from dataflare_plugin import guarded, healthy, parse_object
from wit_world import exports
from wit_world.imports import types
from wit_world.imports.batches import Batch
from wit_world.imports.schemas import Schema


class Plugin:
    """What the instance knows; set by `configure`."""

    column: str | None = None


class Lifecycle(exports.Lifecycle):
    """The plugin's life."""

    def get_metadata(self) -> types.Metadata:
        """What the plugin says of itself."""
        description = "Doubles one column, or hands batches through"
        return types.Metadata("columns-python", "1.0.0", types.Kind.TRANSFORMER, description, "")

    @guarded
    def configure(self, config: str) -> None:
        """Take the configuration."""
        Plugin.column = parse_object(config).get("column")

    def initialize(self) -> None:
        """Nothing is to be opened."""

    def shutdown(self) -> None:
        """Nothing is to be closed."""

    def health_check(self) -> types.Health:
        """It always works."""
        return healthy()


class Transformer(exports.Transformer):
    """The doubling."""

    def output_schema(self, input: Schema) -> Schema:
        """The columns stay as they are."""
        return input

    @guarded
    def transform(self, input: Batch) -> Batch:
        """Double the column, or hand the batch through."""
        if Plugin.column is None:
            return input
        with input:
            values = [value * 2.0 for value in input.float64_column(Plugin.column)]
            return input.with_float64_column(Plugin.column, values, None)
