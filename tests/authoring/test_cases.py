"""Cases that pass, that fail with file and line, and that are wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from dataflare.authoring.cases import read_case, run_cases
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
        return [each.problem for each in run_cases(tmp_path, GUESTS[guest].output, file, host)]


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
