"""The peer for pipelines: the same work as `flights.yaml`, as a Singer pipe.

`python singer_pipe.py STAGE [PATH]` is one process of it: `tap`, `check`, `tidy`, `speed` or `target`. They are joined
by pipes, as Meltano joins them. Reading, writing and validating messages is singer-sdk's own work.
"""

from __future__ import annotations

import csv
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.parquet as parquet
import singer_sdk.singerlib as singer
from singer_sdk import Stream, Tap, Target
from singer_sdk import typing as th
from singer_sdk.mapper_base import InlineMapper
from singer_sdk.sinks import BatchSink

STREAM = "flights"
TEXTS = ("carrier", "tailnum", "origin", "dest", "time_hour")
NUMBERS = (
    "year", "month", "day", "dep_time", "sched_dep_time", "dep_delay", "arr_time", "sched_arr_time", "arr_delay",
    "flight", "air_time", "distance", "hour", "minute",
)  # fmt: skip
DROPPED = ("year", "month", "day", "hour", "minute")
RENAMED = {"dest": "destination", "tailnum": "aircraft", "air_time": "air_minutes", "distance": "miles"}


class FlightsStream(Stream):
    """The flights, from a file."""

    name = STREAM
    schema: ClassVar[dict[str, Any]] = th.PropertiesList(
        *(th.Property(name, th.StringType) for name in TEXTS),
        *(th.Property(name, th.IntegerType) for name in NUMBERS),
    ).to_dict()

    def get_records(self, context: Any) -> Iterator[dict[str, Any]]:
        """Read record by record."""
        with Path(self.config["path"]).open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                record: dict[str, Any] = {key: None if value == "NA" else value for key, value in row.items()}
                for name in NUMBERS:
                    if record[name] is not None:
                        record[name] = int(record[name])
                yield record


class FlightsTap(Tap):
    """A source."""

    name = "tap-flights"
    config_jsonschema: ClassVar[dict[str, Any]] = {"properties": {"path": {"type": "string"}}}

    def discover_streams(self) -> list[Stream]:
        """There is one stream."""
        return [FlightsStream(self)]


class Mapper(InlineMapper):
    """A stage between source and target, record by record."""

    config_jsonschema: ClassVar[dict[str, Any]] = {"properties": {}}

    def change_schema(self, properties: dict[str, Any]) -> dict[str, Any]:
        """What the fields of a record are afterwards."""
        return properties

    def change_record(self, record: dict[str, Any]) -> dict[str, Any] | None:
        """A record, changed; `None` drops it."""
        raise NotImplementedError

    def map_schema_message(self, message_dict: dict[str, Any]) -> Iterable[singer.Message]:
        schema = dict(message_dict["schema"])
        schema["properties"] = self.change_schema(schema["properties"])
        yield singer.SchemaMessage(STREAM, schema, message_dict.get("key_properties", []))

    def map_record_message(self, message_dict: dict[str, Any]) -> Iterable[singer.Message]:
        record = self.change_record(message_dict["record"])
        if record is not None:
            yield singer.RecordMessage(stream=STREAM, record=record)

    def map_state_message(self, message_dict: dict[str, Any]) -> Iterable[singer.Message]:
        yield singer.StateMessage(value=message_dict["value"])

    def map_activate_version_message(self, message_dict: dict[str, Any]) -> Iterable[singer.Message]:
        yield singer.ActivateVersionMessage(stream=STREAM, version=message_dict["version"])


class Check(Mapper):
    """Counts records that break a rule, and fails where a rule is one that none may break."""

    name = "mapper-check"
    violations: ClassVar[Counter[str]] = Counter()

    def change_record(self, record: dict[str, Any]) -> dict[str, Any]:
        count = self.violations
        if record["month"] is None or not 1 <= record["month"] <= 12:
            count["month"] += 1
        if record["origin"] not in ("EWR", "JFK", "LGA"):
            count["origin"] += 1
        if record["distance"] is None or record["distance"] < 1:
            count["distance"] += 1
        if count["month"] or count["origin"] or count["distance"]:
            raise ValueError(f"a rule was broken: {count}")
        if record["arr_delay"] is None:
            count["arrived"] += 1
        if record["dep_delay"] is not None and record["dep_delay"] > 720:
            count["punctual"] += 1
        return record


class Tidy(Mapper):
    """Leaves out what never flew, drops and renames fields, and sets one."""

    name = "mapper-tidy"

    def change_schema(self, properties: dict[str, Any]) -> dict[str, Any]:
        changed = {RENAMED.get(key, key): value for key, value in properties.items() if key not in DROPPED}
        return {**changed, "dataset": {"type": ["string", "null"]}}

    def change_record(self, record: dict[str, Any]) -> dict[str, Any] | None:
        if record["air_time"] is None:
            return None
        changed = {RENAMED.get(key, key): value for key, value in record.items() if key not in DROPPED}
        changed["dataset"] = "nycflights13"
        return changed


class Speed(Mapper):
    """Adds fields computed from others."""

    name = "mapper-speed"

    def change_schema(self, properties: dict[str, Any]) -> dict[str, Any]:
        number, whole = {"type": ["number", "null"]}, {"type": ["integer", "null"]}
        return {**properties, "air_hours": number, "mph": number, "made_up_minutes": whole}

    def change_record(self, record: dict[str, Any]) -> dict[str, Any]:
        hours = record["air_minutes"] / 60
        left, right = record["dep_delay"], record["arr_delay"]
        record["air_hours"] = hours
        record["mph"] = record["miles"] / hours if hours else None
        record["made_up_minutes"] = None if left is None or right is None else left - right
        return record


class ParquetSink(BatchSink):
    """Writes batches of records."""

    max_size = 65_536

    def setup(self) -> None:
        """Open the file."""
        self._writer: parquet.ParquetWriter | None = None
        types = {"string": pa.string(), "integer": pa.int64(), "number": pa.float64()}
        self._columns = pa.schema([(name, types[each["type"][0]]) for name, each in self.schema["properties"].items()])

    def process_batch(self, context: dict[str, Any]) -> None:
        """Write one batch."""
        records = context["records"]
        for record in records:
            # singer-sdk reads every number with a fraction as a decimal.
            record["air_hours"], record["mph"] = float(record["air_hours"]), float(record["mph"])
        if self._writer is None:
            self._writer = parquet.ParquetWriter(self.config["path"], self._columns)
        self._writer.write_table(pa.Table.from_pylist(records, self._columns))

    def clean_up(self) -> None:
        """Close the file."""
        if self._writer is not None:
            self._writer.close()


class ParquetTarget(Target):
    """A destination."""

    name = "target-parquet"
    config_jsonschema: ClassVar[dict[str, Any]] = {
        "properties": {"path": {"type": "string"}, "add_record_metadata": {"type": "boolean"}}
    }
    default_sink_class = ParquetSink


def main(stage: str, path: str = "") -> None:
    """Be one process of the pipe."""
    match stage:
        case "tap":
            FlightsTap(config={"path": path}).sync_all()
        case "target":
            ParquetTarget(config={"path": path, "add_record_metadata": False}).listen()
        case _:
            {"check": Check, "tidy": Tidy, "speed": Speed}[stage](config={}).listen()


if __name__ == "__main__":
    main(*sys.argv[1:])
