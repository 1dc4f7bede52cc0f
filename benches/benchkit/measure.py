"""Interleaved measuring: A B A B, one round each, with wall and processor time.

Whatever disturbs the machine disturbs both sides of a round alike, so a ratio is taken round by round: its median is
the result, its least and greatest value are the spread.
"""

from __future__ import annotations

import resource
import statistics
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

__all__ = ["Elsewhere", "Operation", "Series", "Spread", "cpu_seconds", "measure", "ratios"]

_MARGIN: Final = 1e-9


@dataclass(frozen=True, slots=True)
class Spread:
    """A median between a least and a greatest value."""

    median: float
    least: float
    greatest: float

    @classmethod
    def of(cls, values: list[float]) -> Spread:
        """Sum values up; there must be one at least."""
        return cls(statistics.median(values), min(values), max(values))

    def scaled(self, factor: float) -> Spread:
        """The same in another unit."""
        return Spread(self.median * factor, self.least * factor, self.greatest * factor)

    def inverse(self, numerator: float) -> Spread:
        """`numerator` divided by each: rates from times."""
        return Spread(
            numerator / max(self.median, _MARGIN),
            numerator / max(self.greatest, _MARGIN),
            numerator / max(self.least, _MARGIN),
        )


@dataclass(slots=True)
class Series:
    """One side's times, seconds for one operation, a round each."""

    walls: list[float] = field(default_factory=list)
    cpus: list[float] = field(default_factory=list)

    @property
    def wall(self) -> Spread:
        """Seconds on the clock for one operation."""
        return Spread.of(self.walls)

    @property
    def cpu(self) -> Spread:
        """Seconds of processors for one operation, over all threads and ended child processes."""
        return Spread.of(self.cpus)


def cpu_seconds() -> float:
    """Processor time so far: this process, and its children that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


class Elsewhere(ABC):
    """An operation that another process does."""

    @abstractmethod
    def repeat(self, count: int) -> float:
        """Do it some times; returns the seconds of processors that this took there."""


Operation: TypeAlias = Callable[[], object] | Elsewhere


def _repeat(operation: Operation, count: int) -> float:
    if isinstance(operation, Elsewhere):
        return operation.repeat(count)
    for _ in range(count):
        operation()
    return 0.0


def measure(
    benchmark: Any, sides: Mapping[str, Operation], *, rounds: int, repeats: Mapping[str, int], warmups: int
) -> dict[str, Series]:
    """Run each side once a round, in the order given.

    Args:
        benchmark: pytest-benchmark's fixture. It times the first side too, and keeps its figures.
        sides: Operations by name; the first one is the subject, the others are what it is compared with.
        rounds: How many rounds count.
        repeats: How often an operation is done within a round, where it is short; 1 where nothing is said.
        warmups: Rounds before, which do not count.

    Returns:
        The times of each side for one operation.
    """
    series = {name: Series() for name in sides}
    (first, subject), *others = sides.items()

    def once(name: str, operation: Operation) -> None:
        count = repeats.get(name, 1)
        cpu, wall = cpu_seconds(), time.perf_counter()
        cpu_elsewhere = _repeat(operation, count)
        wall, cpu = time.perf_counter() - wall, cpu_seconds() - cpu + cpu_elsewhere
        series[name].walls.append(wall / count)
        series[name].cpus.append(cpu / count)

    def before() -> None:
        for name, operation in others:
            once(name, operation)

    benchmark.pedantic(lambda: once(first, subject), setup=before, rounds=rounds, warmup_rounds=warmups)
    for each in series.values():
        del each.walls[:warmups], each.cpus[:warmups]
    return series


def ratios(of: list[float], to: list[float]) -> Spread:
    """What `of` divided by `to` is, round by round."""
    return Spread.of([above / max(below, _MARGIN) for above, below in zip(of, to, strict=True)])
