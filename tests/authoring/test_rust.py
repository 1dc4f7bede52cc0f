"""Plugins in Rust: what authors are told, and what reaches the operator."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from dataflare.authoring.building import build_plugin
from dataflare.authoring.templates import kinds_of, new_plugin
from dataflare.errors import ConfigError, GuestPanic, PluginError
from dataflare.runtime.host import Host
from dataflare.runtime.processor import Processor
from dataflare.toolchain.guests import Guest, guest_of
from dataflare.toolchain.run_tool import BuildFailed, ToolchainMissing, run
from dataflare.toolchain.rust import RustDriver, tools

pytestmark = pytest.mark.skipif(
    shutil.which("cargo") is None and os.environ.get("CI") != "true", reason="there is no cargo"
)


def made(tmp_path: Path, kind: str = "processor", name: str = "a-plugin") -> Guest:
    folder = tmp_path / "plug in é" / name
    new_plugin(folder, kind=kind, language="rust")
    return guest_of(folder)


def change(guest: Guest, old: str, new: str) -> None:
    path = guest.folder / "src" / "lib.rs"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def build(guest: Guest, tmp_path: Path) -> bytes:
    return RustDriver(pinned=False).build(guest, tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("export_processor!", "fn broken( {\nexport_processor!", "src/lib.rs:"),
        ("Ok(keep.then_some(record))", "Ok(keep.then_some(1))", "src/lib.rs:42: error[E0308]: mismatched types"),
        ("let field =", "let fields =", "cannot find value `field` in this scope"),
    ],
)
def test_error_of_the_compiler_is_told_with_file_and_line(tmp_path: Path, old: str, new: str, says: str) -> None:
    guest = made(tmp_path)
    change(guest, old, new)
    with pytest.raises(BuildFailed) as caught:
        build(guest, tmp_path)
    assert says in str(caught.value)
    assert str(caught.value).startswith("src/lib.rs:")
    assert "Compiling" not in str(caught.value) and '{"reason"' not in str(caught.value)


def test_unit_tests_run_natively_and_failures_have_their_line(tmp_path: Path) -> None:
    guest = made(tmp_path)
    assert RustDriver(pinned=False).unit_tests(guest) == "2 passed"
    change(guest, 'Some(json!({ "id": 1, "name": "Ada" }))', 'Some(json!({ "id": 2, "name": "Ada" }))')
    with pytest.raises(BuildFailed, match=r"src/lib\.rs:\d+: assertion `left == right` failed"):
        RustDriver(pinned=False).unit_tests(guest)


@pytest.fixture(scope="module")
def panicking(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A component that panics where its configuration or a record asks for it."""
    guest = made(tmp_path_factory.mktemp("panics"), name="panics")
    change(guest, "Ok(Self { config })", 'if config.field == "panic" { panic!("no way") }\n        Ok(Self { config })')
    change(
        guest, "None | Some(Value::Null) => Ok(None)", "None | Some(Value::Null) => Ok(Some(None::<Record>.unwrap()))"
    )
    with Host() as host:
        build_plugin(guest.folder, host)
    return guest.output


def test_panic_in_process_reaches_the_operator_with_message_file_and_line(panicking: Path) -> None:
    with Host() as host, host.load(panicking) as plugin:
        assert isinstance(plugin, Processor)
        plugin.start()
        assert plugin.process('{"name":" Ada "}') == '{"name":"Ada"}'
        with pytest.raises(GuestPanic) as caught:
            plugin.process("{}")
    (line,) = caught.value.log_lines
    assert "panicked at src/lib.rs:" in line
    assert "called `Option::unwrap()` on a `None` value" in line


def test_panic_in_new_reaches_the_operator(panicking: Path) -> None:
    with Host() as host, pytest.raises(GuestPanic) as caught, host.load(panicking, config={"field": "panic"}) as plugin:
        plugin.start()
    assert "no way" in caught.value.log_lines[-1] and "src/lib.rs:" in caught.value.log_lines[-1]


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"feild": "a"}, "feild: unknown field `feild`, expected `field`"),
        ({"field": 1}, "field: invalid type: integer `1`, expected a string"),
    ],
)
def test_wrong_configuration_names_the_key(panicking: Path, config: dict[str, object], says: str) -> None:
    with Host() as host, pytest.raises(PluginError) as caught, host.load(panicking, config=config) as plugin:
        plugin.start()
    assert caught.value.error.case == "invalid-config" and says in caught.value.message


def test_schema_of_the_configuration_comes_from_the_type(panicking: Path) -> None:
    with Host() as host:
        metadata = host.metadata(panicking)
    assert (metadata.name, metadata.version) == ("panics", "0.1.0")
    assert '"additionalProperties":false' in metadata.config_schema and "The field to trim." in metadata.config_schema


@pytest.mark.parametrize("name", ["self", "vec"])
def test_name_that_rust_has_taken_still_makes_a_plugin(tmp_path: Path, name: str) -> None:
    assert RustDriver(pinned=False).unit_tests(made(tmp_path, kind="transformer", name=name)) == "1 passed"


def test_versions_that_new_locks_are_those_of_its_crates(tmp_path: Path) -> None:
    guest = made(tmp_path)
    written = (guest.folder / "Cargo.lock").read_bytes()
    RustDriver(pinned=False).prepare(guest)
    assert (guest.folder / "Cargo.lock").read_bytes() == written
    (guest.folder / "Cargo.lock").unlink()
    RustDriver(pinned=False).prepare(guest)
    assert (guest.folder / "Cargo.lock").is_file()


def test_without_network_locked_versions_are_enough_and_their_lack_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    guest = made(tmp_path)
    monkeypatch.setenv("CARGO_HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("CARGO_NET_RETRY", "0")
    RustDriver(pinned=False).prepare(guest)
    (guest.folder / "Cargo.lock").unlink()
    with pytest.raises(ToolchainMissing, match="a crate cannot be downloaded") as caught:
        RustDriver(pinned=False).prepare(guest)
    assert "network" in caught.value.hint and "Cargo.lock" in caught.value.hint


def test_plugin_without_its_crate_says_where_it_belongs(tmp_path: Path) -> None:
    guest = made(tmp_path)
    (guest.folder / "Cargo.toml").unlink()
    with pytest.raises(BuildFailed, match=r"there is no Cargo\.toml"):
        build(guest, tmp_path)


def test_sdk_that_cannot_be_written_is_an_error_with_the_place(tmp_path: Path) -> None:
    guest = made(tmp_path)
    (guest.folder / "dataflare").write_text("")
    with pytest.raises(ConfigError, match="cannot be written") as caught:
        build(guest, tmp_path)
    assert str(guest.folder / "dataflare") in str(caught.value)


def put_program(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder in the search path; empty. No toolchain was made before."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("DATAFLARE_CACHE", str(tmp_path / "cache"))
    return folder


def test_machine_without_rust_is_told_how_to_get_it(tmp_path: Path, programs: Path) -> None:
    with pytest.raises(ToolchainMissing, match="there is no cargo") as caught:
        build(made(tmp_path), tmp_path)
    assert "https://rustup.rs" in caught.value.hint and "rustup target add wasm32-wasip2" in caught.value.hint
    with pytest.raises(ToolchainMissing, match="there is no cargo"):
        RustDriver(pinned=False).unit_tests(made(tmp_path, name="b"))


def test_rust_without_a_webassembly_target_is_told_how_to_get_it(tmp_path: Path, programs: Path) -> None:
    put_program(programs, "cargo", "echo cargo 1.95.0")
    put_program(programs, "rustc", 'test "$1" = --print && echo /nowhere || echo rustc 1.95.0')
    for look in (lambda: build(made(tmp_path), tmp_path), tools):
        with pytest.raises(ToolchainMissing, match="has no WebAssembly target") as caught:
            look()
        assert caught.value.hint == "`rustup target add wasm32-wasip2`"


def test_rust_that_is_too_old_is_told_with_what_is_needed(tmp_path: Path, programs: Path) -> None:
    library = tmp_path / "sysroot" / "lib" / "rustlib" / "wasm32-wasip2" / "lib"
    library.mkdir(parents=True)
    (library / "libstd-0.rlib").touch()
    put_program(programs, "cargo", "echo cargo 1.95.0")
    put_program(programs, "rustc", f'test "$1" = --print && echo {tmp_path}/sysroot || echo rustc 1.70.0')
    with pytest.raises(ToolchainMissing, match=r"rustc 1\.70\.0 is too old: 1\.87 is needed"):
        build(made(tmp_path), tmp_path)


def test_crate_that_cannot_be_downloaded_is_told_with_a_remedy(tmp_path: Path, programs: Path) -> None:
    failing = "{ echo 'error: failed to download from `https://example.org`' >&2; exit 101; }"
    put_program(programs, "cargo", f'test "$1" = --version && echo cargo 1.95.0 || {failing}')
    with pytest.raises(ToolchainMissing, match="a crate cannot be downloaded") as caught:
        RustDriver(pinned=False).unit_tests(made(tmp_path))
    assert "network" in caught.value.hint and "failed to download" in caught.value.message


def test_what_new_writes_is_formatted(tmp_path: Path) -> None:
    if shutil.which("rustfmt") is None:
        pytest.skip("there is no rustfmt")
    for kind in kinds_of("rust"):
        guest = made(tmp_path, kind, f"a-{kind}")
        run(["rustfmt", "--check", "--edition", "2021", guest.folder / "src" / "lib.rs"], cwd=guest.folder)
