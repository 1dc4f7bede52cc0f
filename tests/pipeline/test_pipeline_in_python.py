from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import dataflare
from dataflare import ConfigError, Pipeline, Specification, build_specification, run
from pipeline_fakes import FakeDestination, FakeHost, FakeSource, rows_of

NODES = {
    "read": {"connector": "csv", "read": "in.csv"},
    "write": {"connector": "jsonl", "input": "read", "write": "out/out.jsonl"},
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "in.csv").write_text("n\n1\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_pipeline_is_run_from_a_mapping_a_model_a_specification_and_a_file(folder):
    mapping = {"name": "copy", "nodes": NODES}
    (folder / "p.yaml").write_text(
        "name: copy\nnodes:\n  read: {connector: csv, read: in.csv}\n"
        "  write: {connector: jsonl, input: read, write: out/out.jsonl}\n"
    )
    forms = [mapping, Pipeline.model_validate(mapping), build_specification(mapping), "p.yaml", folder / "p.yaml"]
    for form in forms:
        report = run(form, host=FakeHost())
        assert (report.pipeline, report.status, report.rows_out) == ("copy", "completed", 1)
        (folder / "out" / "out.jsonl").unlink()


def test_without_a_host_a_run_makes_its_own(folder):
    code = f"import dataflare; print(dataflare.run({{'name': 'copy', 'nodes': {NODES!r}}}).rows_out)"
    environment = {**os.environ, "PYTHONPATH": str(Path(dataflare.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], env=environment, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("1\n", "")


def test_paths_are_relative_to_the_folder_that_is_given_and_may_be_paths(folder):
    nodes = {**NODES, "write": {**NODES["write"], "write": Path("elsewhere.jsonl")}}
    specification = build_specification({"name": "copy", "nodes": nodes}, folder=folder / "sub" / "..")
    assert isinstance(specification, Specification)
    assert specification.path("x") == folder / "x"
    run(specification, host=FakeHost())
    assert (folder / "elsewhere.jsonl").read_text() == '{"n":1}\n'


def test_it_is_the_same_model_as_that_of_the_file(folder):
    text = "name: copy\nnodes:\n  read: {connector: csv, read: in.csv}\n"
    text += "  write: {connector: jsonl, input: read, write: out/out.jsonl}\n"
    parsed = dataflare.parse_specification(text, file=folder / "p.yaml")
    assert build_specification({"name": "copy", "nodes": NODES}).pipeline == parsed.pipeline


@pytest.mark.parametrize(
    ("nodes", "where", "words"),
    [
        ({**NODES, "write": {**NODES["write"], "inptu": "read"}}, "pipeline 'copy': nodes.write.inptu", "unknown key"),
        ({**NODES, "write": {**NODES["write"], "input": "raed"}}, "pipeline 'copy': nodes.write.input", "raed"),
        ({"read": {"connector": "csv", "read": 1}}, "pipeline 'copy': nodes.read.read", "give a text"),
        ({"p": {"plugin": "absent.wasm"}}, "pipeline 'copy': nodes.p.plugin", "is not there"),
        ({"p": {"plugin": "x", "config": {"a": [2**70]}}}, "nodes.p.config.a.0", "does not fit 64 bits"),
        ({"p": {"plugin": "x", "config": {"a": float("nan")}}}, "nodes.p.config.a", "JSON does not have"),
    ],
)
def test_what_is_wrong_is_told_by_its_keys(folder, nodes, where, words):
    with pytest.raises(ConfigError, match=words) as caught:
        build_specification({"name": "copy", "nodes": nodes})
    assert caught.value.where == where


def test_plugins_run_with_the_host_that_is_given(folder):
    for name in ("source", "destination"):
        (folder / f"{name}.wasm").touch()
    target = FakeDestination()
    host = FakeHost(source=FakeSource([rows_of(1, 2)]), destination=target)
    run(
        {"name": "p", "nodes": {"in": {"plugin": "source.wasm"}, "out": {"plugin": "destination.wasm", "input": "in"}}},
        host=host,
    )
    assert target.rows == [{"x": 1}, {"x": 2}]
