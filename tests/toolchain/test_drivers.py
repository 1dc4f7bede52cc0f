from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dataflare.toolchain.guests import Project
from dataflare.toolchain.javascript import JavaScriptDriver
from dataflare.toolchain.python import PythonDriver
from dataflare.toolchain.run_tool import ToolchainMissing
from dataflare.toolchain.rust import PINNED, RustDriver

MakeProject = Callable[..., Project]


def put_program(folder: Path, name: str, script: str) -> None:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder in the search path; empty."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def install_rust(programs: Path, *targets: str) -> None:
    sysroot = programs / "sysroot"
    for target in targets:
        library = sysroot / "lib" / "rustlib" / target / "lib"
        library.mkdir(parents=True)
        (library / "libstd-0.rlib").touch()
    put_program(programs, "rustc", f'test "$1" = --print && echo {sysroot} || echo rustc 9.9.9')


def test_committed_components_take_the_pinned_rust_whatever_is_installed(programs: Path) -> None:
    install_rust(programs, "wasm32-unknown-unknown")
    assert RustDriver(pinned=True).identity().startswith(f"rust: {PINNED}, recipe ")


@pytest.mark.parametrize(
    ("targets", "taken"),
    [
        (["wasm32-wasip2", "wasm32-unknown-unknown"], "rustc 9.9.9, wasm32-unknown-unknown"),
        (["wasm32-wasip2"], "rustc 9.9.9, wasm32-wasip2"),
        ([], PINNED),
    ],
)
def test_others_take_the_installed_rust_where_it_has_a_target(programs: Path, targets: list[str], taken: str) -> None:
    install_rust(programs, *targets)
    identity = RustDriver(pinned=False).identity()
    assert identity.startswith(f"rust: {taken}, recipe ") if taken == PINNED else identity == f"rust: {taken}"


def test_a_rustc_that_does_not_work_is_as_good_as_none(programs: Path) -> None:
    put_program(programs, "rustc", "exit 1")
    assert RustDriver(pinned=False).identity().startswith(f"rust: {PINNED}, recipe ")


@pytest.mark.parametrize("tools", [[], ["cargo"]])
def test_without_cargo_or_debian_the_way_out_is_told(
    programs: Path, make_project: MakeProject, tmp_path: Path, tools: list[str]
) -> None:
    for tool in tools:
        put_program(programs, tool, "exit 0")
    project = make_project()
    with pytest.raises(ToolchainMissing) as caught:
        RustDriver(pinned=True).build(project.guests["probe"], tmp_path)
    assert "rustup" in caught.value.hint or "Debian 12" in caught.value.hint


def test_debian_packages_that_are_not_served_leave_no_toolchain(
    programs: Path, make_project: MakeProject, tmp_path: Path, cache: Path
) -> None:
    for tool in ("cargo", "dpkg"):
        put_program(programs, tool, "exit 0")
    put_program(programs, "apt-get", "echo E: no such version; exit 100")
    project = make_project()
    with pytest.raises(ToolchainMissing, match="no such version"):
        RustDriver(pinned=True).build(project.guests["probe"], tmp_path)
    assert list((cache / "toolchains").iterdir()) == []


def test_another_version_of_componentize_py_is_refused(
    make_project: MakeProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dataflare.toolchain.python.version", lambda _name: "0.1.0")
    project = make_project(language="python")
    with pytest.raises(ToolchainMissing, match=r"0\.1\.0 is installed") as caught:
        PythonDriver().build(project.guests["probe"], tmp_path)
    assert "pip install componentize-py==" in caught.value.hint


def test_an_old_node_is_refused(programs: Path, make_project: MakeProject, tmp_path: Path) -> None:
    put_program(programs, "node", "echo v18.1.0")
    project = make_project(language="javascript")
    with pytest.raises(ToolchainMissing, match=r"v18\.1\.0 is too old"):
        JavaScriptDriver().build(project.guests["probe"], tmp_path)


def test_a_failed_npm_install_leaves_nothing(
    programs: Path, make_project: MakeProject, tmp_path: Path, cache: Path
) -> None:
    put_program(programs, "node", "echo v22.0.0")
    put_program(programs, "npm", "echo no network; exit 1")
    project = make_project(language="javascript")
    for name in ("package.json", "package-lock.json"):
        (project.root / "guest-sdks" / "javascript" / name).touch()
    with pytest.raises(ToolchainMissing, match="no network"):
        JavaScriptDriver().build(project.guests["probe"], tmp_path)
    assert list((cache / "toolchains").iterdir()) == []
