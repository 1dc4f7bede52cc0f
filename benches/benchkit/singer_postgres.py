"""The peer for databases: a Singer tap of the flights into a Singer target of PostgreSQL.

`python singer_postgres.py tap PATH` and `python singer_postgres.py target URL` are joined by a pipe. The target makes a
table of each batch of singer-sdk, and `COPY` by ADBC of it: as fast as one can be behind the SDK's own reader.
"""

from __future__ import annotations

import sys
from typing import Any, ClassVar

import adbc_driver_postgresql.dbapi as postgresql
import pyarrow as pa
from singer_sdk import Target
from singer_sdk.sinks import BatchSink

from benchkit.singer_pipe import FlightsTap

_TYPES = {"string": pa.string(), "integer": pa.int64()}


class TableSink(BatchSink):
    """Adds batches of records to the table `singer`."""

    max_size = 10_000

    def setup(self) -> None:
        """Connect."""
        self._connection = postgresql.connect(self.config["url"])
        self._columns = pa.schema([(name, _TYPES[each["type"][0]]) for name, each in self.schema["properties"].items()])

    def process_batch(self, context: dict[str, Any]) -> None:
        """Write one batch."""
        with self._connection.cursor() as cursor:
            table = pa.Table.from_pylist(context["records"], self._columns)
            cursor.adbc_ingest("singer", table, mode="create_append")
        self._connection.commit()

    def clean_up(self) -> None:
        """Disconnect."""
        self._connection.close()


class TableTarget(Target):
    """A destination."""

    name = "target-table"
    config_jsonschema: ClassVar[dict[str, Any]] = {
        "properties": {"url": {"type": "string"}, "add_record_metadata": {"type": "boolean"}}
    }
    default_sink_class = TableSink


def main(stage: str, where: str) -> None:
    """Be one process of the pipe."""
    if stage == "tap":
        FlightsTap(config={"path": where}).sync_all()
    else:
        TableTarget(config={"url": where, "add_record_metadata": False}).listen()


if __name__ == "__main__":
    main(*sys.argv[1:])
