"""Adds a column that is a ratio of two others."""

from __future__ import annotations

from dataclasses import dataclass

from dataflare_plugin import Batch, Transformer, col, option


@dataclass(frozen=True)
class Settings:
    """The configuration: its JSON Schema, and the checks of what the operator writes, come from it."""

    of: str = option("The column above the line.", not_empty=True)
    to: str = option("The column below it.", not_empty=True)
    column: str = option("The name of the new column.", default="ratio", not_empty=True)


class SamplePlugin(Transformer):
    """Adds the ratio of two columns."""

    config: Settings

    def transform(self, batch: Batch) -> Batch:
        """Let the host compute: no value comes into the plugin."""
        config = self.config
        ratio = col(config.of).call("cast", type="double") / col(config.to)
        return batch.with_columns(**{config.column: ratio})
