from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dataflare.toolchain.__main__ import main
from dataflare.toolchain.guests import Project

from .conftest import REPOSITORY


@pytest.mark.parametrize(
    "arguments", [["build"], ["build", "probe", "--all"], ["build", "--all", "--check", "--local"]]
)
def test_wrong_arguments_end_with_code_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2


def test_an_unknown_guest_ends_with_code_2(
    make_project: Callable[..., Project], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["build", "none", "--root", str(make_project().root)]) == 2
    assert "there is no guest 'none'" in capsys.readouterr().err


def test_a_missing_tool_ends_with_code_1_and_a_hint(
    make_project: Callable[..., Project],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    project = make_project(language="javascript")
    workspace = project.root / "guest-sdks" / "javascript"
    (workspace / "package.json").touch()
    (workspace / "package-lock.json").touch()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["build", "probe", "--root", str(project.root)]) == 1
    assert "hint: install Node.js" in capsys.readouterr().err


@pytest.mark.parametrize(("ci", "code"), [("", 0), ("true", 1)])
def test_missing_tool_leaves_a_guest_out_of_all_except_in_ci(
    make_project: Callable[..., Project],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    ci: str,
    code: int,
) -> None:
    project = make_project(language="javascript")
    workspace = project.root / "guest-sdks" / "javascript"
    (workspace / "package.json").touch()
    (workspace / "package-lock.json").touch()
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CI", ci)
    assert main(["build", "--all", "--root", str(project.root)]) == code
    assert ("probe: skipped" in capsys.readouterr().err) == (code == 0)


def test_committed_components_are_up_to_date_without_any_toolchain(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["build", "csv-source", "derive-columns", "--root", str(REPOSITORY)]) == 0
    assert capsys.readouterr().out.count("up to date") == 2
