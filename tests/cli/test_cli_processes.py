from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

import dataflare

COMMAND = (sys.executable, "-m", "dataflare.cli.main")


@pytest.fixture
def environment(folder: Path) -> dict[str, str]:
    names = ("FORCE_COLOR", "NO_COLOR", "PYTHONIOENCODING")
    kept = {name: value for name, value in os.environ.items() if name not in names}
    return {**kept, "PYTHONPATH": str(Path(dataflare.__file__).parents[1]), "TERM": "xterm", "COLUMNS": "120"}


def on_terminal(arguments: tuple[str, ...], environment: dict[str, str]) -> bytes:
    """Run a command whose outputs are a terminal; returns all that it wrote."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(arguments, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    written = b""
    try:
        while part := os.read(ours, 65_536):
            written += part
    except OSError:  # how Linux says that the other side has gone
        pass
    finally:
        os.close(ours)
        process.wait(timeout=60)
    return written


def test_output_into_a_pipe_has_no_colour_and_no_progress(folder, environment):
    (folder / "p.yaml").write_text(
        "name: p\nnodes:\n  r: { connector: csv, read: orders.csv }\n"
        "  w: { connector: jsonl, input: r, write: o.jsonl }\n"
    )
    done = subprocess.run([*COMMAND, "run", "p.yaml"], capture_output=True, env=environment)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"3 rows in, 3 rows out" in done.stdout and b"\x1b" not in done.stdout


def test_error_into_a_pipe_has_no_colour(environment):
    done = subprocess.run([*COMMAND, "inspect", "absent.wasm"], capture_output=True, env=environment)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr == b"error: absent.wasm: cannot be read: No such file or directory\n"


def test_error_on_a_terminal_is_red_unless_no_color_is_set(environment):
    arguments = (*COMMAND, "inspect", "absent.wasm")
    assert b"\x1b[1;31m" in on_terminal(arguments, environment)
    assert b"31m" not in on_terminal(arguments, {**environment, "NO_COLOR": "1"})


@pytest.mark.parametrize("arguments", [("inspect", "--json", "csv-source.wasm"), ("inspect", "csv-source.wasm")])
def test_reader_that_has_gone_is_no_error_to_speak_of(folder, environment, arguments):
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run([*COMMAND, *arguments], stdout=writing, stderr=subprocess.PIPE, env=environment)
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (1, b"")


def test_json_can_be_written_where_the_output_is_ascii(folder, environment):
    (folder / "é.yaml").write_text("name: p\nnodes: {}\n")
    done = subprocess.run(
        [*COMMAND, "run", "--json", "é.yaml"], capture_output=True, env={**environment, "PYTHONIOENCODING": "ascii"}
    )
    assert done.returncode == 2
    assert "é.yaml:2" in json.loads(done.stdout)["error"]["message"]


def test_output_that_cannot_be_written_is_an_error_without_a_traceback(folder, environment):
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [*COMMAND, "inspect", "--json", "csv-source.wasm"], stdout=full, stderr=subprocess.PIPE, env=environment
        )
    assert done.returncode == 1
    assert b"No space left on device" in done.stderr and b"Traceback" not in done.stderr


def test_interrupted_run_ends_with_130_and_leaves_no_output(folder, environment):
    rows = 3_000_000
    parquet.write_table(pa.table({"n": pa.array(range(rows), pa.int64())}), folder / "n.parquet")
    (folder / "p.yaml").write_text(
        "name: p\nnodes:\n  r: { connector: parquet, read: n.parquet, options: { batch_rows: 1000 } }\n"
        "  m: { plugin: json-mapper.wasm, input: r, config: { set: { a: 1 } } }\n"
        "  w: { connector: jsonl, input: m, write: out/o.jsonl }\n"
    )
    process = subprocess.Popen(
        [*COMMAND, "run", "p.yaml"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    )
    try:
        until = time.monotonic() + 60
        while not list(folder.glob("out/.o.jsonl.*")):
            assert process.poll() is None and time.monotonic() < until, process.communicate()
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, out, errors) == (130, b"", b"interrupted\n")
    assert list((folder / "out").iterdir()) == []
