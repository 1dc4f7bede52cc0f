"""Makes rows of consecutive numbers, and goes on where a read ended."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from types import MappingProxyType

from dataflare_plugin import Chunk, Request, Source, option


@dataclass(frozen=True)
class Settings:
    """The configuration: its JSON Schema, and the checks of what the operator writes, come from it."""

    rows: int = option("How many rows to make.", default=10, at_least=0)


class SamplePlugin(Source):
    """A source of one dataset, whose columns these are."""

    config: Settings
    dataset = "numbers"
    schema = MappingProxyType({"id": "int64", "square": "int64"})
    key = ("id",)

    def read(self, request: Request) -> Iterator[Chunk]:
        """Yield columns or records, each with the state from which a later read goes on."""
        begin = request.state or 0
        while begin < self.config.rows:
            end = min(begin + request.max_rows, self.config.rows)
            ids = list(range(begin, end))
            yield Chunk({"id": ids, "square": [each * each for each in ids]}, state=end)
            begin = end
