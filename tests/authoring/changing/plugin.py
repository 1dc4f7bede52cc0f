"""Rows of which the last two have a column more, for tests: `described` says whether the dataset has that column."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from dataflare_plugin import Chunk, Dataset, NewSchema, Request, Source

OLD = {"id": "int64", "name": "string"}
NEW = {**OLD, "age": "int32"}


@dataclass
class Settings:
    """The configuration."""

    described: bool = False


class Growing(Source):
    """Four rows, one at a time."""

    config: Settings

    def datasets(self) -> list[Dataset]:
        """One, with the columns of the last rows or those of the first."""
        return [Dataset("people", NEW if self.config.described else OLD, ("id",))]

    def schema_at(self, request: Request) -> Any:
        """The first rows have the old columns in any case."""
        return OLD if self.config.described and (request.state or 0) <= 2 else request.fields

    def read(self, request: Request) -> Iterator[Any]:
        """Yield the rows."""
        for at in range(request.state or 0, 4):
            if at == 2:
                yield NewSchema(NEW)
            yield Chunk([{"id": at, "name": f"n{at}", **({"age": at} if at >= 2 else {})}], at + 1)
