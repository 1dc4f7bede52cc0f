"""Cases that pass, that fail with file and line, and that are wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import BaseModel
from typer.testing import CliRunner

from dataflare.authoring.case_files import CASES, Case, ExpectedError, ExpectedViolation, read_case, read_cases
from dataflare.authoring.cases import difference, run_cases
from dataflare.authoring.templates import new_plugin
from dataflare.cli.app import app
from dataflare.documents.reader import parse_document
from dataflare.errors import ConfigError
from dataflare.runtime.host import Host
from dataflare.toolchain.guests import load_project

ROOT = Path(__file__).parents[2]
GUESTS = load_project(ROOT).guests


def problems(tmp_path: Path, text: str, guest: str = "json-mapper") -> list[str]:
    (tmp_path / "tests" / "cases").mkdir(parents=True)
    (tmp_path / "tests" / "cases" / "one.yaml").write_text(text)
    file = GUESTS[guest].file
    assert file is not None
    with Host() as host:
        return [each.problem for each in run_cases(read_cases(tmp_path), GUESTS[guest].output, file, host)]


def test_rows_that_are_as_expected_pass(tmp_path: Path) -> None:
    text = "config: { rename: { a: b } }\ninput: [{ a: 1 }, { a: null }]\noutput: [{ b: 1 }, { b: null }]\n"
    assert problems(tmp_path, text) == [""]


@pytest.mark.parametrize(
    ("expected", "line", "says"),
    [
        ("output: [{ b: 2 }]", 3, 'row 0 is {"b": 1}, not {"b": 2}'),
        ("output: [{ b: true }]", 3, 'row 0 is {"b": 1}, not {"b": true}'),
        ("output: []", 3, "1 rows came, not 0"),
        ("error: { kind: invalid-input }", 3, "no error came"),
    ],
)
def test_what_differs_is_told_with_its_line(tmp_path: Path, expected: str, line: int, says: str) -> None:
    (problem,) = problems(tmp_path, f"config: {{ rename: {{ a: b }} }}\ninput: [{{ a: 1 }}]\n{expected}\n")
    assert problem.startswith(f"tests/cases/one.yaml:{line}: ")
    assert says in problem


def test_error_is_compared_by_kind_and_text(tmp_path: Path) -> None:
    text = "config: { renamed: 1 }\ninput: [{ a: 1 }]\nerror: { kind: invalid-config, says: renamed }\n"
    assert problems(tmp_path, text) == [""]


@pytest.mark.parametrize(
    ("expected", "says"),
    [
        ("error: { kind: invalid-input }", "the error is invalid-config, not invalid-input"),
        ("error: { kind: invalid-config, says: banana }", "not 'banana'"),
        ("output: []", "invalid-config: "),
    ],
)
def test_other_error_is_told(tmp_path: Path, expected: str, says: str) -> None:
    (problem,) = problems(tmp_path, f"config: {{ renamed: 1 }}\n{expected}\n")
    assert says in problem


def test_limits_of_a_case_hold(tmp_path: Path) -> None:
    text = "input: [{ a: 1 }]\nlimits: { fuel: 1000 }\nerror: { kind: fault, says: fuel }\n"
    assert problems(tmp_path, text) == [""]


def test_files_of_a_destination_are_compared(tmp_path: Path) -> None:
    text = """config: { path: out/a.jsonl }
folders: { out: {} }
input: [{ a: 1 }]
files: { out/a.jsonl: "{\\"a\\":1}\\n" }
"""
    assert problems(tmp_path, text, "jsonl-destination") == [""]


def test_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    text = "config: { path: out/a.jsonl }\nfolders: { out: {} }\ninput: [{ a: 1 }]\nfiles: { out/b.jsonl: x }\n"
    (problem,) = problems(tmp_path, text, "jsonl-destination")
    assert problem == 'tests/cases/one.yaml:4: out/b.jsonl is not there, not "x"'


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("input: []\n", "expects nothing"),
        ("outputs: []\n", "did you mean 'output'?"),
        ("output: 3\n", "give a list"),
        ("[", "is not YAML"),
    ],
)
def test_wrong_case_is_refused_with_its_file(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "one.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"one\.yaml") as caught:
        read_case(path, name="one.yaml")
    assert says in f"{caught.value} {caught.value.hint}"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("output: []\ntypes: { a: int32, b: integer }\n", "one.yaml:2: b: "),
        ("output: []\nfolders: { out: { ../a: x } }\n", "one.yaml:2: '../a' is outside of its folder"),
        ("output: []\nfolders: { out: { /a: x } }\n", "outside of its folder"),
        ("output: []\nfolders: { out: { '': x } }\n", "outside of its folder"),
        ('output: []\nfolders: { out: { "a\\0": x } }\n', "one.yaml:2: 'a\\x00' cannot be a file's name"),
    ],
)
def test_case_is_wrong_before_anything_runs(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / CASES).mkdir(parents=True)
    (tmp_path / CASES / "one.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_cases(tmp_path)
    assert says in str(caught.value)


def test_file_of_a_case_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    text = "config: { path: out/a.jsonl }\nfolders: { out: { a: x, a/b: y } }\noutput: []\n"
    (problem,) = problems(tmp_path, text, "jsonl-destination")
    assert problem.startswith("tests/cases/one.yaml") and "'a/b' cannot be written" in problem


def test_wrong_case_is_found_before_the_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    new_plugin(tmp_path / "a-plugin", kind="processor", language="python")
    (tmp_path / "a-plugin" / CASES / "one.yaml").write_text("outputs: []\n")
    monkeypatch.setattr("dataflare.cli.test.build_plugin", lambda *_: pytest.fail("it was built"))
    monkeypatch.setattr("dataflare.cli.test.run_unit_tests", lambda *_: pytest.fail("it was tested"))
    result = CliRunner().invoke(app, ["test", str(tmp_path / "a-plugin")])
    assert result.exit_code == 2 and "tests/cases/one.yaml:1: " in result.stderr


def test_rejected_rows_are_compared_by_what_the_case_names() -> None:
    found = [{"row": 1, "column": "id", "reason": "id is null"}]
    assert difference([{"row": 1}], found, in_part=True) == ""
    assert difference([{"row": 1, "column": "id", "reason": "id is null"}], found, in_part=True) == ""
    assert "not" in difference([{"row": 1, "column": "name"}], found, in_part=True)
    assert "not" in difference([{"row": 1, "colum": "id"}], found, in_part=True)
    assert "not" in difference([{"row": 1}], found)


MODELS: tuple[type[BaseModel], ...] = (Case, ExpectedError, ExpectedViolation)


def examples() -> list[tuple[type[BaseModel], str, str]]:
    models = [Case, ExpectedError, ExpectedViolation]
    return [
        (model, key, text)
        for model in models
        for key, each in vars(model)["__pydantic_fields__"].items()
        for text in each.examples or ()
    ]


@pytest.mark.parametrize(("model", "key", "text"), examples(), ids=lambda each: getattr(each, "__name__", each)[:20])
def test_example_of_each_key_is_valid(model: type[BaseModel], key: str, text: str) -> None:
    value = parse_document(f"{key}: {text}".encode(), name="example").value
    needed = {"kind": "fault"} if model is ExpectedError else {"rule": "r"} if model is ExpectedViolation else {}
    assert key in model.model_validate({**needed, **value}).model_fields_set


def test_every_key_has_an_example() -> None:
    for model in MODELS:
        assert [key for key, each in vars(model)["__pydantic_fields__"].items() if len(each.examples or ()) != 1] == []
