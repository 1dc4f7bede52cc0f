"""Traps that name files and lines, of components with debug information; and the profile that reads it."""

from __future__ import annotations

import os

import pytest

from dataflare.engine.compile_profile import CompileProfile
from dataflare.engine.traps import placed_frames

MESSAGE = """error while executing at wasm backtrace:
    0:    0xb75 - process
                    at /a  b/plugin.c:19:19
    1:   0xb737 - process
                    at sdk/processor.c:22:19
                - exports_process
                    at sdk/processor.c:28:15
    2: 0x1265af - x0-code!e0

Caused by:
    wasm trap: wasm `unreachable` instruction executed
"""


def test_frames_have_the_files_and_lines_of_the_message_and_inlined_functions_are_frames() -> None:
    assert placed_frames(MESSAGE) == (
        "process at /a  b/plugin.c:19:19",
        "process at sdk/processor.c:22:19",
        "exports_process at sdk/processor.c:28:15",
        "x0-code!e0",
    )


def test_message_without_lines_has_no_placed_frames() -> None:
    assert (
        placed_frames("\n".join(line for line in MESSAGE.splitlines() if " at /" not in line and " at sdk" not in line))
        == ()
    )
    assert placed_frames("took too long\n\nCaused by:\n    wasm trap: interrupt") == ()


@pytest.mark.parametrize("given", [None, "0"])
def test_profile_for_debugging_leaves_the_environment_as_it_was(
    monkeypatch: pytest.MonkeyPatch, given: str | None
) -> None:
    name = "WASMTIME_BACKTRACE_DETAILS"
    monkeypatch.delenv(name, raising=False)
    if given is not None:
        monkeypatch.setenv(name, given)
    profile = CompileProfile(fuel=False, timed=True, debug=True)
    profile.close()
    assert os.environ.get(name) == given
    other = CompileProfile(fuel=False, timed=True)
    other.close()
    assert profile.identity != other.identity  # code of one is not taken for that of the other
