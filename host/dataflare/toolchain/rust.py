"""Rust: cargo, whose output for a WebAssembly target is a component."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from dataflare.errors import DataflareError
from dataflare.toolchain.guests import Guest
from dataflare.toolchain.run_tool import BuildFailed, ToolchainMissing, run
from dataflare.toolchain.rust_toolchains import CARGO_HINT, PINNED, Toolchain, choose, identity, ready, require_cargo
from dataflare.toolchain.store import cache_root, digest_bytes, digest_files, locked, write_changed
from dataflare.user_folders import files_below, own_folders

__all__ = ["PINNED", "RustDriver", "driver", "tools"]

_CRATE: Final = "dataflare-plugin"
_SUPPORT: Final = "example-support"
"""What the packages of the workspace have in common."""
_SDK_FOLDER: Final = "dataflare"
"""The folder of the SDK's crate in a plugin's folder."""
_NOT_OURS: Final = frozenset({"build", "dist", _SDK_FOLDER, "target"})
# The same for all plugins, so that cargo takes the SDK for unchanged wherever it is copied to.
_COPIED_AT_S: Final = 1_577_836_800
_NOISE: Final = re.compile(
    r"\s*(Compiling|Checking|Finished|Running|Locking|Updating|Download\w+|Adding|Blocking|Fresh) "
)
_PASSED: Final = re.compile(r"^test result: ok\. (\d+) passed", re.MULTILINE)
_ERROR: Final = re.compile(r"^(?P<what>error.*)\n\s*--> (?P<place>.+:\d+):\d+$", re.MULTILINE)
_PANIC: Final = re.compile(r"panicked at (?P<place>.+:\d+):\d+:\n(?P<what>.*)$", re.MULTILINE)
_NO_NETWORK: Final = (
    "failed to download",
    "failed to get `",
    "Could not resolve host",
    "network failure",
    "spurious network",
)
_ALL_LINES: Final = 1000
# What a trap shows of the sources: more takes its time to write and to read.
_DEBUG: Final = {"CARGO_PROFILE_DEV_DEBUG": "line-tables-only"}


class RustDriver:
    """Builds a package of the workspace `guest-sdks/rust`, or of a workspace of its own, or a crate in any folder.

    A crate in any folder finds the SDK in its folder `dataflare`, which is written at each build.

    Args:
        pinned: Whether to take the pinned toolchain. If not, the installed one, or the pinned one where that has no
            WebAssembly target.
    """

    def __init__(self, *, pinned: bool) -> None:
        self._pinned = pinned

    def identity(self) -> str:
        """Return what the component depends on apart from its sources."""
        return f"rust: {identity(pinned=self._pinned)}"

    def sources(self, guest: Guest) -> Iterator[Path]:
        """Return the files that the component is made from, without the WIT."""
        if not _is_of_workspace(guest):
            yield from _sdk_files(guest)
            yield from _own_files(guest)
            return
        workspace = guest.sdk
        yield from (workspace / "Cargo.toml", workspace / "Cargo.lock", guest.folder / "Cargo.toml")
        if _uses_sdk(guest):
            yield from _sdk_files(guest)
        yield from (workspace / _CRATE / "src").glob("bitmap.rs")
        for pattern in ("**/*.rs", "Cargo.toml"):
            yield from (workspace / _SUPPORT).glob(pattern)
        for pattern in ("src/**/*.rs", "wit/**/*.wit", "*.json"):
            yield from guest.folder.glob(pattern)

    def prepare(self, guest: Guest) -> None:
        """Lock the versions of a crate's dependencies, where `Cargo.toml` is newer than what is locked.

        Raises:
            ToolchainMissing: A crate cannot be downloaded.
            BuildFailed: `Cargo.toml` is wrong.
        """
        manifest, lock = guest.folder / "Cargo.toml", guest.folder / "Cargo.lock"
        if _is_of_workspace(guest) or shutil.which("cargo") is None or not manifest.is_file():
            return
        if not lock.is_file() or lock.stat().st_mtime_ns < manifest.stat().st_mtime_ns:
            _cargo(guest, ["update", "--quiet", "--workspace"], {}, "tests")

    def build(self, guest: Guest, work: Path) -> bytes:
        """Build a component.

        Raises:
            ToolchainMissing: There is no cargo, Rust is too old, there is no toolchain and no way to make one, or a
                crate cannot be downloaded.
            BuildFailed: The build failed; the message has the compiler's words.
        """
        toolchain = choose(pinned=self._pinned)
        return _build_of_workspace(guest, toolchain) if _is_of_workspace(guest) else _build_alone(guest, toolchain)

    def unit_tests(self, guest: Guest) -> str:
        """Run the crate's unit tests natively; returns how many passed, or nothing where there are none."""
        require_cargo()
        said = _cargo(guest, ["test", "--quiet", "--lib", "--bins", "--tests"], {}, "tests")
        passed = sum(map(int, _PASSED.findall(said)))
        return f"{passed} passed" if passed else ""


def _is_of_workspace(guest: Guest) -> bool:
    return guest.folder.is_relative_to(guest.sdk)


def _uses_sdk(guest: Guest) -> bool:
    return f"../{_CRATE}" in (guest.folder / "Cargo.toml").read_text()


def _sdk_files(guest: Guest) -> Iterator[Path]:
    crate = guest.sdk / _CRATE
    yield crate / "Cargo.toml"
    yield from sorted((crate / "src").rglob("*.rs"))


def _own_files(guest: Guest) -> Iterator[Path]:
    """All that a crate's folder has, which its sources may include, apart from what is made of it."""
    for path in files_below(guest.folder, enter=own_folders(guest.folder, _NOT_OURS)):
        if not path.name.startswith("."):
            yield path


def _build_of_workspace(guest: Guest, toolchain: Toolchain) -> bytes:
    workspace = guest.sdk
    # One for all checkouts: crates of the registry are compiled once, those of the workspace each time.
    target_dir = cache_root() / "cargo" / digest_bytes(toolchain.identity.encode())[:16]
    env = {**toolchain.env, "CARGO_TARGET_DIR": str(target_dir)}
    options = ["--release", "--locked", "--target", toolchain.target, "--package", guest.name]
    with locked(target_dir.name):
        # cargo tells from times whether a source has changed, which is not enough for what is kept by digest.
        shared = [_SUPPORT] if (workspace / _SUPPORT).is_dir() else []
        shared += [_CRATE] if _uses_sdk(guest) else []
        packages = [option for each in shared for option in ("--package", each)]
        run(["cargo", "clean", *options, *packages], cwd=workspace, env=env, hint=CARGO_HINT)
        run(["cargo", "build", *options], cwd=workspace, env=env)
        return (target_dir / toolchain.target / "release" / f"{guest.name.replace('-', '_')}.wasm").read_bytes()


def _build_alone(guest: Guest, toolchain: Toolchain) -> bytes:
    name = digest_bytes(toolchain.identity.encode())[:16]
    options = ["build", "--lib", "--target", toolchain.target, "--message-format=json-render-diagnostics"]
    options += [] if guest.debug else ["--release"]
    said = _cargo(guest, options, {**toolchain.env, **_DEBUG}, name)
    for line in said.splitlines():
        if line.startswith("{"):
            message: dict[str, Any] = json.loads(line)
            if message.get("reason") == "compiler-artifact" and "cdylib" in message["target"]["kind"]:
                for file in message["filenames"]:
                    if file.endswith(".wasm"):
                        return Path(file).read_bytes()
    raise BuildFailed(
        f"{guest.name}: cargo made no component", hint='Cargo.toml: write [lib] and crate-type = ["cdylib"]'
    )


def _cargo(guest: Guest, options: list[str], env: dict[str, str], target_dir: str) -> str:
    """Run cargo in a crate's folder, with what it builds in the user's cache."""
    if not (guest.folder / "Cargo.toml").is_file():
        raise BuildFailed(f"{guest.name}: there is no Cargo.toml", hint=f"put the plugin's crate into {guest.folder}")
    file = guest.file
    assert file is not None
    _write_sdk(guest)
    variables = {
        **env,
        "CARGO_TARGET_DIR": str(cache_root() / "cargo" / target_dir),
        "CARGO_TERM_COLOR": "never",
        "RUST_BACKTRACE": "0",
        "DATAFLARE_PLUGIN_NAME": file.name,
        "DATAFLARE_PLUGIN_VERSION": file.version,
        "DATAFLARE_PLUGIN_DESCRIPTION": file.description,
        # cargo tells from times whether a source has changed. The crates refer to these, made of the contents.
        "DATAFLARE_PLUGIN_DIGEST": digest_files(guest.roots(), _own_files(guest)),
        "DATAFLARE_SDK_DIGEST": digest_files(guest.roots(), _sdk_files(guest)),
    }
    # One at a time: two plugins of the same name have the same places there.
    with locked(target_dir):
        try:
            return run(["cargo", *options], cwd=guest.folder, env=variables, hint=CARGO_HINT, tail_lines=_ALL_LINES)
        except BuildFailed as error:
            raise _explained(guest, error) from error


def _explained(guest: Guest, error: BuildFailed) -> DataflareError:
    """Return the compiler's messages without those of cargo, beginning with the first place."""
    if not error.output:
        return error  # it did not end in time
    if any(each in error.output for each in _NO_NETWORK):
        return ToolchainMissing(
            f"{guest.name}: a crate cannot be downloaded\n{error.output}",
            hint="try with the network, or put back the Cargo.lock whose crates are there",
        )
    lines = [line.removeprefix("    ") for line in error.output.splitlines()]
    lines = [line for line in lines if not line.startswith('{"') and not _NOISE.match(line)]
    text = "\n".join(lines).strip("\n")
    first = _ERROR.search(text) or _PANIC.search(text)
    what = f"{first['place']}: {first['what']}" if first else f"{guest.name}: cargo ended with an error"
    return BuildFailed(what, output="\n".join(f"    {line}" for line in text.splitlines()))


def _write_sdk(guest: Guest) -> None:
    """Write the SDK's crate into a plugin's folder, where it is not there already."""
    crate = guest.sdk / _CRATE
    for path in _sdk_files(guest):
        name = Path(_SDK_FOLDER, path.relative_to(crate))
        if write_changed(guest.folder, name, path.read_bytes()):
            os.utime(guest.folder / name, (_COPIED_AT_S, _COPIED_AT_S))


def tools() -> str:
    """The tools that plugins in Rust are built with.

    Raises:
        ToolchainMissing: There is no cargo, or no Rust with a WebAssembly target and no way to make one.
    """
    return ready()


def driver(guest: Guest) -> RustDriver:
    """Make the driver for a guest."""
    return RustDriver(pinned=guest.committed)
