from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import dataflare
from child_kit import seconds_of_work
from dataflare.cli.interrupts import Interrupted, interrupting_signals
from plugin_wat import hostile

COMMAND = (sys.executable, "-m", "dataflare.cli.main", "run", "p.yaml")
MAPPER = Path(dataflare.__file__).parents[2] / "guest-sdks" / "rust" / "components" / "json-mapper.wasm"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(dataflare.__file__).parents[1])}
SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


@pytest.fixture
def long_run(tmp_path: Path) -> Path:
    """The folder of a pipeline that takes a while."""
    (tmp_path / "in.csv").write_text("n,t\n" + "".join(f"{n},some text\n" for n in range(800_000)))
    (tmp_path / "out.csv").write_text("before")
    (tmp_path / "p.yaml").write_text(
        "name: p\nnodes:\n  r: { connector: csv, read: in.csv }\n"
        f"  m: {{ plugin: {MAPPER}, input: r }}\n  w: {{ connector: csv, input: m, write: out.csv }}\n"
    )
    return tmp_path


def wait_for(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@contextmanager
def started(folder: Path, *arguments: str, **keys: object) -> Iterator[subprocess.Popen[bytes]]:
    """A run that has begun to write."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **keys}
    with subprocess.Popen([*COMMAND, *arguments], cwd=folder, env=ENVIRONMENT, **pipes) as process:
        wait_for(lambda: list(folder.glob(".*.partial")) or process.poll() is not None)
        yield process


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_ends_a_run_with_a_report_and_no_leftovers(long_run, number):
    with started(long_run) as process:
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number, err
    assert b"pipeline p" in out
    assert err.decode() == ("interrupted\n" if number == signal.SIGINT else f"ended by {number.name}\n")
    assert sorted(os.listdir(long_run)) == ["in.csv", "out.csv", "p.yaml"]
    assert (long_run / "out.csv").read_text() == "before"


def test_the_report_of_an_interrupted_run_is_json_where_that_is_asked_for(long_run):
    with started(long_run, "--json") as process:
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=60)
    report = json.loads(out)
    assert (process.returncode, report["status"], len(report["nodes"])) == (143, "interrupted", 3)
    assert report["rows_in"] > 0


def test_a_second_signal_ends_it_at_once(tmp_path):
    (tmp_path / "in.csv").write_text("n,t\n" + "".join(f"{n},some text\n" for n in range(100_000)))
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "p.yaml").write_text(
        "name: p\nnodes:\n  r: { connector: csv, read: in.csv }\n"
        "  w: { connector: csv, input: r, write: pipe }\n  v: { connector: csv, input: r, write: out.csv }\n"
    )
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)  # which never reads
    with started(tmp_path) as process:
        process.send_signal(signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == 143
    os.close(reader)


def test_a_signal_that_is_ignored_stays_so(long_run):
    ignore = lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)  # noqa: E731
    with started(long_run, preexec_fn=ignore) as process:
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    assert process.returncode == 143


def test_handlers_are_put_back():
    before = [signal.getsignal(number) for number in SIGNALS]
    with pytest.raises(Interrupted) as caught, interrupting_signals():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(1)
    assert caught.value.signal == signal.SIGTERM
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_in_another_thread_no_signal_is_touched():
    before = [signal.getsignal(number) for number in SIGNALS]
    found = []

    def body() -> None:
        with interrupting_signals():
            found.extend(signal.getsignal(number) for number in SIGNALS)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    assert found == before


def test_importing_and_running_in_a_program_changes_no_handler(tmp_path):
    (tmp_path / "in.csv").write_text("n\n1\n")
    code = """
import signal
from dataflare import Host
from dataflare.pipeline.runner import run
from dataflare.pipeline.specification import parse_specification
names = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
before = [signal.getsignal(n) for n in names]
text = "name: p\\nnodes:\\n  r: {connector: csv, read: in.csv}\\n  w: {connector: csv, input: r, write: out.csv}\\n"
with Host() as host:
    run(parse_specification(text, file="p.yaml"), host=host)
assert [signal.getsignal(n) for n in names] == before
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=ENVIRONMENT, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("body", ["process-batch", "configure"])
@pytest.mark.parametrize("number", SIGNALS)
def test_a_plugin_that_loops_is_ended_by_one_signal(tmp_path, monkeypatch, number, body):
    for folder in ("attacks", "runtime"):
        monkeypatch.syspath_prepend(Path(__file__).parents[1] / folder)
    from plugin_wat import hostile

    loops = "(loop $l (br $l)) (i32.const 64)"
    (tmp_path / "p.wasm").write_bytes(hostile({}, bodies={body: loops, "shutdown": loops}).binary)
    # More batches than workers: when one is ended, the next call must not begin for its whole time.
    (tmp_path / "in.csv").write_text("n,t\n" + "".join(f"{n},some text\n" for n in range(300_000)))
    (tmp_path / "p.yaml").write_text(
        "name: p\nnodes:\n  r: { connector: csv, read: in.csv }\n"
        "  m: { plugin: p.wasm, input: r, workers: 2 }\n  w: { connector: csv, input: m, write: out.csv }\n"
    )
    with subprocess.Popen(COMMAND, cwd=tmp_path, env=ENVIRONMENT, stderr=subprocess.PIPE) as process:
        wait_for(lambda: seconds_of_work(process.pid) > 2)  # twice what it takes to start
        process.send_signal(number)
        begun = time.monotonic()
        _, err = process.communicate(timeout=60)
        took_s = time.monotonic() - begun
    assert process.returncode == 128 + number, err
    assert err.decode() == ("interrupted\n" if number == signal.SIGINT else f"ended by {number.name}\n")
    assert took_s < 5, took_s
    assert sorted(os.listdir(tmp_path)) == ["in.csv", "p.wasm", "p.yaml"]


_SMALL = "sample: 1KiB"


@pytest.mark.parametrize(
    ("connector", "options", "begin", "row", "rows"),
    [
        ("csv", "sample: 16MiB", "a,b\n", "1,x\n", 300_000),
        ("csv", f"{_SMALL}, max_record: 64KiB", "a,b\n", "1,x\n", 300_000),
        ("jsonl", _SMALL, "", '{"a": 1, "b": "x"}\n', 10_000),
    ],
)
def test_a_signal_ends_a_run_that_waits_for_a_pipe(tmp_path, connector, options, begin, row, rows):
    os.mkfifo(tmp_path / "in")
    (tmp_path / "out.csv").write_text("before")
    (tmp_path / "p.yaml").write_text(
        f"name: p\nnodes:\n  r: {{ connector: {connector}, read: in, options: {{ {options} }} }}\n"
        "  w: { connector: csv, input: r, write: out.csv }\n"
    )
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with (
        subprocess.Popen(COMMAND, cwd=tmp_path, env=ENVIRONMENT, **pipes) as process,
        (tmp_path / "in").open("w") as pipe,
    ):
        pipe.write(begin + row * rows)
        pipe.flush()
        wait_for(lambda: waiting_bytes(pipe.fileno()) == 0)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (143, b"ended by SIGTERM\n")
    assert sorted(os.listdir(tmp_path)) == ["in", "out.csv", "p.yaml"]
    assert (tmp_path / "out.csv").read_text() == "before"


def waiting_bytes(pipe: int) -> int:
    return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), sys.byteorder)


_LONG = ("--limit", "call_timeout=100s")


@pytest.mark.parametrize(
    ("words", "kind", "function"),
    [
        (("inspect", "p.wasm"), "processor", "get-metadata"),
        (("package", "p.wasm", "-m", "m.yaml"), "processor", "get-metadata"),
        (("check", "p.wasm", *_LONG), "processor", "health-check"),
        (("discover", "p.wasm", *_LONG), "source", "discover"),
        (("bench", "p.wasm", *_LONG), "validator", "validate"),
        (("conformance", "run", "p.wasm", *_LONG), "transformer", "transform"),
    ],
)
def test_a_command_that_asks_a_looping_plugin_is_ended_by_one_signal(tmp_path, words, kind, function):
    loop = "(loop $l (br $l)) (unreachable)"
    (tmp_path / "p.wasm").write_bytes(hostile({}, kind=kind, bodies={function: loop}).binary)
    (tmp_path / "m.yaml").write_text("name: x\nversion: 1.0.0\nkind: processor\n")
    command = [*COMMAND[:3], *words, *(("-o", "o.wasm") if words[0] == "package" else ())]
    with subprocess.Popen(command, cwd=tmp_path, env=ENVIRONMENT, stderr=subprocess.PIPE) as process:
        wait_for(lambda: seconds_of_work(process.pid) > 2)
        process.send_signal(signal.SIGINT)
        begun = time.monotonic()
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, b"interrupted\n")
    assert time.monotonic() - begun < 5
    assert sorted(os.listdir(tmp_path)) == ["m.yaml", "p.wasm"]


_SIGNAL_WITHIN_AN_IMPORT = """
import os, signal, sys

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "dateutil.relativedelta":
            sys.meta_path.remove(self)
            os.kill(os.getpid(), {number})

import dataflare.cli.app
sys.meta_path.insert(0, Finder())
sys.argv[1:] = ["run", "p.yaml"]
from dataflare.cli.main import main
main()
"""


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_that_comes_while_arrow_looks_for_modules_is_not_lost(tmp_path, number):
    loops = "(loop $l (br $l)) (i32.const 64)"
    (tmp_path / "p.wasm").write_bytes(hostile({}, bodies={"process-batch": loops}).binary)
    (tmp_path / "in.csv").write_text("n,t\n1,x\n")
    (tmp_path / "p.yaml").write_text(
        "name: p\nnodes:\n  r: { connector: csv, read: in.csv }\n"
        "  m: { plugin: p.wasm, input: r }\n  w: { connector: csv, input: m, write: out.csv }\n"
    )
    code = _SIGNAL_WITHIN_AN_IMPORT.format(number=int(number))
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=ENVIRONMENT, capture_output=True, timeout=60)
    assert done.returncode == 128 + number, done.stderr
    assert done.stderr.decode() == ("interrupted\n" if number == signal.SIGINT else f"ended by {number.name}\n")
    assert b"interrupted: " in done.stdout
    assert sorted(os.listdir(tmp_path)) == ["in.csv", "p.wasm", "p.yaml"]


def test_an_interrupt_that_a_destructor_drops_is_raised_again():
    code = """
import os, signal, time
from dataflare.cli.interrupts import Interrupted, interrupting_signals

class Dropping:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0)

try:
    with interrupting_signals():
        Dropping()
        time.sleep(60)
except Interrupted as error:
    assert error.signal == signal.SIGTERM
    assert signal.getsignal(signal.SIGALRM) == signal.SIG_DFL
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    print("raised")
"""
    done = subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, timeout=50)
    assert done.stdout == b"raised\n", done.stderr
