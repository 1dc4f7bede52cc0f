"""The guests of this repository, built with the real tools."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from dataflare.authoring.templates import kinds_of
from dataflare.interfaces import INTERFACES
from dataflare.toolchain.build import build, check
from dataflare.toolchain.go_toolchain import GO_ENV, go_program
from dataflare.toolchain.guests import load_project
from dataflare.toolchain.run_tool import ToolchainMissing, run
from dataflare.toolchain.store import cache_root

from .conftest import REPOSITORY, in_ci

PROJECT = load_project(REPOSITORY)
COMMITTED = [name for name, guest in PROJECT.guests.items() if guest.committed]
BASICS = {
    "dataflare:data/batches@1.0.0",
    "dataflare:data/expressions@1.0.0",
    "dataflare:data/schemas@1.0.0",
    "dataflare:host/config@1.0.0",
    "dataflare:host/logging@1.0.0",
    "dataflare:plugin/types@1.0.0",
}
T = TypeVar("T")


@pytest.fixture(autouse=True)
def cache() -> None:
    """The user's own cache instead of an empty one: toolchains take minutes to make."""


def with_tools(call: Callable[[], T]) -> T:
    """Skip the test on a machine without the tools, except in CI."""
    try:
        return call()
    except ToolchainMissing as exc:
        if in_ci():
            raise
        pytest.skip(str(exc))


def missing(tool: str) -> None:
    if in_ci():
        pytest.fail(f"there is no {tool}")
    pytest.skip(f"there is no {tool}")


def read_u32(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value, at, shift = value | (byte & 0x7F) << shift, at + 1, shift + 7
        if byte < 0x80:
            return value, at


def imports(component: bytes) -> Iterator[str]:
    """The names of a component's imports, which all are interfaces. (To ask wasmtime is to compile 18 MB.)"""
    at = 8
    while at < len(component):
        section, (size, begin) = component[at], read_u32(component, at + 1)
        at = begin + size
        if section == 10:
            count, place = read_u32(component, begin)
            for _ in range(count):
                length, place = read_u32(component, place + 1)
                yield component[place : place + length].decode()
                assert component[place + length] == 5
                _, place = read_u32(component, place + length + 1)


@pytest.mark.parametrize("name", COMMITTED)
def test_a_committed_component_is_what_its_sources_give(name: str) -> None:
    assert with_tools(lambda: check(PROJECT.guests[name], afresh=False)).how == "identical"


@pytest.mark.parametrize("name", PROJECT.guests)
def test_a_component_imports_only_what_its_world_names(name: str) -> None:
    guest = PROJECT.guests[name]
    with_tools(lambda: build(guest))
    assert guest.file is not None
    allowed = BASICS | {INTERFACES[name].full_name for name in guest.file.interfaces()}
    if guest.file.kind in ("source", "destination"):
        allowed.add("dataflare:plugin/datasets@1.0.0")
    found = set(imports(guest.output.read_bytes()))
    wasi = {name for name in found if name.startswith("wasi:")}
    assert found - wasi <= allowed
    assert bool(wasi) == (guest.language == "python")


@pytest.mark.parametrize("name", COMMITTED)
def test_a_committed_component_tells_nothing_of_the_machine_that_built_it(name: str) -> None:
    component = PROJECT.guests[name].output.read_bytes()
    assert not re.search(rb"/(?:home|root|tmp|work)/|/\.cargo/", component)


def test_the_unit_tests_of_the_rust_guests_pass() -> None:
    if shutil.which("cargo") is None:
        missing("cargo")
    env = {"CARGO_TARGET_DIR": str(cache_root() / "cargo" / "tests")}
    assert "test result: ok" in run(["cargo", "test", "--locked"], cwd=REPOSITORY / "guest-sdks" / "rust", env=env)


@pytest.mark.parametrize(
    ("workspace", "language", "folder"),
    [
        ("rust", "rust", "rust/dataflare-plugin/src/bindings"),
        ("rust", "c", "c/bindings"),
        ("generate-go-bindings", "", "go/internal/wit"),
    ],
)
def test_the_bindings_of_the_sdks_are_what_the_wit_gives(
    tmp_path: Path, workspace: str, language: str, folder: str
) -> None:
    if shutil.which("cargo") is None:
        missing("cargo")
    # Bindings of Go are formatted by Go's own tool.
    tools = f"{with_tools(go_program).parent}{os.pathsep}{os.environ['PATH']}" if not language else os.environ["PATH"]
    env = {"CARGO_TARGET_DIR": str(cache_root() / "cargo" / "tests"), "PATH": tools}
    package = ["-p", "generate-bindings", "--", language] if language else ["--"]
    command = ["cargo", "run", "--quiet", "--locked", *package]
    run([*command, REPOSITORY / "wit", tmp_path], cwd=REPOSITORY / "guest-sdks" / workspace, env=env)
    assert texts_below(tmp_path) == texts_below(REPOSITORY / "guest-sdks" / folder)


def texts_below(folder: Path) -> dict[Path, bytes]:
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_go_sdk_is_formatted_vetted_and_passes_its_tests() -> None:
    sdk, go = REPOSITORY / "guest-sdks" / "go", with_tools(go_program)
    env = {**GO_ENV, "GOCACHE": str(cache_root() / "go")}
    assert run([go.with_name("gofmt"), "-l", sdk], cwd=sdk) == ""
    run([go, "vet", "./..."], cwd=sdk, env=env)
    assert "FAIL" not in run([go, "test", "./..."], cwd=sdk, env=env)
    # The part that calls the host, of each kind. Generated code makes pointers of the host's numbers.
    packages = sorted({f"./{path.parent.relative_to(sdk)}" for path in sdk.rglob("component*.go")})
    for kind in kinds_of("go"):
        vet = [go, "vet", "-unsafeptr=false", f"-tags=dataflare_{kind}", *packages]
        run(vet, cwd=sdk, env={**env, "GOOS": "wasip1", "GOARCH": "wasm"})


def test_the_unit_tests_of_the_javascript_guests_pass() -> None:
    if shutil.which("node") is None:
        missing("node")
    sdk = REPOSITORY / "guest-sdks" / "javascript"
    # Tests of templates need the SDK beside them: tests/authoring runs these.
    tests = sorted((sdk / "lib").rglob("*.test.mjs"))
    assert "# fail 0" in run(["node", "--test", "--test-reporter=tap", *tests], cwd=sdk)
