"""Processors with one fault each."""

from __future__ import annotations

import dataclasses
import itertools
import json
from dataclasses import dataclass
from typing import Any

from counted_configurations import CountedConfigurations
from dataflare_plugin import Batch, InvalidInput, Processor, Unavailable, option, tasks


@dataclass(frozen=True)
class Settings:
    """The configuration."""

    field: str = option("The field to trim.", default="name", not_empty=True)


class Good(Processor):
    """Trims a text, and drops records without one."""

    config: Settings

    def process(self, record: dict[str, Any]) -> dict[str, Any] | None:
        value = record.get(self.config.field)
        if value is None:
            return None
        if not isinstance(value, str):
            raise InvalidInput(f"{self.config.field} is not a text")
        return {**record, self.config.field: value.strip()}


class DropsARow(Good):
    """Loses the last row of a batch."""

    caught_by = "processor/one-by-one"

    def process_batch(self, batch: Batch) -> Batch:
        done = super().process_batch(batch)
        return done.slice(0, max(0, len(done) - 1))


class Reorders(Good):
    """Gives the rows of a batch the other way round."""

    caught_by = "processor/in-parts"

    def process_batch(self, batch: Batch) -> Batch:
        return Batch.from_records(list(reversed(super().process_batch(batch).records())), batch.schema)


class Doubles(Good):
    """Gives each row twice."""

    caught_by = "processor/no-more-rows"

    def process_batch(self, batch: Batch) -> Batch:
        done = super().process_batch(batch)
        return Batch.concat([done, done])


class WrongNulls(Good):
    """Makes a number of a null, in batches alone."""

    caught_by = "processor/one-by-one"

    def process_batch(self, batch: Batch) -> Batch:
        rows = super().process_batch(batch).records()
        return Batch.from_records([{k: 0 if v is None else v for k, v in row.items()} for row in rows], batch.schema)


class Counts(Good):
    """Keeps count from call to call, and writes it into the rows."""

    caught_by = "rows/again"
    seen = 0

    def process(self, record: dict[str, Any]) -> dict[str, Any] | None:
        type(self).seen += 1
        done = super().process(record)
        return None if done is None else {**done, "id": type(self).seen}


class FirstTimeOnly(Good):
    """Gives other rows once it has worked."""

    caught_by = "rows/again"

    def initialize(self) -> None:
        self.calls = itertools.count()

    def process_batch(self, batch: Batch) -> Batch:
        done = super().process_batch(batch)
        return done if next(self.calls) == 0 else done.slice(0, len(done) // 2)


class RowFromNothing(Good):
    """Makes a row where there is none."""

    caught_by = "rows/no-rows"

    def process_batch(self, batch: Batch) -> Batch:
        if len(batch):
            return super().process_batch(batch)
        return Batch.from_records([{field.name: None for field in batch.schema}], batch.schema)


class SwallowsErrors(Good):
    """Answers a wrong record with an error that says that it can be retried."""

    caught_by = "rows/types"

    def process_batch(self, batch: Batch) -> Batch:
        from dataflare_plugin import Unavailable

        if self.config.field not in batch.columns:
            raise Unavailable("later, perhaps")
        return super().process_batch(batch)


class BrokenByAnError(Good):
    """Does not work after an error."""

    caught_by = "rows/after-an-error"
    broken = False

    def process_batch(self, batch: Batch) -> Batch:
        if self.config.field not in batch.columns:
            self.broken = True
            raise InvalidInput(f"column {self.config.field} does not exist")
        done = super().process_batch(batch)
        return done.slice(0, 0) if self.broken else done


class ForgetsFarRows(Good):
    """Works on the first 5,000 rows of a batch."""

    caught_by = "rows/many"

    def process_batch(self, batch: Batch) -> Batch:
        return super().process_batch(batch.slice(0, min(5000, len(batch))))


class Unwell(Good):
    """Says that it does not work."""

    caught_by = "every/health"

    def health(self) -> str:
        from dataflare_plugin import PluginError

        raise PluginError("it never does")


class LosesBackslashes(Good):
    """Writes backslashes of a batch in another way than those of a record."""

    caught_by = "processor/any-rows"

    def process_batch(self, batch: Batch) -> Batch:
        done = super().process_batch(batch)
        records = [
            {name: value.replace("\\", "/") if isinstance(value, str) else value for name, value in each.items()}
            for each in done.records()
        ]
        return Batch.from_records(records, done.schema)


class MistakesCancellation(Good):
    """Asks for a retry when it is cancelled."""

    caught_by = "every/cancelled"
    needs = ("tasks",)

    def process_batch(self, batch: Batch) -> Batch:
        if tasks.is_cancelled():
            raise Unavailable("not now")
        return super().process_batch(batch)


class EndsOnEmptyRecords(Good):
    """Ends itself on a record without fields."""

    caught_by = "processor/odd-records"

    def process(self, record: dict[str, Any]) -> dict[str, Any] | None:
        if not record:
            raise SystemExit(1)
        return super().process(record)


class GetsUnwell(Good):
    """Is unhealthy once it has worked."""

    caught_by = "every/memory"
    worked = 0

    def process_batch(self, batch: Batch) -> Batch:
        self.worked += 1
        return super().process_batch(batch)

    def health(self) -> str:
        return "tired" if self.worked > 2 else ""


class DropsRepeatedRows(Good):
    """Drops a row that is in its batch already."""

    caught_by = "rows/many"

    def process_batch(self, batch: Batch) -> Batch:
        done = super().process_batch(batch)
        rows = list({repr(row): row for row in done.records()}.values())
        return Batch.from_records(rows, done.schema)


class RoundsNumbers(Good):
    """Takes whole numbers for floating-point ones in batches."""

    caught_by = "processor/any-rows"

    def process_batch(self, batch: Batch) -> Batch:
        done = super().process_batch(batch)
        rows = [{**row, "id": None if row["id"] is None else int(float(row["id"]) * 0.5) * 2} for row in done.records()]
        return Batch.from_records(rows, done.schema)


class TiresOfRecords(Good):
    """Answers the hundredth record otherwise."""

    caught_by = "processor/any-rows"
    seen = 0

    def process(self, record: dict[str, Any]) -> dict[str, Any] | None:
        self.seen += 1
        return None if self.seen % 100 == 0 else super().process(record)


class BadlyNamed(Good):
    """Has a name that cannot be one."""

    caught_by = "every/metadata"

    class Lifecycle:
        """What is in the place of the SDK's."""

        def get_metadata(self) -> Any:
            return dataclasses.replace(super().get_metadata(), name="Trim Names")  # type: ignore[misc]


class TellsItsConfiguration(Good):
    """Describes itself by its configuration."""

    caught_by = "every/metadata-of-all"

    class Lifecycle:
        """What is in the place of the SDK's."""

        instance: Any

        def get_metadata(self) -> Any:
            found = super().get_metadata()  # type: ignore[misc]
            made = self.instance.made
            return found if made is None else dataclasses.replace(found, description=f"Trims {made.config.field}.")


class RequiresOtherKeys(Good):
    """Has a schema that requires a key, and works without it."""

    caught_by = "every/config-schema"

    class Lifecycle:
        """What is in the place of the SDK's."""

        def get_metadata(self) -> Any:
            schema = '{"type": "object", "required": ["other"]}'
            return dataclasses.replace(super().get_metadata(), config_schema=schema)  # type: ignore[misc]


class DropsUnknownKeys(Good):
    """Does without keys that it does not know, though its schema forbids them."""

    caught_by = "every/unknown-key"

    class Lifecycle:
        """What is in the place of the SDK's."""

        def configure(self, config: str) -> None:
            known = {key: value for key, value in json.loads(config).items() if key == "field"}
            super().configure(json.dumps(known))  # type: ignore[misc]


class TakesAnyValue(Good):
    """Makes a text of whatever the configuration has."""

    caught_by = "every/wrong-values"

    class Lifecycle:
        """What is in the place of the SDK's."""

        def configure(self, config: str) -> None:
            texts = {key: str(value) for key, value in json.loads(config).items()}
            super().configure(json.dumps(texts))  # type: ignore[misc]


class EndsBadly(Good):
    """Fails when it is shut down after work."""

    caught_by = "every/shutdown"

    def health(self) -> str:
        self.worked = True
        return ""

    def shutdown(self) -> None:
        if getattr(self, "worked", False):
            raise InvalidInput("it has worked")


class EndsBadlyUnused(Good):
    """Breaks down when it is shut down before it did any work."""

    caught_by = "every/shutdown-unused"
    worked = False

    def health(self) -> str:
        self.worked = True
        return ""

    def shutdown(self) -> None:
        if not self.worked:
            raise SystemExit(1)


class BreaksOnNulls(Good):
    """Breaks down on a batch of nulls alone."""

    caught_by = "rows/nulls"

    def process_batch(self, batch: Batch) -> Batch:
        if len(batch) and all(value is None for record in batch.records() for value in record.values()):
            raise SystemExit(1)
        return super().process_batch(batch)


class BreaksOnOneRow(Good):
    """Breaks down on a batch of one row."""

    caught_by = "rows/one-row"

    def process_batch(self, batch: Batch) -> Batch:
        if len(batch) == 1:
            raise SystemExit(1)
        return super().process_batch(batch)


class DropsTheLastOfABlock(Good):
    """Works on blocks of a thousand rows, and loses the last row of each that is full."""

    caught_by = "rows/many"

    def process_batch(self, batch: Batch) -> Batch:
        done = super().process_batch(batch)
        blocks = [done.slice(at, min(1000, len(done) - at)) for at in range(0, len(done), 1000)]
        return Batch.concat([each.slice(0, len(each) - (len(each) == 1000)) for each in blocks]) if blocks else done


class SortsBlocks(Good):
    """Gives the rows of each block of five hundred the other way round."""

    caught_by = "rows/many"

    def process_batch(self, batch: Batch) -> Batch:
        done = super().process_batch(batch)
        rows = done.records()
        blocks = [rows[at : at + 500] for at in range(0, len(rows), 500)]
        turned = [row for each in blocks for row in (reversed(each) if len(each) == 500 else each)]
        return Batch.from_records(turned, done.schema)


class KeepsWhatRecordsLose(Good):
    """Leaves a field out of records, and keeps its column in batches."""

    caught_by = "processor/one-by-one"

    def process(self, record: dict[str, Any]) -> dict[str, Any] | None:
        done = super().process(record)
        return None if done is None else {name: value for name, value in done.items() if name != "amount"}

    def process_batch(self, batch: Batch) -> Batch:
        rows = [row for row in batch.records() if row[self.config.field] is not None]
        return Batch.from_records(
            [{**row, self.config.field: row[self.config.field].strip()} for row in rows], batch.schema
        )


class LosesTheSignOfZero(Good):
    """Makes 0.0 of -0.0, in batches alone."""

    caught_by = "processor/any-rows"

    def process_batch(self, batch: Batch) -> Batch:
        done = super().process_batch(batch)
        rows = [{k: 0.0 if isinstance(v, float) and v == 0 else v for k, v in row.items()} for row in done.records()]
        return Batch.from_records(rows, done.schema)


class EmptyTextsForNulls(Good):
    """Makes an empty text of a null text, in batches alone."""

    caught_by = "processor/any-rows"
    field = "note"

    def process(self, record: dict[str, Any]) -> dict[str, Any] | None:
        return {**record, self.config.field: (record.get(self.config.field) or "").strip() or None}

    def process_batch(self, batch: Batch) -> Batch:
        rows = [{**row, self.config.field: (row[self.config.field] or "").strip()} for row in batch.records()]
        return Batch.from_records(rows, batch.schema)


class TakesNumbersForTexts(Good):
    """Makes a text of a number in the configuration."""

    caught_by = "every/wrong-values"

    class Lifecycle:
        """What is in the place of the SDK's."""

        def configure(self, config: str) -> None:
            given = json.loads(config)
            texts = {key: str(value) if type(value) in (int, float) else value for key, value in given.items()}
            super().configure(json.dumps(texts))  # type: ignore[misc]


class AddsUpConfigurations(Good):
    """Works with each configuration that it was ever given."""

    caught_by = "rows/configured-again"
    times = 0
    Lifecycle = CountedConfigurations

    def process(self, record: dict[str, Any]) -> dict[str, Any] | None:
        done = super().process(record)
        return done and {**done, self.config.field: done[self.config.field] * self.times}
