from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from dataflare.toolchain.run_tool import BuildFailed, ToolchainMissing, run


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_what_a_tool_prints_is_returned(tmp_path: Path) -> None:
    assert run(python("print('hello')"), cwd=tmp_path) == "hello\n"


def test_a_tool_that_is_not_there_is_named_with_the_way_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(ToolchainMissing, match="no-such-tool") as caught:
        run(["no-such-tool"], cwd=tmp_path, hint="install it")
    assert caught.value.hint == "install it"


def test_a_tool_that_fails_is_quoted(tmp_path: Path) -> None:
    code = "import sys; print('out'); print('why', file=sys.stderr); sys.exit(3)"
    with pytest.raises(BuildFailed, match="code 3") as caught:
        run(python(code), cwd=tmp_path)
    assert "why" in caught.value.output


def test_only_the_last_lines_are_quoted(tmp_path: Path) -> None:
    with pytest.raises(BuildFailed) as caught:
        run(python("print('\\n'.join(map(str, range(1000)))); raise SystemExit(1)"), cwd=tmp_path)
    assert caught.value.output.split()[-1] == "999"
    assert len(caught.value.output.splitlines()) == 40


def test_a_tool_that_hangs_is_killed(tmp_path: Path) -> None:
    with pytest.raises(BuildFailed, match="did not end"):
        run(python("import time; time.sleep(60)"), cwd=tmp_path, timeout_s=0.2)


def test_a_tool_reads_nothing_from_the_terminal(tmp_path: Path) -> None:
    assert run(python("import sys; print(repr(sys.stdin.read()))"), cwd=tmp_path) == "''\n"


def test_variables_that_change_builds_are_not_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUSTFLAGS", "-g")
    assert run(python("import os; print(os.environ.get('RUSTFLAGS'))"), cwd=tmp_path) == "None\n"


def test_output_that_is_not_utf_8_does_not_matter(tmp_path: Path) -> None:
    assert "�" in run(python("import sys; sys.stdout.buffer.write(b'\\xff')"), cwd=tmp_path)


def test_tool_that_takes_too_long_ends_with_what_it_started(tmp_path: Path) -> None:
    script = "import subprocess, time; subprocess.Popen(['sleep', '100']); time.sleep(100)"
    begun = time.monotonic()
    with pytest.raises(BuildFailed, match="did not end within"):
        run([sys.executable, "-c", script], cwd=tmp_path, timeout_s=1)
    assert time.monotonic() - begun < 50, "it waited for what holds the output open"
