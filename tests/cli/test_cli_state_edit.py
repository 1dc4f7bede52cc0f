"""`dataflare state edit`: the state of a pipeline in the user's editor."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from dataflare.pipeline.pipeline_state import Checkpoint, NodeState
from dataflare.pipeline.state_file import StateFile

PIPELINE = """\
name: test
nodes:
  in: {plugin: csv-source.wasm, source: {dataset: d}}
  out: {plugin: jsonl-destination.wasm, input: in}
"""


@pytest.fixture
def edit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dataflare: Any) -> Any:
    """Run the command with a program as editor, which has the file's path as `path`; gives the result."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.delenv("VISUAL", raising=False)
    (tmp_path / "pipeline.yaml").write_text(PIPELINE)
    with StateFile(tmp_path / "state", pipeline="test") as file:
        file.put([NodeState("in", "one", '{"dataset": "d"}', Checkpoint(7, b'{"cursor": 3}', False), 30, 5.0)])

    def run(program: str, *options: str) -> Any:
        (tmp_path / "my editor.py").write_text(
            f"import json, pathlib, sys\npath = pathlib.Path(sys.argv[1])\n{program}"
        )
        monkeypatch.setenv("EDITOR", f"{sys.executable} 'my editor.py'")
        return dataflare("state", "edit", "pipeline.yaml", "--state", "state", *options)

    return run


def kept(folder: Path) -> NodeState:
    with StateFile(folder / "state", pipeline="test") as file:
        (found,) = file.nodes()
    return found


CHANGE = "text = path.read_text().replace('\"cursor\": 3', '\"cursor\": 4')\npath.write_text(text)\n"


def test_positions_of_several_datasets_are_moved_and_changed(edit: Any, dataflare: Any, tmp_path: Path) -> None:
    (tmp_path / "pipeline.yaml").write_text(PIPELINE.replace("dataset: d", "datasets: all"))
    with StateFile(tmp_path / "state", pipeline="test") as file:
        file.reset()
        file.put([NodeState("in[d]", "one", '{"dataset": "d"}', Checkpoint(7, b'{"cursor": 3}', True), 30, 5.0)])
    assert edit(CHANGE).stdout == "changed what was kept of in[d]\n"
    exported = dataflare("state", "export", "pipeline.yaml", "--state", "state").stdout
    (tmp_path / "states.json").write_text(exported)
    moved = dataflare("state", "import", "pipeline.yaml", "states.json", "--state", "other")
    assert moved.stdout == "imported what was kept of in[d]\n", moved.output
    with StateFile(tmp_path / "other", pipeline="test") as file:
        (found,) = file.nodes()
    assert (found.node, found.checkpoint) == ("in[d]", Checkpoint(7, b'{"cursor": 4}', True))


def test_position_of_a_node_that_takes_rows_is_refused(edit: Any, tmp_path: Path) -> None:
    result = edit('path.write_text(path.read_text().replace(\'"node": "in"\', \'"node": "out"\'))')
    assert result.exit_code == 2 and "node 'out' is not a source: it takes the rows of 'in'" in result.stderr
    assert kept(tmp_path).node == "in"


def test_what_is_changed_is_kept(edit: Any, tmp_path: Path) -> None:
    result = edit(CHANGE)
    assert result.exit_code == 0 and result.stdout == "changed what was kept of in\n", result.output
    assert json.loads(kept(tmp_path).checkpoint.state or b"") == {"cursor": 4}
    assert kept(tmp_path).rows == 30 and kept(tmp_path).checkpoint.sequence == 7
    again = edit("path.write_text(path.read_text().replace('\"cursor\": 4', '\"cursor\": 5'))", "--json")
    assert json.loads(again.stdout) == {"pipeline": "test", "edited": ["in"]}
    assert json.loads(kept(tmp_path).checkpoint.state or b"") == {"cursor": 5}
    assert not list(tmp_path.glob("dataflare-*")), "what was edited is removed"


@pytest.mark.parametrize("program", ["", "path.write_text(json.dumps({'pipeline': 'test', 'sources': []}))"])
def test_nothing_is_changed_where_nothing_was_written(edit: Any, tmp_path: Path, program: str) -> None:
    before = kept(tmp_path)
    result = edit(program)
    assert (result.exit_code, result.stdout) == (0, "nothing was changed\n")
    assert kept(tmp_path) == before


@pytest.mark.parametrize(
    ("program", "says"),
    [
        ("sys.exit(3)", "ended with 3: nothing is changed"),
        ("path.unlink()", "No such file"),
        ("path.write_text('')", "state.json"),
        ("path.write_bytes(b'\\xff\\xfe')", "state.json"),
        ("path.write_text(path.read_text().replace('30', '-1'))", "rows"),
        ("path.write_text(path.read_text().replace('\"in\"', '\"other\"'))", "no node 'other'"),
        ("path.write_text('[' * 100_000)", "state.json"),
    ],
)
def test_what_cannot_be_used_changes_nothing(edit: Any, tmp_path: Path, program: str, says: str) -> None:
    before = kept(tmp_path)
    result = edit(program)
    assert result.exit_code == 2 and says in result.stderr.replace("\n", " "), result.output
    assert kept(tmp_path) == before
    assert bool(list(tmp_path.glob("dataflare-*/state.json"))) is ("write" in program), "what was written is not lost"


def test_run_that_changed_the_state_meanwhile_wins(edit: Any, tmp_path: Path) -> None:
    program = (
        "from dataflare.pipeline.pipeline_state import Checkpoint, NodeState\n"
        "from dataflare.pipeline.state_file import StateFile\n"
        "with StateFile('state', pipeline='test') as file:\n"
        "    file.put([NodeState('in', 'one', '{}', Checkpoint(8, b'new', False), 40, 6.0)])\n"
    )
    result = edit(program + CHANGE)
    assert result.exit_code == 1 and "was changed while you edited it" in result.stderr, result.output
    assert kept(tmp_path).checkpoint.state == b"new"
    (left,) = tmp_path.glob("dataflare-*/state.json")
    assert str(left) in result.stderr.replace("\n", "") and '"cursor": 4' in left.read_text()


@pytest.mark.parametrize("editor", ["no-such-editor", "'", " "])
def test_editor_that_is_none_is_named(edit: Any, dataflare: Any, monkeypatch: pytest.MonkeyPatch, editor: str) -> None:
    monkeypatch.setenv("EDITOR", editor)
    result = dataflare("state", "edit", "pipeline.yaml", "--state", "state")
    assert result.exit_code == 2 and "EDITOR" in result.stderr
