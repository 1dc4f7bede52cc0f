"""`dataflare conformance` over components, with its reports."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner, Result

from dataflare.cli.app import app
from dataflare.conformance import CaseResult, Outcome, SuiteResult, load_cases, load_duties
from dataflare.conformance.reports import to_html, to_junit

COMPONENTS = Path(__file__).parents[2] / "guest-sdks" / "rust" / "components"
MAPPER = str(COMPONENTS / "json-mapper.wasm")


ADD = ["--config", '{"columns": [{"name": "more", "op": "add", "left": "id", "right": 1}]}']
PEOPLE = "id,name\n" + "".join(f"{n},name {n}\n" for n in range(8))


def conformance(*words: str) -> Result:
    return CliRunner().invoke(app, ["conformance", *words])


def outcome(text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text)
    return found


def test_directories_are_copied(tmp_path):
    (tmp_path / "a.csv").write_text(PEOPLE)
    (tmp_path / "out").mkdir()
    words = ["run", str(COMPONENTS / "jsonl-destination.wasm"), "--config", '{"path": "out/o.jsonl"}', "--json"]
    words += ["--grant", f"files:write:out={tmp_path}/out", "--sample", str(tmp_path / "a.csv")]
    done = conformance(*words, "--case", "destination/files-finish", "--case", "destination/run")
    assert (done.exit_code, outcome(done.output)["counts"]) == (0, {"PASS": 2})
    assert not list((tmp_path / "out").iterdir())


def test_certified_allows_no_skip(tmp_path):
    (tmp_path / "a.csv").write_text("id\nx\n")
    words = ["run", str(COMPONENTS / "derive-columns.wasm"), *ADD, "--case", "rows/after-an-error", "--json"]
    words += ["--sample", str(tmp_path / "a.csv")]
    assert conformance(*words, "--profile", "certified").exit_code == 1
    assert conformance(*words).exit_code == 0


def test_reports_are_written(tmp_path):
    done = conformance(
        "run", MAPPER, "--case", "processor", "--junit", str(tmp_path / "r.xml"), "--html", str(tmp_path / "r.html")
    )
    assert done.exit_code == 0, done.output
    suite = ElementTree.fromstring((tmp_path / "r.xml").read_text())
    assert (suite.get("tests"), suite.get("failures")) == ("5", "0")
    page = (tmp_path / "r.html").read_text()
    assert "json-mapper.wasm is conformant" in page and "processor/one-by-one" in page


def test_expectation_that_is_out_of_date_fails(tmp_path):
    known = tmp_path / "known.yaml"
    known.write_text("processor/one-by-one: {reason: slow, link: https://example.org/1}\n")
    done = conformance("run", MAPPER, "--case", "processor/one-by-one", "--expect", str(known), "--json")
    assert (done.exit_code, outcome(done.output)["counts"]) == (1, {"XPASS": 1})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- 1", "dictionary"),
        ("processor/one-by-one: {reason: x}", "link"),
        ("processor/one-by-two: {reason: x, link: y}", "there is no case"),
        ("a: [", "not YAML"),
    ],
)
def test_wrong_expectations_are_refused(tmp_path, text, message):
    (tmp_path / "known.yaml").write_text(text)
    done = conformance("run", MAPPER, "--case", "processor", "--expect", str(tmp_path / "known.yaml"))
    assert (done.exit_code, message in done.stderr) == (2, True), done.stderr


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--case", "no-such"], 2, "no case is chosen: 'no-such' is no case, group or duty"),
        (["--case", "processor", "--case", "no-such"], 2, "'no-such' is no case, group or duty"),
        (["--case", "SRC-7"], 2, "'SRC-7' tests nothing of a processor in the profile `full`"),
        (["--profile", "core", "--case", "processor/any-rows"], 2, "in the profile `core`"),
        (["--profile", "best"], 2, "there is no profile"),
        (["--config", "{"], 2, "JSON"),
        (["--limit", "memory=1"], 2, "memory"),
    ],
)
def test_wrong_command_lines_are_refused(words, code, message):
    done = conformance("run", MAPPER, *words)
    assert (done.exit_code, message in done.stderr) == (code, True), done.stderr


def test_what_is_no_plugin_or_may_not_is_told_first(tmp_path):
    (tmp_path / "no.wasm").write_bytes(b"no")
    assert conformance("run", str(tmp_path / "no.wasm")).exit_code == 3
    assert conformance("run", str(COMPONENTS / "csv-source.wasm"), "--config", '{"path": "data/a"}').exit_code == 4


def test_failure_says_duty_what_came_and_how_to_repeat_it():
    words = ["run", str(COMPONENTS / "derive-columns.wasm"), *ADD, "--limit", "memory=1MiB"]
    done = conformance(*words, "--case", "every/health")
    assert done.exit_code == 1
    assert "FAIL  every/health" in done.output
    assert "duty: LIFE-6" in done.output
    again = f"run again: dataflare conformance run {shlex.join(words[1:])}"
    assert f"{again} --case every/health" in done.output


def test_configuration_that_the_plugin_refuses_is_told_first():
    for words, message in (
        ([], "missing field `columns`"),
        (["--config", '{"columns": 7}'], "invalid type: integer `7`"),
    ):
        done = conformance("run", str(COMPONENTS / "derive-columns.wasm"), *words)
        assert (done.exit_code, message in done.stderr) == (2, True), done.stderr
        assert "hint: give the configuration with which it works" in done.stderr


def test_destination_without_rows_that_it_takes_is_not_conformant(tmp_path):
    (tmp_path / "out").mkdir()
    words = ["run", str(COMPONENTS / "jsonl-destination.wasm"), "--config", '{"path": "out/o.jsonl"}']
    words += ["--grant", f"files:write:out={tmp_path}/out", "--profile", "core", "--html", f"{tmp_path}/r.html"]
    done = conformance(*words, "--case", "destination")
    assert done.exit_code == 2, done.output
    assert "jsonl-destination.wasm could not be tested (core): 1 PASS, " in done.output
    why = "nothing was seen of its work, since destination/run was skipped: no sample of rows was given"
    assert why in done.output
    assert "<h1>jsonl-destination.wasm could not be tested</h1>" in (tmp_path / "r.html").read_text()


def test_repeated_command_has_all_options(tmp_path):
    (tmp_path / "a b.csv").write_text(PEOPLE)
    (tmp_path / "out").mkdir()
    words = ["run", str(COMPONENTS / "jsonl-destination.wasm"), "--config", '{"path": "out/x"}']
    words += ["--sample", str(tmp_path / "a b.csv"), "--grant", f"files:write:out={tmp_path}/out"]
    words += ["--limit", "memory=1MiB", "--profile", "certified", "--cache-dir", str(tmp_path / "cache")]
    rules = f"jsonl-destination: {{grants: {{files: {{out: {{path: {tmp_path}/out, access: write}}}}}}}}"
    (tmp_path / "policy.yaml").write_text(f"version: 1\nplugins: {{{rules}}}\n")
    words += ["--policy", str(tmp_path / "policy.yaml"), "--audit", str(tmp_path / "audit.jsonl")]
    done = conformance(*words, "--case", "every/health")
    assert done.exit_code == 1, done.stderr
    (again,) = [line.partition("again: ")[2] for line in done.output.splitlines() if "run again" in line]
    assert shlex.split(again) == ["dataflare", "conformance", *words, "--case", "every/health"]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("1,Ada\n2,Bob\n", "it has 2 rows, and a destination needs at least 8, so that there are two batches of 4"),
        (
            "1,Ada\n" * 8,
            "its second half has no text of three or more letters, digits or spaces that the first has not",
        ),
        ("1,A\n" * 8, "its first half has no text of three or more letters, digits or spaces, and"),
    ],
)
def test_sample_that_is_not_enough_is_refused_first(tmp_path, rows, message):
    (tmp_path / "a.csv").write_text(f"id,name\n{rows}")
    (tmp_path / "out").mkdir()
    words = ["run", str(COMPONENTS / "jsonl-destination.wasm"), "--config", '{"path": "out/o.jsonl"}']
    words += ["--grant", f"files:write:out={tmp_path}/out", "--sample", str(tmp_path / "a.csv")]
    done = conformance(*words)
    assert (done.exit_code, message in done.stderr, "a.csv" in done.stderr) == (2, True, True), done.stderr


def test_reports_of_hostile_texts_are_well_formed():
    text = "</script><b>&\x00\x1b[31m\ud800\ufffe"
    result = SuiteResult(tuple(CaseResult(load_cases()[0], each, 1.0, text, text) for each in Outcome))
    assert ElementTree.fromstring(to_junit(result, plugin=text).encode()).get("errors") == "1"
    page = to_html(result, load_duties(), plugin=text, profile=text, passed=False)
    assert ("</script>" in page, "&lt;/script&gt;" in page, "\x1b" in page) == (False, True, False)
    assert page.encode()


def test_cases_are_listed_with_the_sentences_of_their_duties():
    shown = conformance("list").output
    listed = {each["name"]: each["asks"] for each in json.loads(conformance("list", "--json").output)}
    assert set(listed) == {each.name for each in load_cases()}
    duty = load_duties()["SRC-19"]
    assert listed["source/incremental"] == {"SRC-19": {"level": "MUST", "text": duty.text}}
    assert f"source/incremental: An incremental read gives nothing again\n  SRC-19 MUST: {duty.text}\n" in shown
