"""Validators with one fault each."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from counted_configurations import CountedConfigurations
from dataflare_plugin import Batch, InvalidInput, Rule, Unavailable, Validator, Violation, option


@dataclass(frozen=True)
class Settings:
    """The configuration."""

    column: str = option("The column to check.", default="amount", not_empty=True)


class Good(Validator):
    """Finds values below 0, and nulls."""

    config: Settings

    def rules(self) -> Sequence[Rule]:
        return [Rule("positive", None, "values are 0 and up"), Rule("there", None, "values are there", "warning")]

    def validate(self, batch: Batch) -> Iterable[Violation]:
        if self.config.column not in batch.columns:
            raise InvalidInput(f"column {self.config.column} does not exist")
        positive, there = Good.rules(self)
        for row, value in enumerate(batch.column(self.config.column)):
            if value is None:
                yield Violation(there, row, "is null")
            elif isinstance(value, int | float) and value < 0:
                yield Violation(positive, row, "is below 0")


class SeesFirstRow(Good):
    """Checks the first row of a batch alone."""

    caught_by = "validator/in-parts"

    def validate(self, batch: Batch) -> Iterable[Violation]:
        return [each for each in super().validate(batch) if each.row == 0]


class SeesEvenRows(Good):
    """Leaves every second row out."""

    caught_by = "validator/in-parts"

    def validate(self, batch: Batch) -> Iterable[Violation]:
        return [each for each in super().validate(batch) if each.row is None or each.row % 2 == 0]


class SameNames(Good):
    """Has two rules of one name."""

    caught_by = "validator/rules"

    def rules(self) -> Sequence[Rule]:
        return [*super().rules(), super().rules()[0]]


class NoDescription(Good):
    """Does not say what has to hold."""

    caught_by = "validator/rules"

    def rules(self) -> Sequence[Rule]:
        return [Rule("positive", None, ""), super().rules()[1]]


class OtherRules(Good):
    """Has more rules from time to time."""

    caught_by = "validator/rules"
    asked = 0

    def rules(self) -> Sequence[Rule]:
        self.asked += 1
        return [*super().rules(), *([Rule("new", None, "new")] if self.asked % 2 else [])]


class Backwards(Good):
    """Lists violations from the last row to the first."""

    caught_by = "validator/report"

    def validate(self, batch: Batch) -> Iterable[Violation]:
        return list(reversed(list(super().validate(batch))))


class OtherSeverity(Good):
    """Finds a rule graver than it says."""

    caught_by = "validator/report"

    def validate(self, batch: Batch) -> Iterable[Violation]:
        for each in super().validate(batch):
            yield Violation(Rule(each.rule.name, None, each.rule.description, "info"), each.row, each.message)


class Remembers(Good):
    """Finds nothing the second time."""

    caught_by = "validator/order"
    calls = 0

    def validate(self, batch: Batch) -> Iterable[Violation]:
        self.calls += 1
        return list(super().validate(batch)) if self.calls == 1 else []


class FailsOnNothing(Good):
    """Answers an error to a batch without rows."""

    caught_by = "rows/no-rows-checked"

    def validate(self, batch: Batch) -> Iterable[Violation]:
        if not len(batch):
            raise InvalidInput("there are no rows")
        return super().validate(batch)


class AlwaysLater(Good):
    """Answers that a retry helps, where none does."""

    caught_by = "rows/types"

    def validate(self, batch: Batch) -> Iterable[Violation]:
        if self.config.column not in batch.columns:
            raise Unavailable("later, perhaps")
        return super().validate(batch)


class StopsEarly(Good):
    """Checks the first 5,000 rows."""

    caught_by = "rows/many-checked"

    def validate(self, batch: Batch) -> Iterable[Violation]:
        return super().validate(batch.slice(0, min(5000, len(batch))))


class SeesNoZero(Good):
    """Counts a zero below 0 where other rows are large."""

    caught_by = "validator/any-rows"

    def validate(self, batch: Batch) -> Iterable[Violation]:
        yield from super().validate(batch)
        values = [value for value in batch.column(self.config.column) if value is not None]
        if any(abs(value) > 1e200 for value in values) and len(values) > 1:
            yield Violation(self.rules()[0], None, "one of many")


class OneRowOff(Good):
    """Lists the row after the one that breaks a rule."""

    caught_by = "validator/rows-named"

    def validate(self, batch: Batch) -> Iterable[Violation]:
        rows = len(batch)
        for each in super().validate(batch):
            yield each if rows == 1 else dataclasses.replace(each, row=min((each.row or 0) + 1, rows - 1))


class OtherRulesEachTime(Good):
    """Has rules of other names in every instance."""

    caught_by = "validator/rules"
    made = 0

    def initialize(self) -> None:
        type(self).made += 1
        self.number = type(self).made

    def rules(self) -> Sequence[Rule]:
        return [dataclasses.replace(each, name=f"{each.name}-{self.number}") for each in super().rules()]


class ListsTheLast(Good):
    """Lists the last row that breaks a rule, and counts all."""

    caught_by = "validator/rows-named"

    def validate(self, batch: Batch) -> Iterable[Violation]:
        found = list(super().validate(batch))
        return found if len(batch) == 1 else found[-1:]


class NoSuchColumn(Good):
    """Names a column that is not there."""

    caught_by = "validator/report"

    def rules(self) -> Sequence[Rule]:
        return [dataclasses.replace(each, column="no such column") for each in super().rules()]

    def validate(self, batch: Batch) -> Iterable[Violation]:
        for each in super().validate(batch):
            yield dataclasses.replace(each, rule=dataclasses.replace(each.rule, column="no such column"))


class FindsNothingInViews(Good):
    """Finds nothing in the second batch: a view, whose rows it looks for in another place."""

    caught_by = "rows/views-checked"
    checked = 0

    def validate(self, batch: Batch) -> Iterable[Violation]:
        self.checked += 1
        return [] if self.checked == 2 else super().validate(batch)


class BrokenByAnError(Good):
    """Finds nothing after an error."""

    caught_by = "rows/after-an-error-checked"
    broken = False

    def validate(self, batch: Batch) -> Iterable[Violation]:
        if self.config.column not in batch.columns:
            self.broken = True
        found = list(super().validate(batch))
        return [] if self.broken else found


class OtherWordsAgain(Good):
    """Says that it said it before, the second time."""

    caught_by = "validator/again"
    calls = 0

    def validate(self, batch: Batch) -> Iterable[Violation]:
        self.calls += 1
        again = "" if self.calls == 1 else " again"
        return [dataclasses.replace(each, message=f"{each.message}{again}") for each in super().validate(batch)]


class RowsOfABlock(Good):
    """Counts rows from the beginning of a block of a hundred."""

    caught_by = "rows/many-checked"

    def validate(self, batch: Batch) -> Iterable[Violation]:
        return [dataclasses.replace(each, row=(each.row or 0) % 100) for each in super().validate(batch)]


class SkipsTheLastOfABlock(Good):
    """Does not look at the last row of a block of a thousand."""

    caught_by = "rows/many-checked"

    def validate(self, batch: Batch) -> Iterable[Violation]:
        return [each for each in super().validate(batch) if ((each.row or 0) + 1) % 500]


class TiredOfConfigurations(Good):
    """Finds nothing once it was configured again."""

    caught_by = "validator/configured-again"
    times = 0
    Lifecycle = CountedConfigurations

    def validate(self, batch: Batch) -> Iterable[Violation]:
        return super().validate(batch) if self.times == 1 else []
