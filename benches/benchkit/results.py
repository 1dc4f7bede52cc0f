"""What a bench finds: rows with a figure, its spread, the mark, and whether it holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal, TypeAlias

from benchkit.measure import Operation, Series, Spread, measure, ratios

__all__ = ["Book", "Contest", "Question", "Row", "format_number"]

Clock: TypeAlias = Literal["wall", "cpu"]
_WARMUPS: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the final table. `at_least` or `at_most` is the mark; a row without one is told for comparison.

    `cpu` is the same figure by processor time, where `figure` is by the clock. `limited_by` says what holds the figure
    back, for a row that misses its mark.
    """

    name: str
    figure: Spread
    unit: str
    clock: str
    cpu: Spread | None = None
    at_least: float | None = None
    at_most: float | None = None
    limited_by: str = ""

    @property
    def holds(self) -> bool | None:
        """Whether the median keeps to the mark; `None` where there is no mark."""
        if self.at_least is not None:
            return self.figure.median >= self.at_least
        if self.at_most is not None:
            return self.figure.median <= self.at_most
        return None

    @property
    def mark(self) -> str:
        """The mark in words."""
        if self.at_least is not None:
            return f"at least {format_number(self.at_least)} {self.unit}".rstrip()
        if self.at_most is not None:
            return f"at most {format_number(self.at_most)} {self.unit}".rstrip()
        return ""

    def as_text(self) -> str:
        """The row on one line."""
        figure = self.figure
        text = f"{self.name}: {format_number(figure.median)} {self.unit}".rstrip()
        text += (
            f" ({format_number(figure.least)} to {format_number(figure.greatest)}{', ' * bool(self.clock)}{self.clock})"
        )
        if self.cpu is not None:
            text += f", cpu {format_number(self.cpu.median)}"
        if self.holds is not None:
            text += f"; mark {self.mark}: {'holds' if self.holds else 'MISSED'}"
            if not self.holds and self.limited_by:
                text += f". What limits it: {self.limited_by}"
        return text


@dataclass(slots=True, kw_only=True)
class Question:
    """What one test of a bench asked, and found."""

    text: str
    sizes: str
    rounds: int = 0
    sides: dict[str, Series] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)

    def as_text(self) -> str:
        """Question, sizes, each side's times and the rows."""
        lines = [f"? {self.text}", f"  sizes: {self.sizes}; {self.rounds} rounds"]
        width = max((len(name) for name in self.sides), default=0)
        for name, series in self.sides.items():
            lines.append(f"  {name:<{width}}  wall {_times(series.wall)}  cpu {_times(series.cpu)}")
        lines += [f"  = {row.as_text()}" for row in self.rows]
        return "\n".join(lines)

    def as_json(self) -> dict[str, Any]:
        """Everything, with the times of every round in seconds."""
        return {
            "question": self.text,
            "sizes": self.sizes,
            "rounds": self.rounds,
            "sides": {
                name: {
                    "wall_s": asdict(series.wall),
                    "cpu_s": asdict(series.cpu),
                    "wall_s_by_round": series.walls,
                    "cpu_s_by_round": series.cpus,
                }
                for name, series in self.sides.items()
            },
            "rows": [{**asdict(row), "mark": row.mark, "holds": row.holds} for row in self.rows],
        }


class Book:
    """The questions of a session, in the order in which they were answered."""

    def __init__(self) -> None:
        self.questions: list[Question] = []

    @property
    def rows(self) -> list[Row]:
        """All rows."""
        return [row for question in self.questions for row in question.rows]


class Contest:
    """Asks one question. Made for each test; `run` once, then say what the figures mean.

    Args:
        benchmark: pytest-benchmark's fixture.
        book: Where the question goes.
        share: The share of rounds to run, for a quick look; 1.0 for all.
    """

    def __init__(self, benchmark: Any, book: Book, share: float) -> None:
        self._benchmark = benchmark
        self._share = share
        self._book = book
        self.question = Question(text="", sizes="")

    def ask(self, text: str, *, sizes: str) -> None:
        """Begin the question."""
        self.question = Question(text=text, sizes=sizes)
        self._book.questions.append(self.question)

    def run(
        self,
        sides: Mapping[str, Operation],
        *,
        rounds: int,
        repeats: Mapping[str, int] | None = None,
        warmups: int = _WARMUPS,
    ) -> dict[str, Series]:
        """Measure, one side after the other in each round; see `measure`."""
        rounds = max(3, round(rounds * self._share)) if rounds > 3 else rounds
        self.question.rounds = rounds
        self.question.sides = measure(self._benchmark, sides, rounds=rounds, repeats=repeats or {}, warmups=warmups)
        return self.question.sides

    def speedup(self, name: str, subject: str, over: str, **mark: Any) -> Row:
        """Add the row of how many times faster `subject` is than `over`."""
        above, below = self.question.sides[over], self.question.sides[subject]
        cpu = ratios(above.cpus, below.cpus)
        return self._add(name, ratios(above.walls, below.walls), "x", "wall", mark, cpu)

    def cost(self, name: str, subject: str, over: str, **mark: Any) -> Row:
        """Add the row of how many times the time of `over` the `subject` takes."""
        above, below = self.question.sides[subject], self.question.sides[over]
        cpu = ratios(above.cpus, below.cpus)
        return self._add(name, ratios(above.walls, below.walls), "x", "wall", mark, cpu)

    def time(self, name: str, subject: str, *, unit: str, clock: Clock = "wall", **mark: Any) -> Row:
        """Add the row of the time of one operation, in `s`, `ms` or `us`."""
        series = self.question.sides[subject]
        factor = {"s": 1.0, "ms": 1e3, "us": 1e6}[unit]
        cpu = series.cpu.scaled(factor)
        if clock == "cpu":
            return self._add(name, cpu, unit, clock, mark)
        return self._add(name, series.wall.scaled(factor), unit, clock, mark, cpu)

    def rate(self, name: str, subject: str, *, amount: float, unit: str, **mark: Any) -> Row:
        """Add the row of `amount` a second, of which one operation does one."""
        series = self.question.sides[subject]
        return self._add(name, series.wall.inverse(amount), unit, "wall", mark, series.cpu.inverse(amount))

    def value(self, name: str, figure: Spread, *, unit: str, clock: str = "", **mark: Any) -> Row:
        """Add a row whose figure is not a time."""
        return self._add(name, figure, unit, clock, mark)

    def _add(
        self, name: str, figure: Spread, unit: str, clock: str, mark: Mapping[str, Any], cpu: Spread | None = None
    ) -> Row:
        row = Row(name=name, figure=figure, unit=unit, clock=clock, cpu=cpu, **mark)
        self.question.rows.append(row)
        self._benchmark.extra_info[name] = {**asdict(row), "holds": row.holds}
        return row


def format_number(value: float) -> str:
    """Three digits that count, thousands apart."""
    size = abs(value)
    if size >= 1000:
        return f"{value:,.0f}"
    if size >= 100:
        return f"{value:.0f}"
    if size >= 10:
        return f"{value:.1f}".removesuffix(".0")
    if size >= 1:
        return f"{value:.2f}".rstrip("0").rstrip(".")
    return f"{value:.3g}"


def _times(spread: Spread) -> str:
    for factor, unit in ((1.0, "s"), (1e3, "ms"), (1e6, "us")):
        if spread.median * factor >= 1 or unit == "us":
            break
    return (
        f"{format_number(spread.median * factor):>7} {unit:<2} "
        f"({format_number(spread.least * factor)} to {format_number(spread.greatest * factor)})"
    )
