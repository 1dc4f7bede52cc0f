from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import termios
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


def on_terminal(arguments: tuple[str, ...], environment: dict[str, str], *, columns: int = 80) -> bytes:
    """Run a command whose outputs are a terminal; returns all that it wrote."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, columns))
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


@pytest.mark.parametrize("address_bytes", [700 * 10**6, 4 * 10**9])
def test_a_system_without_memory_is_not_the_plugins_fault(folder, environment, pipeline, address_bytes):
    pipeline(
        "  r: {connector: csv, read: orders.csv}\n"
        "  d: {plugin: derive-columns.wasm, input: r,\n"
        "      config: {columns: [{name: x, op: add, left: order, right: order}]}}\n"
        "  w: {connector: jsonl, input: d, write: o.jsonl}\n"
    )
    command = [*COMMAND, "run", "pipeline.yaml"]
    assert subprocess.run(command, capture_output=True, env=environment).returncode == 0
    # Threads of numpy's take address space too; what is left is for less than one memory of a plugin.
    short = {**environment, "OPENBLAS_NUM_THREADS": "1"}
    limit = f'ulimit -v {address_bytes // 1000}; exec "$@"'
    done = subprocess.run(["sh", "-c", limit, "sh", *command, "--json"], capture_output=True, env=short, text=True)
    error = json.loads(done.stdout)["error"]["cause"]
    assert (done.returncode, error["type"]) == (1, "HostShortage"), done.stderr
    assert "the system has no memory" in done.stderr and "ulimit -v" in error["hint"]


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize(
    ("lack", "says"),
    [
        (MemoryError(), "the system has no memory left for the host's own work"),
        (RuntimeError("can't start new thread"), "the system has no room for another thread of the host's own"),
    ],
)
def test_what_the_system_lacks_is_told_without_a_traceback(dataflare, monkeypatch, as_json, lack, says):
    def lacking(*_arguments, **_options):
        raise lack

    monkeypatch.setattr("dataflare.cli.schema.describe", lacking)
    done = dataflare("schema", "orders.csv", *["--json"] * as_json)
    assert done.exit_code == 1 and "Traceback" not in done.stderr
    assert done.stderr.startswith(f"error: {says}")


def test_a_thread_that_cannot_be_started_is_not_the_plugins_fault(dataflare, pipeline, monkeypatch):
    pipeline(
        "  r: {connector: csv, read: orders.csv}\n"
        "  d: {plugin: derive-columns.wasm, input: r,\n"
        "      config: {columns: [{name: x, op: add, left: order, right: order}]}}\n"
        "  w: {connector: jsonl, input: d, write: o.jsonl}\n"
    )

    def start(*_):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("dataflare.engine.native.timer._thread.start_new_thread", start)
    done = dataflare("run", "pipeline.yaml")
    assert done.exit_code == 1 and "Traceback" not in done.stderr
    # The first that needs a thread is the reader, or the engine, where the component is not in the cache.
    assert re.search("node '[rd]' failed: the system has no room for another thread", done.stderr), done.stderr
    assert "ulimit -u" in done.stderr


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
    assert (process.returncode, errors) == (130, b"interrupted\n")
    assert out.splitlines()[0] == b"pipeline p" and out.splitlines()[-1].startswith(b"interrupted: ")
    assert list((folder / "out").iterdir()) == []


LOST = b"error: standard output cannot be written: "
COPY = (
    "name: p\nnodes:\n  r: { connector: csv, read: orders.csv }\n  w: { connector: jsonl, input: r, write: o.jsonl }\n"
)


def in_shell(line: str, environment: dict[str, str]) -> tuple[int, bytes]:
    """Run a command line of the shell, `dataflare` in it being this one; its exit code and its standard error."""
    command = f'dataflare() {{ {sys.executable} -m dataflare.cli.main "$@"; }}\n{line}'
    done = subprocess.run(["bash", "-c", command], capture_output=True, env=environment)
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    ("line", "code", "says"),
    [
        ("dataflare run p.yaml > /dev/full", 0, b"No space left on device"),
        ("dataflare run --json p.yaml > /dev/full", 0, b"No space left on device"),
        ("dataflare run --json p.yaml >&-", 0, b"it is closed"),
        ("dataflare run p.yaml >&-", 0, b"it is closed"),
        ("dataflare run --json absent.yaml > /dev/full", 2, b"No space left on device"),
        ("dataflare run --json absent.yaml >&-", 2, b"it is closed"),
        ("dataflare --help > /dev/full", 1, b"No space left on device"),
        ("dataflare --version > /dev/full", 1, b"No space left on device"),
        ("dataflare inspect csv-source.wasm > /dev/full", 1, b"No space left on device"),
    ],
)
def test_exit_code_follows_the_work_and_not_the_state_of_standard_output(folder, environment, line, code, says):
    (folder / "p.yaml").write_text(COPY)
    found, errors = in_shell(line, environment)
    assert found == code and LOST + says in errors and b"Traceback" not in errors and b"ignored" not in errors
    if code == 0:
        assert (folder / "o.jsonl").read_bytes().count(b"\n") == 3


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("dataflare run p.yaml | true; exit ${PIPESTATUS[0]}", 0),
        ("dataflare --help | true; exit ${PIPESTATUS[0]}", 1),
        ("dataflare run --json p.yaml >&- 2>&-", 0),
        ("dataflare run --json p.yaml > /dev/full 2> /dev/full", 0),
        ("dataflare run --json p.yaml <&- >&- 2>&-", 0),
        ("dataflare run --json absent.yaml 2>&-", 2),
        ("dataflare run --json absent.yaml 2>/dev/full", 2),
    ],
)
def test_streams_that_are_gone_are_not_spoken_of(folder, environment, line, code):
    (folder / "p.yaml").write_text(COPY)
    found, errors = in_shell(line, environment)
    assert (found in (code, 0 if "|" in line else code), errors) == (True, b"")


def test_output_file_does_not_get_the_number_of_a_closed_standard_output(folder, environment):
    (folder / "p.yaml").write_text(COPY)
    assert in_shell("dataflare --log-level debug run p.yaml >&- 2>&-", environment)[0] == 0
    assert [json.loads(line)["order"] for line in (folder / "o.jsonl").read_text().splitlines()] == [1, 2, 3]


@pytest.mark.parametrize("delay_ms", [30, 200, 550])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_while_the_command_starts_ends_it_with_its_code_and_no_traceback(environment, number, delay_ms):
    process = subprocess.Popen(
        [sys.executable, "-X", "frozen_modules=on", "-c", STARTED],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"begun\n"
    time.sleep(delay_ms / 1000)
    process.send_signal(number)
    out, errors = process.communicate(timeout=60)
    says = b"interrupted\n" if number == signal.SIGINT else f"ended by {number.name}\n".encode()
    # On a slow machine the signal may come after the command has ended by itself.
    ended = b"error: absent.yaml: cannot be read: No such file or directory\n"
    assert errors in (b"", says, ended)
    assert process.returncode == (128 + number if errors == says else 2), (out, errors)


# What the script that pip makes does, once Python itself and this one module are there.
STARTED = """
import sys
from dataflare.cli.main import main
print("begun", flush=True)
sys.argv[1:] = ["run", "absent.yaml", "--quiet", "--json"]
main()
"""


def test_progress_on_a_terminal_has_a_line_for_each_node_with_its_rate(folder, environment):
    rows = 400_000
    parquet.write_table(pa.table({"n": pa.array(range(rows), pa.int64())}), folder / "n.parquet")
    (folder / "p.yaml").write_text(
        "name: p\nnodes:\n  first: { connector: parquet, read: n.parquet, options: { batch_rows: 10000 } }\n"
        "  second: { plugin: json-mapper.wasm, input: first, config: { set: { a: 1 } } }\n"
        "  third: { connector: jsonl, input: second, write: o.jsonl }\n"
    )
    shown = on_terminal((*COMMAND, "run", "p.yaml"), {**environment, "COLUMNS": "80"}).decode()
    for name in ("first", "second", "third"):
        assert re.search(rf"{name}\s.*[0-9,]+ rows, [0-9,]+ rows/s", shown), shown[-2000:]
    quiet = on_terminal((*COMMAND, "run", "--quiet", "p.yaml"), environment)
    assert quiet == b""


@pytest.mark.parametrize("columns", [30, 80, 200])
def test_report_on_a_terminal_has_no_line_that_is_longer_than_the_terminal(folder, environment, columns):
    name = "a-name-of-a-node-that-takes-more-than-half-of-a-line"
    (folder / "p.yaml").write_text(
        f"name: p\nnodes:\n  {name}: {{ connector: csv, read: orders.csv }}\n"
        f"  w: {{ connector: jsonl, input: {name}, write: o.jsonl }}\n"
    )
    del environment["COLUMNS"]
    written = on_terminal((*COMMAND, "run", "p.yaml"), environment, columns=columns).decode()
    lines = re.split(r"[\r\n]+", re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", written))
    assert max(map(len, lines)) <= columns, lines
    assert "3 rows in, 3 rows out" in " ".join(" ".join(lines).split())
    assert columns < 80 or name[:20] in written
