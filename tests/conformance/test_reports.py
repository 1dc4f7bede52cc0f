"""The reports: every duty with its cases, and the suite as a test of pytest."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dataflare.cli.app import app
from dataflare.conformance import CaseResult, Outcome, SuiteResult, load_cases, load_duties
from dataflare.conformance.cases import KINDS, select
from dataflare.conformance.reports import matrix, to_html

pytest_plugins = ["pytester"]

COMPONENT = Path(__file__).parents[2] / "guest-sdks" / "rust" / "components" / "json-mapper.wasm"
ADD = {"columns": [{"name": "t", "op": "add", "left": "id", "right": 1}]}


@pytest.mark.parametrize("kind", [*KINDS, "host"])
def test_matrix_of_a_whole_run_has_no_hole(kind):
    cases = select(load_cases(), kind=kind, profile="full")
    rows = matrix(SuiteResult(tuple(CaseResult(each, Outcome.PASS, 0.0) for each in cases)), load_duties(), cases)
    assert {each.verdict for each in rows} == {"kept"}
    assert len(rows) >= 20


def test_duties_of_all_kinds_are_all_duties():
    cases = load_cases()
    everything = matrix(SuiteResult(()), load_duties(), cases)
    untested = {number for number, duty in load_duties().items() if duty.level == "MUST"} - {
        each.duty.number for each in everything
    }
    assert not untested
    assert {each.verdict for each in everything} == {"not run"}


def test_verdict_is_that_of_the_worst_case():
    case, other = select(load_cases(), kind="processor", profile="full", only=["PROC-1"])[:2]
    for outcomes, verdict in (
        ((Outcome.PASS, Outcome.SKIP), "kept"),
        ((Outcome.SKIP, Outcome.SKIP), "not tested"),
        ((Outcome.PASS, Outcome.FAIL), "broken"),
        ((Outcome.PASS, Outcome.XFAIL), "broken"),
    ):
        result = SuiteResult(tuple(CaseResult(*each, 0.0) for each in zip((case, other), outcomes, strict=True)))
        row = next(each for each in matrix(result, load_duties(), [case, other]) if each.duty.number == "PROC-1")
        assert row.verdict == verdict
        assert f">{verdict}</span>" in to_html(
            result, load_duties(), plugin="p", profile="full", passed=False, rows=[row]
        )


def test_command_tells_which_duties_were_not_run():
    done = CliRunner().invoke(app, ["conformance", "run", str(COMPONENT), "--case", "PROC-4", "--json"])
    found = {each["number"]: each for each in json.loads(done.output)["duties"]}
    assert found["PROC-4"] == {
        "number": "PROC-4",
        "level": "MUST",
        "verdict": "kept",
        "cases": {"processor/no-more-rows": "PASS"},
    }
    assert found["LIFE-1"]["verdict"] == "not run"
    shown = CliRunner().invoke(app, ["conformance", "run", str(COMPONENT), "--case", "PROC-4"]).output
    assert "duties: 1 kept," in shown


TESTS = """
from pathlib import Path

import pyarrow as pa

from dataflare.conformance import Subject, conformance_test

test_mapper = conformance_test(
    lambda: Subject(Path({path!r}), {kind!r}, {config}, sample=pa.table({{"id": ["1"]}})),
    kind={kind!r},
    profile={profile!r},
    only={only},
)
"""


@pytest.mark.parametrize(
    ("config", "profile", "only", "outcomes", "duty"),
    [
        ({"set": {"a": 1}}, "full", ["processor/one-by-one", "every/wrong-values"], {"passed": 2}, ""),
        ({"set": 7}, "full", ["every/health"], {"failed": 1}, "LIFE-6"),
        # It adds to numbers alone.
        (ADD, "full", ["rows/one-row"], {"skipped": 1}, ""),
        (ADD, "certified", ["rows/one-row"], {"failed": 1}, "ROWS-3"),
        (ADD, "full", ["rows/again"], {"failed": 1}, "ROWS-2"),
    ],
)
def test_suite_is_a_test_of_pytest(pytester, config, profile, only, outcomes, duty):
    kind = "transformer" if config is ADD else "processor"
    path = COMPONENT.with_name("derive-columns.wasm") if config is ADD else COMPONENT
    pytester.makepyfile(TESTS.format(path=str(path), kind=kind, config=config, profile=profile, only=only))
    done = pytester.runpytest_inprocess("-q", "-p", "no:cacheprovider", "-p", "no:xdist")
    done.assert_outcomes(**outcomes)
    done.stdout.fnmatch_lines([f"*{duty}*"])
