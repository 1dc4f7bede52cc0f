"""Conversations with a tool over pipes."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dataflare.toolchain.conversation import Conversation, ToolEnded
from dataflare.toolchain.run_tool import BuildFailed, Patience, ToolchainMissing, ToolStopped, stopped_when

_HEAD = """
import json, os, sys
come, go = map(int, os.environ["DATAFLARE_PIPES"].split(","))
def hear():
    need, data = int.from_bytes(os.read(come, 4), "little"), b""
    while len(data) < need:
        data += os.read(come, need - len(data))
    return json.loads(data)
def say(data):
    data = len(data).to_bytes(4, "little") + data
    while data:
        data = data[os.write(go, data):]
"""


@contextmanager
def talking(tmp_path: Path, body: str) -> Iterator[tuple[Conversation, list[bytes]]]:
    printed: list[bytes] = []
    (tmp_path / "tool.py").write_text(_HEAD + body)
    made = Conversation([sys.executable, "tool.py"], cwd=tmp_path, hint="", printed=printed.append)
    try:
        yield made, printed
    finally:
        made.close()
        made.close()


def test_large_message_comes_back_with_what_was_printed(tmp_path: Path) -> None:
    text = "ä" * 500_000
    with talking(tmp_path, "print('x' * 200_000, flush=True)\nsay(json.dumps(hear()).encode())") as (tool, printed):
        assert tool.ask(text, Patience(60)) == text
    assert b"".join(printed).strip() == b"x" * 200_000


def test_tool_that_ends_says_how(tmp_path: Path) -> None:
    with talking(tmp_path, "print('why'); sys.exit(7)") as (tool, _), pytest.raises(ToolEnded) as caught:
        tool.hear(Patience(60))
    assert caught.value.message.startswith("ended with code 7") and "why" in caught.value.output


def test_tool_that_does_not_answer_is_given_up(tmp_path: Path) -> None:
    with talking(tmp_path, "import time; time.sleep(100)") as (tool, _):
        with pytest.raises(TimeoutError):
            tool.ask("x" * 1_000_000, Patience(0.3))
        with stopped_when(lambda: True, after_s=60), pytest.raises(ToolStopped):
            tool.hear(Patience(60))


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("say(b'{')", "a message is not JSON"),
        ("say(b'[' * 1_000_000)", "a message is not JSON"),
        ("os.write(go, b'\\xff' * 4); hear()", "a message has 4294967295 bytes; at most"),
        ("while True: os.write(1, b'x' * 65536)", "it printed more than 64 MiB"),
    ],
)
def test_tool_that_says_too_much_or_no_json_is_refused(tmp_path: Path, body: str, says: str) -> None:
    with talking(tmp_path, body) as (tool, _), pytest.raises(BuildFailed, match=says):
        tool.hear(Patience(60))


def test_tool_that_is_not_there_leaves_no_descriptor(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(ToolchainMissing, match="nowhere cannot be run"):
        Conversation(["/nowhere"], cwd=tmp_path, hint="", printed=len)
    assert len(os.listdir("/proc/self/fd")) == before
