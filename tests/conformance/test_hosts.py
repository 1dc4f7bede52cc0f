"""The suite passes this project's host however it is reached, and finds every host that has a fault."""

from __future__ import annotations

import contextlib
import json
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from dataflare.cli.app import app
from dataflare.conformance import (
    CommandHost,
    HostService,
    HostSubject,
    LocalHost,
    Outcome,
    load_cases,
    load_duties,
    run_suite,
)
from dataflare.conformance.adapter import AdapterFailed, NoAnswer
from dataflare.conformance.cases import select
from dataflare.conformance.files import probe_file
from dataflare.conformance.runner import CaseResult, SuiteResult
from mutant_kit import module

CASES = select(load_cases(), kind="host", profile="full")
HOSTS = module("hosts")
ADAPTER = f"{shlex.quote(sys.executable)} -m dataflare.cli.main conformance adapter"


def run(connection: Any, *names: str) -> SuiteResult:
    try:
        return run_suite(HostSubject(connection), [each for each in CASES if not names or each.name in names])
    finally:
        connection.close()


def bad(result: SuiteResult) -> list[CaseResult]:
    return [each for each in result.results if each.outcome is not Outcome.PASS]


def test_host_in_this_process_is_conformant():
    result = run(LocalHost(HostService()))
    assert bad(result) == []
    assert len(result.results) > 80


def test_call_that_closes_a_cycle_is_refused_also_where_the_grants_for_it_are_not(monkeypatch):
    monkeypatch.setattr("dataflare.runtime.loaded.check_edges", lambda edges: None)
    assert bad(run(LocalHost(HostService()), "host/plugin-cycles")) == []


SOME = tuple(f"host/{each}" for each in ("time-limit", "state-kept", "expression-aggregate", "cancelled", "file-trap"))
"""A few cases; `dataflare conformance host --isolated` runs all of them, in two minutes."""


def test_host_with_processes_of_their_own_is_conformant():
    assert bad(run(LocalHost(HostService(isolation="process")), *SOME)) == []


def test_host_behind_its_adapter_is_conformant(tmp_path):
    words = ["conformance", "host", "--adapter", ADAPTER, "--json", "--html", str(tmp_path / "report.html")]
    words += [word for each in SOME for word in ("--case", each)]
    done = CliRunner().invoke(app, words)
    found = json.loads(done.output)
    assert (done.exit_code, found["conformant"], found["counts"]) == (0, True, {"PASS": len(SOME)})
    assert "is conformant" in (tmp_path / "report.html").read_text()


MUTANTS: list[Any] = [
    *[each for each in vars(HOSTS).values() if isinstance(each, type) and issubclass(each, HOSTS.Good)][1:],
    *module("answering_hosts").MUTANTS,
]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda each: each.__name__)
def test_faulty_hosts_are_caught_by_the_case_meant_for_them(mutant, monkeypatch):
    for name, stand_in in mutant.replaced.items():
        monkeypatch.setattr(name, stand_in)
    (found,) = run(LocalHost(mutant()), mutant.caught_by).results
    assert found.outcome is Outcome.FAIL, found


def test_every_case_finds_a_faulty_host():
    assert {each.name for each in CASES} == {each.caught_by for each in MUTANTS}


def test_duties_of_hosts_are_those_that_cases_test():
    numbers = {number for number in load_duties() if number.startswith("H")}
    assert numbers == {number for case in CASES for number in case.duties}


def test_probe_is_what_its_record_says():
    record = json.loads(probe_file().with_name("components.json").read_text())["host-probe"]
    assert record["rebuild"] == "python -m dataflare.toolchain build host-probe"
    assert record["size_bytes"] == probe_file().stat().st_size


FAKE = """
import sys
for line in sys.stdin:
    print(WHAT, flush=True)
"""


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("'no JSON'", "not JSON"),
        ("'[1]'", "not the number"),
        ("""'{"id": 7, "ok": {}}'""", "not the number"),
        ("""'{"id": 1, "ok": {}, "error": {}}'""", "not the number"),
        ("sys.exit(3)", "ended with code 3"),
        ("'x' * (65 * 2**20)", "longer than"),
    ],
)
def test_adapter_that_breaks_the_protocol_is_an_error_of_the_harness(what, message):
    host = CommandHost([sys.executable, "-c", FAKE.replace("WHAT", what)])
    (found,) = run(host, "host/life-order").results
    assert (found.outcome, message in found.message) == (Outcome.ERROR, True), found.message


def test_adapter_is_started_again_after_what_is_not_an_answer():
    once = "'{}' if asked['do'] == 'load' and asked['id'] < 3 else json.dumps({'id': asked['id'], 'ok': {}})"
    text = f"import json\n{FAKE}".replace("print", "asked = json.loads(line); print").replace("WHAT", once)
    host = CommandHost([sys.executable, "-c", text])
    first, second = run(host, "host/life-order", "host/texts").results
    assert (first.outcome, "not the number 2" in first.message) == (Outcome.ERROR, True), first
    # The lines of the first case are not taken for answers of the second.
    assert (second.outcome, "without a number `plugin`" in second.message) == (Outcome.FAIL, True), second


def test_adapter_that_never_answers_is_given_up():
    host = CommandHost([sys.executable, "-c", "import time; time.sleep(600)"])
    with contextlib.closing(host):
        for _ in range(3):
            with pytest.raises(NoAnswer):
                host.ask({"do": "hello"}, within_s=0.1)
        with pytest.raises(AdapterFailed, match="no answer 3 times in a row"):
            host.ask({"do": "hello"}, within_s=600)


ECHO = """
import json, sys
answers = {"hello": {"host": "echo"}, "load": {"plugin": 1}, "process-batch": {"rows": "AAAA"}, "health": []}
answers["events"] = {"logs": 5, "counters": None, "gauges": "x", "progress": {"a": 1}}
functions = {"discover": 7, "open": {"token": 7}, "read": {"rows": "!", "state": 5}, "abilities": {"x": []}}
functions |= {"split": {"parts": PARTS, "rest": "é"}, "write": {"rejected": None}}
for line in sys.stdin:
    asked = json.loads(line)
    answer = {"process": {"output": asked.get("input")}, "call": functions.get(asked.get("function"))}
    answer |= answers
    print(json.dumps({"id": asked["id"], "ok": answer.get(asked["do"])}), flush=True)
"""


@pytest.mark.parametrize("parts", ["3", "[4, 'é']", "['=', 'AA']"])
def test_host_that_answers_nonsense_is_not_conformant_and_the_harness_is_whole(parts):
    result = run(CommandHost([sys.executable, "-c", ECHO.replace("PARTS", parts)]))
    assert {each.case.name for each in bad(result)} == {each.name for each in CASES} - {"host/texts"}
    assert result.counts == {"PASS": 1, "FAIL": len(CASES) - 1}


GOOD_START = """
import json, sys, time
for line in sys.stdin:
    asked = json.loads(line)
    if asked["do"] == "load":
        WHAT
    print(json.dumps({"id": asked["id"], "ok": {}}), flush=True)
"""


def test_host_that_dies_or_does_not_answer_is_not_conformant():
    for what, message in (("sys.exit(9)", "ended with code 9"), ("time.sleep(60)", "no answer came")):
        host = CommandHost([sys.executable, "-c", GOOD_START.replace("WHAT", what)])
        case = next(each for each in CASES if each.name == "host/time-at-start")
        case = case.model_copy(update={"steps": [{"load": {"within-s": 1}}]})
        (found,) = run_suite(HostSubject(host), [case]).results
        host.close()
        assert (found.outcome, message in found.message) == (Outcome.FAIL, True), found.message


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--adapter", "'"], "not a command"),
        (["--adapter", ""], "is empty"),
        (["--adapter", "x", "--isolated"], "leave one out"),
        (["--case", "no-such-case"], "no case is chosen"),
    ],
)
def test_wrong_command_lines_are_refused(words, message):
    done = CliRunner().invoke(app, ["conformance", "host", *words])
    assert (done.exit_code, message in done.stderr) == (2, True), done.stderr


def test_adapter_that_is_not_there_is_an_error_of_the_harness():
    done = CliRunner().invoke(app, ["conformance", "host", "--adapter", "/no/such/command", "--case", "host/texts"])
    assert (done.exit_code, "cannot be started" in done.output) == (2, True), done.output


@pytest.mark.parametrize("line", ["", "1", "{", '{"do": "no-such"}', '{"do": "process", "plugin": 7, "input": ""}'])
def test_adapter_answers_whatever_it_is_asked(line):
    done = CliRunner().invoke(app, ["conformance", "adapter"], input=f"{line}\n" + '{"id": 2, "do": "hello"}\n')
    assert done.exit_code == 0
    first, second = map(json.loads, done.output.splitlines())
    assert ("error" in first, second["ok"]["host"]) == (True, "dataflare")


def test_examples_of_the_protocol_are_answered(tmp_path):
    text = (Path(__file__).parents[2] / "conformance" / "ADAPTER.md").read_text()
    asked = [line[2:] for line in text.splitlines() if line.startswith("> {")]
    due = [json.loads(line[2:]) for line in text.splitlines() if line.startswith("< {")]
    lines = "\n".join(asked).replace("host-probe.wasm", str(probe_file())).replace("/folder", str(tmp_path))
    done = CliRunner().invoke(app, ["conformance", "adapter"], input=lines + "\n")
    found = list(map(json.loads, done.output.splitlines()))
    assert len(asked) == len(due) == len(found) > 4
    for one, other in zip(found, due, strict=True):
        one.get("error", {}).pop("message", None)
        other.get("error", {}).pop("message", None)
        assert one == other
