"""A program of somebody who embeds the host: its own settings, a pipeline made in code, and every kind of failure."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

import dataflare
from dataflare import (
    Destination,
    DirectoryGrant,
    Grants,
    Host,
    Limits,
    Plugin,
    Processor,
    Progress,
    RunReport,
    Source,
    Target,
)


@dataclass(frozen=True)
class Settings:
    folder: Path
    limits: Limits = field(default_factory=lambda: dataflare.parse_limits(["memory=64MiB", "call_timeout=5s"]))

    def grants(self, *, write: bool = False) -> Grants:
        return Grants(files={"data": DirectoryGrant(path=self.folder, access="write" if write else "read")})


def described(plugin: Plugin) -> str:
    return f"{plugin.metadata.name} {plugin.metadata.version}: {plugin.stats.faults} faults"


def mapped(processor: Processor, source: Source) -> Iterator[pa.RecordBatch]:
    for rows in source.batches():
        made = processor.process_batch(rows)
        print(made.num_rows, made.schema.names)
        yield made


def copied(rows: Iterator[pa.RecordBatch], destination: Destination, schema: pa.Schema) -> int:
    destination.open(Target("orders", schema, mode="replace"))
    try:
        for batch in rows:
            destination.write(batch)
        destination.finish()
    except BaseException:
        destination.abort()
        raise
    return destination.rows_written


def pipeline_of(names: list[str], output: Path) -> dict[str, object]:
    nodes: dict[str, object] = {
        "read": {"connector": "csv", "read": names, "options": {"columns": {"zip": "string"}}},
        "write": {"connector": "parquet", "input": "read", "write": str(output), "partition_by": ["zip"]},
    }
    return {"name": "orders", "nodes": nodes}


def show(progress: Progress) -> None:
    print(progress.rows, [(node.name, node.rows_out) for node in progress.nodes])


def finished(report: RunReport) -> bool:
    written = [output.path for node in report.nodes for output in node.outputs]
    print(report.status, report.rows_in, report.rows_out, report.seconds, written)
    return report.status == "completed"


def main(settings: Settings, names: list[str]) -> int:
    specification = dataflare.build_specification(pipeline_of(names, settings.folder / "out"))
    try:
        with Host() as host:
            return 0 if finished(dataflare.run(specification, host=host, progress=show)) else 1
    except dataflare.NodeFailed as error:
        print(error.node, error.report.status, error.hint, file=sys.stderr)
    except dataflare.DataflareError as error:
        print(type(error).__name__, error.message, file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(Settings(Path(sys.argv[1])), sys.argv[2:]))
