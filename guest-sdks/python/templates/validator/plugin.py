"""Checks that a column is within bounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dataflare_plugin import InvalidConfig, Rule, Validator, col, option


@dataclass(frozen=True)
class Settings:
    """The configuration: its JSON Schema, and the checks of what the operator writes, come from it."""

    column: str = option("The column to check.", not_empty=True)
    least: float = option("The least value.", default=0.0)
    greatest: float = option("The greatest value.", default=100.0)


class SamplePlugin(Validator):
    """Rows whose value is out of bounds break its rule; nulls do not."""

    config: Settings

    def check_config(self) -> None:
        """Refuse bounds that no value is within."""
        if self.config.least > self.config.greatest:
            raise InvalidConfig("least: it is above greatest")

    def rules(self) -> Sequence[Rule]:
        """The rules: expressions, which the host computes."""
        config = self.config
        within = (col(config.column) >= config.least) & (col(config.column) <= config.greatest)
        return [
            Rule(
                "within",
                within,
                f"{config.column} is within {config.least} and {config.greatest}",
                column=config.column,
            )
        ]
