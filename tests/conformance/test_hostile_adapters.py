"""Adapters that hang, flood, lie or die are given up, and the run says what they did."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dataflare.cli.app import app
from dataflare.conformance import CommandHost
from dataflare.conformance.adapter import AdapterFailed, NoAnswer

ANSWER = 'json.dumps({"id": json.loads(line)["id"], "ok": {}})'
START = "import json, os, signal, subprocess, sys, time\nout = sys.stdout.buffer\n"


def adapter(text: str) -> list[str]:
    return [sys.executable, "-c", START + text]


def each_line(text: str) -> list[str]:
    return adapter(f"for line in sys.stdin:\n answer = {ANSWER}.encode()\n {text}\n out.flush()")


@contextlib.contextmanager
def host(command: list[str], **options: float) -> Iterator[CommandHost]:
    with contextlib.closing(CommandHost(command, **options)) as made:
        yield made


SILENT = {
    "hangs": (adapter("time.sleep(600)"), "no answer came within"),
    "drips a byte at a time": (
        each_line("for each in answer: out.write(bytes([each])); out.flush(); time.sleep(0.4)"),
        "only the beginning of an answer came within",
    ),
    "stops itself": (adapter("os.kill(os.getpid(), signal.SIGSTOP)"), "no answer came within"),
    "ignores signals": (
        adapter("for each in (1, 2, 15): signal.signal(each, signal.SIG_IGN)\ntime.sleep(600)"),
        "no answer came within",
    ),
    "ends": (each_line("sys.exit(3)"), "the adapter ended with code 3"),
    "is killed": (each_line("os.kill(os.getpid(), 9)"), "the adapter ended with code -9"),
    "ends within an answer": (
        each_line("out.write(answer[:5]); out.flush(); os._exit(4)"),
        "ended with code 4 in the middle of an answer",
    ),
    "closes its output": (each_line("os.close(1); time.sleep(600)"), "the adapter closed its output"),
    "leaves a child with its output": (
        each_line("subprocess.Popen(['sleep', '600']); os._exit(5)"),
        "ended with code 5, and a process that it started keeps its output open",
    ),
    "leaves a child of another session": (
        each_line("subprocess.Popen(['sleep', '20'], start_new_session=True); os._exit(6)"),
        "ended with code 6, and a process that it started keeps its output open",
    ),
}


@pytest.mark.parametrize("what", SILENT)
def test_adapter_without_an_answer_is_told_from_one_that_is_slow(what: str) -> None:
    command, message = SILENT[what]
    within_s = 2.0 if "came within" in message else 60.0
    with host(command) as made, pytest.raises(NoAnswer, match=message):
        made.ask({"do": "hello"}, within_s=within_s)


WRONG = {
    "writes what is not JSON": ("out.write(b'hello\\n')", "not JSON"),
    "writes what is not UTF-8": ('out.write(b\'{"id": 1, "ok": "\\xff"}\\n\')', "not JSON"),
    "writes nothing in a line": ("out.write(b'\\n')", "not JSON"),
    "nests deeply": ("out.write(b'[' * 100_000 + b'\\n')", "not JSON"),
    "writes a long number": ("out.write(b'9' * 100_000 + b'\\n')", "not JSON"),
    "writes a line without an end": ("\n while True: out.write(b'x' * 2**20)", "longer than 67,108,864 bytes"),
    "writes lines without an end": ("\n while True: out.write(b'{}\\n' * 1000)", "more than one line"),
    "answers twice at once": ("out.write(answer + b'\\n' + answer + b'\\n')", "more than one line"),
    "answers another request": ("out.write(answer.replace(b'1', b'2') + b'\\n')", "not the number 1"),
    "takes true for a number": ("out.write(answer.replace(b'1', b'true') + b'\\n')", "not the number 1"),
    "takes a text for a number": ("out.write(answer.replace(b'1', b'\"1\"') + b'\\n')", "not the number 1"),
}


@pytest.mark.parametrize("what", WRONG)
def test_adapter_that_breaks_the_protocol_is_ended(what: str) -> None:
    text, message = WRONG[what]
    with host(each_line(text)) as made, pytest.raises(AdapterFailed, match=message):
        made.ask({"do": "hello"}, within_s=60)


@pytest.mark.parametrize("later", ["answer", "answer.replace(b'1', b'2')"], ids=["twice", "before it is asked"])
def test_line_that_nobody_asked_for_is_no_answer(tmp_path: Path, later: str) -> None:
    written = tmp_path / "written"
    text = f"out.write(answer + b'\\n'); out.flush(); time.sleep(0.2); out.write({later} + b'\\n'); out.flush()"
    with host(each_line(f"{text}; open({str(written)!r}, 'w').close()")) as made:
        assert made.ask({"do": "hello"}, within_s=60)["ok"] == {}
        while not written.exists():
            time.sleep(0.01)
        with pytest.raises(AdapterFailed, match="a line that it was not asked for"):
            made.ask({"do": "hello"}, within_s=60)


def test_adapter_that_reads_nothing_is_given_up_with_a_long_request() -> None:
    with host(adapter("time.sleep(600)")) as made, pytest.raises(NoAnswer, match="no answer came within"):
        made.ask({"do": "process", "input": "x" * 2**20}, within_s=0.5)


def test_long_answer_to_a_long_request_comes_whole() -> None:
    text = "out.write(json.dumps({'id': 1, 'ok': json.loads(line)['input'] * 4}).encode() + b'\\n')"
    with host(each_line(text)) as made:
        assert made.ask({"do": "process", "input": "é" * 2**20}, within_s=60)["ok"] == "é" * 2**22


def test_child_in_the_group_of_an_adapter_ends_with_it(tmp_path: Path) -> None:
    number = tmp_path / "number"
    text = f"child = subprocess.Popen(['sleep', '600']); open({str(number)!r}, 'w').write(str(child.pid))"
    with host(each_line(f"{text}; out.write(answer + b'\\n')")) as made:
        made.ask({"do": "hello"}, within_s=60)
    while is_running(int(number.read_text())):
        time.sleep(0.01)


def is_running(process: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{process}/status").read_text()
    except FileNotFoundError:
        return False


def test_host_that_is_waited_for_in_vain_is_given_up_whatever_it_answers_between() -> None:
    every_second = "int(json.loads(line)['id']) % 2 and out.write(answer + b'\\n')"
    with host(each_line(every_second), patience_s=0.5) as made:
        made.ask({"do": "reset"}, within_s=60)
        with pytest.raises(NoAnswer):
            made.ask({"do": "load"}, within_s=0.6)
        with pytest.raises(AdapterFailed, match="was waited for in vain for"):
            made.ask({"do": "reset"}, within_s=60)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sys.exit(3)", "ended with code 3"),
        ("out.write(b'\\xff\\n')", "not JSON"),
        ("out.write(answer * 2 + b'\\n' + answer + b'\\n')", "more than one line"),
        ("subprocess.Popen(['sleep', '600']); os._exit(0)", "keeps its output open"),
    ],
)
def test_run_with_such_an_adapter_is_an_error_of_the_harness(tmp_path: Path, text: str, words: str) -> None:
    script = tmp_path / "adapter.py"
    script.write_text(each_line(text)[2])
    found = ["--case", "host/texts", "--case", "host/life-order", "--html", str(tmp_path / "report.html")]
    done = CliRunner().invoke(app, ["conformance", "host", "--adapter", f"{sys.executable} {script}", *found])
    assert (done.exit_code, words in done.output) == (2, True), done.output


def test_half_of_a_surrogate_pair_in_an_answer_reaches_reports_escaped(tmp_path: Path) -> None:
    script = tmp_path / "adapter.py"
    ok = "out.write(answer + b'\\n') if b'reset' in line.encode() else "
    wrong = "out.write(answer.replace(b'{}', b'\"\\\\ud800 \\\\u001b[2J\"') + b'\\n')"
    script.write_text(each_line(ok + wrong)[2])
    report = tmp_path / "report.html"
    words = ["--adapter", f"{sys.executable} {script}", "--case", "host/texts", "--html", str(report)]
    words += ["--junit", str(tmp_path / "report.xml")]
    done = CliRunner().invoke(app, ["conformance", "host", *words])
    assert done.exit_code == 1, done.output
    assert "\x1b" not in done.output + report.read_text() + (tmp_path / "report.xml").read_text()
