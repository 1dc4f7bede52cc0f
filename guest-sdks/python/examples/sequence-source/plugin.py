"""A source that makes rows of consecutive numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from dataflare_plugin import Chunk, Dataset, InvalidConfig, InvalidState, Request, Source, option

LARGEST = 2**63 - 1


@dataclass(frozen=True)
class Settings:
    """The configuration."""

    rows: int = option("How many rows to make.", at_least=0, at_most=2**53)
    batch_rows: int = option("Rows in a batch, at most.", default=65536, at_least=1, at_most=2**20)
    start: int = option("The first number.", default=0, at_least=-LARGEST - 1, at_most=LARGEST)
    step: int = option("The difference to the next number.", default=1, at_least=-LARGEST - 1, at_most=LARGEST)
    column: str = option("The column's name.", default="n", not_empty=True)


class Numbers(Source):
    """The numbers. A state has how many rows were made; a part its first row and the one after its last."""

    config: Settings

    def check_config(self) -> None:
        """Refuse numbers that do not fit."""
        config = self.config
        if abs(config.start + config.step * max(config.rows - 1, 0)) > LARGEST:
            raise InvalidConfig("rows: the last number would not fit 64 bits")

    def datasets(self) -> Sequence[Dataset]:
        """There is one sequence, whose numbers tell rows apart unless they are all the same."""
        config = self.config
        key = [config.column] if config.step else []
        description = f"{config.rows} numbers from {config.start}, {config.step} apart"
        return [Dataset("sequence", {config.column: "int64"}, key, description=description, splittable=True)]

    def split(self, request: Request, at_most: int) -> list[dict[str, int]]:
        """Parts of nearly the same number of rows."""
        begin, end = self.range_of(request)
        parts = max(1, min(at_most, end - begin))
        bounds = [begin + (end - begin) * part // parts for part in range(parts + 1)]
        return [{"from": a, "to": b} for a, b in pairwise(bounds)]

    def estimate(self, request: Request) -> int:
        """How many are left is known exactly."""
        begin, end = self.range_of(request)
        return end - begin

    def read(self, request: Request) -> Iterator[Chunk]:
        """Make the numbers."""
        config = self.config
        row, end = self.range_of(request)
        while row < end:
            after = min(row + min(config.batch_rows, request.max_rows), end)
            numbers = [config.start + config.step * each for each in range(row, after)]
            yield Chunk({config.column: numbers}, {"rows": after})
            row = after

    def range_of(self, request: Request) -> tuple[int, int]:
        """The rows that a part and a state leave."""
        begin, end = 0, self.config.rows
        if request.part is not None:
            begin, end = self.numbers(request.part, "from", "to")
        if request.state is not None:
            (done,) = self.numbers(request.state, "rows")
            if not begin <= done <= end:
                raise InvalidState("the state is of another part")
            begin = done
        return begin, end

    def numbers(self, given: object, *keys: str) -> list[int]:
        """The row numbers of a state or a part."""
        found = [given[key] for key in keys] if isinstance(given, dict) and given.keys() == set(keys) else []
        if not found or not all(type(each) is int and 0 <= each <= self.config.rows for each in found):
            raise InvalidState("this does not come from this source and its configuration")
        return found
