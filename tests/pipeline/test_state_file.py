"""How much of a pipeline's state file is checked when it is opened."""

from __future__ import annotations

import time
from typing import Any

import pytest

from dataflare.pipeline import state_file
from dataflare.pipeline.pipeline_state import Checkpoint
from dataflare.pipeline.run_errors import StateError
from dataflare.pipeline.state_file import StateFile


class AtOnce:
    """A timer that ends the statement that comes next."""

    def __init__(self, _: float, interrupt: Any) -> None:
        self.connection = interrupt.__self__

    def start(self) -> None:
        self.connection.set_progress_handler(lambda: 1, 1)

    def cancel(self) -> None:
        self.connection.set_progress_handler(None, 0)

    def join(self) -> None:
        """It has no thread."""


@pytest.mark.parametrize(
    ("table", "is_seen"), [("node", True), ("pending", True), ("entries", False)], ids=["node", "pending", "plugins"]
)
def test_what_says_where_sources_continue_is_checked_however_long_the_rest_takes(
    table, is_seen, tmp_path, monkeypatch, caplog
):
    path = tmp_path / "state"
    with StateFile(path, pipeline="test") as file:
        file.begin("in", "{}")
        file.prepare("in", Checkpoint(1, b"state"))
        file.plugins.set("plugin", "key", b"value")
        query = "SELECT rootpage FROM sqlite_schema WHERE name = ?"
        (page,) = file.read(lambda connection: connection.execute(query, (table,)).fetchone())
    monkeypatch.setattr("dataflare.pipeline.state_file.threading.Timer", AtOnce)
    with caplog.at_level("INFO", "dataflare.pipeline"):
        StateFile(path, pipeline="test").close()
    assert "not all of its pages could be checked" in caplog.text
    whole = path.read_bytes()
    size = int.from_bytes(whole[16:18], "big")
    path.write_bytes(whole[: (page - 1) * size] + b"\xa5" * size + whole[page * size :])
    if is_seen:
        with pytest.raises(StateError, match="damaged"):
            StateFile(path, pipeline="test")
    else:
        StateFile(path, pipeline="test").close()


def test_run_that_begins_while_the_state_is_looked_at_waits_for_that(tmp_path, monkeypatch):
    looking = StateFile(tmp_path / "state", pipeline="test")
    monkeypatch.setattr(time, "sleep", lambda _: looking.close())
    monkeypatch.setattr(state_file, "_LOCKED_S", 1e9)
    StateFile(tmp_path / "state", pipeline="test").close()
