"""Inputs that are pipes: read once, from the first byte to the last."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from dataflare import waiting_pipes


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    path = tmp_path / "in"
    os.mkfifo(path)
    return path


def test_pipe_is_read_to_its_end(pipe):
    def write() -> None:
        with pipe.open("wb") as file:
            time.sleep(0.1)
            file.write(b"a\n1\n" * 50_000)

    thread = threading.Thread(target=write)
    thread.start()
    with waiting_pipes.open_plain(pipe) as file:
        assert file.read() == b"a\n1\n" * 50_000
    thread.join()


def test_pipe_that_nobody_writes_to_is_an_error(pipe, monkeypatch):
    monkeypatch.setattr(waiting_pipes, "_PIPE_S", 0.1)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError, match="nothing was written to this pipe"):
        waiting_pipes.open_plain(pipe)
    assert len(os.listdir("/proc/self/fd")) == before


def test_folder_is_an_error(tmp_path):
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(IsADirectoryError):
        waiting_pipes.open_plain(tmp_path)
    assert len(os.listdir("/proc/self/fd")) == before
