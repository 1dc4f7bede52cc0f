"""`dataflare bench`: measure a plugin."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

from dataflare.cli.figures import byte_count, count, duration
from dataflare.cli.options import (
    AsJson,
    CacheDir,
    Config,
    GrantWords,
    LimitWords,
    compiled_folder,
    load_plugin,
    parse_plugin,
)
from dataflare.cli.output import printed_errors, write_json
from dataflare.cli.screen import stderr, stdout
from dataflare.pipeline.benchmark import Measurement, measure, read_rows
from dataflare.runtime.host import Host
from dataflare.security.settings import Security

__all__ = ["command"]


def command(
    security: Security,
    component: Annotated[Path, typer.Argument(help="A plugin (.wasm).", show_default=False)],
    config: Config = "{}",
    data: Annotated[
        Path | None,
        typer.Option(help="Rows to give it: a .csv, .jsonl, .parquet or .arrow file. Without it, made-up rows."),
    ] = None,
    rows: Annotated[int, typer.Option(min=1, help="At most this many rows of the file.")] = 1_000_000,
    seconds: Annotated[float, typer.Option(min=0.1, max=3600, help="How long to measure, about.")] = 5.0,
    grant: GrantWords = None,
    limit: LimitWords = None,
    as_json: AsJson = False,
    cache_dir: CacheDir = None,
) -> None:
    """Measure a plugin: rows and calls a second, the cost of a call and of a row, and where the time goes.

    Batches of several sizes are given to it in turn. Times are wall times; on a busy machine look at the best, and at
    ratios. A destination is aborted in the end.
    """
    with printed_errors(as_json=as_json), Host(cache_dir=compiled_folder(cache_dir), security=security) as host:
        batch = None if data is None else read_rows(data, rows)
        plugin = load_plugin(host, component, parse_plugin(config, grant, limit))
        console = stderr()
        with Progress(
            TextColumn("measuring"), BarColumn(), console=console, transient=True, disable=not console.is_terminal
        ) as bar:
            task = bar.add_task("measuring", total=1.0)
            result = measure(plugin, batch, seconds=seconds, progress=lambda part: bar.update(task, completed=part))
        if as_json:
            write_json(result.to_json())
        else:
            _show(result)


def _show(result: Measurement) -> None:
    console = stdout()
    console.say(f"{result.plugin} ({result.kind})")
    table = Table()
    for name in ("rows a call", "calls", "best", "median", "slowest", "rows/s (best)"):
        table.add_column(name, justify="right")
    for sample in result.samples:
        times = (duration(t) for t in (sample.best_s, sample.median_s, sample.worst_s))
        table.add_row(count(sample.rows), count(sample.calls), *times, count(sample.rows / sample.best_s))
    console.print(table)
    console.say(f"a call costs {duration(result.fixed_s)}, a row {result.per_row_s * 1e9:,.1f} ns (fitted)")
    shares = (
        ("guest", result.guest_share),
        ("marshalling", result.marshal_share),
        ("host functions", result.host_share),
    )
    console.say("time: " + ", ".join(f"{name} {share:.0%}" for name, share in shares))
    console.say(
        f"copied {result.copied_bytes_per_row:,.1f} bytes a row; plugin memory {byte_count(result.memory_peak_bytes)}"
    )
