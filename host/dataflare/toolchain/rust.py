"""Rust: cargo, for `wasm32-unknown-unknown`, linked by `wasm-component-ld`; the result has no WASI import.

Committed components must not depend on the machine that builds them: they come from one pinned toolchain, made of
Debian's packages and a linker that cargo builds. Others take the installed Rust where it has a WebAssembly target.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dataflare.toolchain.guests import Guest
from dataflare.toolchain.run_tool import BuildFailed, ToolchainMissing, run
from dataflare.toolchain.store import cache_root, digest_bytes, locked, once

__all__ = ["PINNED", "RustDriver", "driver"]

_DEBS = {
    "libllvm22": "1:22.1.8-1~deb12u1",
    "libstd-rust-web-1.96": "1.96.0+dfsg1-1~deb12u2",
    "libstd-rust-web-dev": "1.96.0+dfsg1-1~deb12u2",
    "lld-22": "1:22.1.8-1~deb12u1",
    "rust-web-src": "1.96.0+dfsg1-1~deb12u2",
    "rustc-web": "1.96.0+dfsg1-1~deb12u2",
}
_LINKER_VERSION = "0.5.31"
PINNED = f"rustc-web {_DEBS['rustc-web']}, lld-22 {_DEBS['lld-22']}, wasm-component-ld {_LINKER_VERSION}"
"""The toolchain that makes the committed components."""

_TARGET = "wasm32-unknown-unknown"
_CARGO_HINT = "install Rust with rustup (https://rustup.rs)"
_PINNED_HINT = (
    "the pinned toolchain needs Debian 12 on x86-64, gcc, cargo and the network; "
    "with --local any Rust with a WebAssembly target builds into build/guests instead"
)

# Panic locations embed paths of sources: remapped here and not in RUSTFLAGS, which cargo hashes into symbol names.
_RUSTC = """#!/bin/sh
root=$(dirname "$(dirname "$(realpath "$0")")")/root/usr
cargo=${CARGO_HOME:-$HOME/.cargo}
set -- "$@" "--remap-path-prefix=$root=/rust" "--remap-path-prefix=$cargo=/cargo"
# Sources of crates lie in a folder that is named after their registry.
for sources in "$cargo"/registry/src/*; do set -- "$@" "--remap-path-prefix=$sources=/crates"; done
LD_LIBRARY_PATH="$root/lib/x86_64-linux-gnu" exec "$root/bin/rustc" "$@"
"""
# rustc's first argument must stay the first.
_LINKER = """#!/bin/sh
here=$(dirname "$(dirname "$(realpath "$0")")")
LD_LIBRARY_PATH="$here/root/usr/lib/x86_64-linux-gnu" exec "$here/cargo/bin/wasm-component-ld" "$@" \\
  --wasm-ld-path "$here/root/usr/lib/llvm-22/bin/wasm-ld"
"""
_STD_MANIFEST = """[package]
name = "stdbuild"
version = "0.0.0"
edition = "2021"
[lib]
path = "lib.rs"
[profile.release]
opt-level = "s"
panic = "abort"
[workspace]
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Toolchain:
    target: str
    env: dict[str, str]
    identity: str


class RustDriver:
    """Builds a package of the workspace `guest-sdks/rust`, or of a workspace of its own.

    Args:
        pinned: Whether to take the pinned toolchain. If not, the installed one, or the pinned one where that has no
            WebAssembly target.
    """

    def __init__(self, *, pinned: bool) -> None:
        self._pinned = pinned

    def identity(self) -> str:
        """What, apart from the sources, the component depends on."""
        installed = None if self._pinned else _installed()
        return f"rust: {installed.identity if installed else _pinned_identity()}"

    def sources(self, guest: Guest) -> Iterator[Path]:
        """The files that the component is made of, apart from WIT."""
        workspace = guest.sdk
        yield from (workspace / "Cargo.toml", workspace / "Cargo.lock", guest.folder / "Cargo.toml")
        for pattern in ("**/*.rs", "Cargo.toml"):
            yield from (workspace / "dataflare-plugin").glob(pattern)
        for pattern in ("src/**/*.rs", "wit/**/*.wit", "*.json"):
            yield from guest.folder.glob(pattern)

    def build(self, guest: Guest, work: Path) -> bytes:
        """Build a component.

        Raises:
            ToolchainMissing: There is no cargo, or no toolchain and no way to make one.
            BuildFailed: The build failed.
        """
        installed = None if self._pinned else _installed()
        toolchain = installed or _pinned_toolchain()
        workspace = guest.sdk
        # One for all checkouts: crates of the registry are compiled once, those of the workspace each time.
        target_dir = cache_root() / "cargo" / digest_bytes(toolchain.identity.encode())[:16]
        env = {**toolchain.env, "CARGO_TARGET_DIR": str(target_dir)}
        options = ["--release", "--locked", "--target", toolchain.target, "--package", guest.name]
        with locked(target_dir.name):
            # cargo tells from times whether a source has changed, which is not enough for what is kept by digest.
            shared = ["--package", "dataflare-plugin"] if (workspace / "dataflare-plugin").is_dir() else []
            run(["cargo", "clean", *options, *shared], cwd=workspace, env=env, hint=_CARGO_HINT)
            run(["cargo", "build", *options], cwd=workspace, env=env)
            return (target_dir / toolchain.target / "release" / f"{guest.name.replace('-', '_')}.wasm").read_bytes()


def _installed() -> _Toolchain | None:
    """The installed Rust, where it has the standard library of a WebAssembly target."""
    rustc = shutil.which("rustc")
    if rustc is None:
        return None
    try:
        sysroot = Path(run([rustc, "--print", "sysroot"], cwd=Path.cwd()).strip())
        version = run([rustc, "--version"], cwd=Path.cwd()).strip()
    except BuildFailed:
        # A rustup without a toolchain.
        return None
    for target in (_TARGET, "wasm32-wasip2"):
        if any((sysroot / "lib" / "rustlib" / target / "lib").glob("libstd-*.rlib")):
            env = {"CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER": "wasm-component-ld"} if target == _TARGET else {}
            return _Toolchain(target=target, env=env, identity=f"{version}, {target}")
    return None


def _pinned_toolchain() -> _Toolchain:
    """The pinned toolchain, made on first use: about two minutes on two cores."""
    if shutil.which("cargo") is None:
        raise ToolchainMissing("there is no cargo", hint=_CARGO_HINT)
    folder = cache_root() / "toolchains" / f"rust-{_recipe()}"
    if not folder.is_dir():
        if not sys.platform.startswith("linux") or shutil.which("apt-get") is None or shutil.which("dpkg") is None:
            raise ToolchainMissing("the pinned Rust toolchain cannot be made here", hint=_PINNED_HINT)
        once(folder, _make_toolchain)
    env = {
        "RUSTC": str(folder / "bin" / "rustc"),
        "CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER": str(folder / "bin" / "linker"),
    }
    return _Toolchain(target=_TARGET, env=env, identity=_pinned_identity())


def _recipe() -> str:
    """A digest of how the pinned toolchain is made."""
    return digest_bytes("".join((PINNED, _RUSTC, _LINKER, _STD_MANIFEST)).encode())[:16]


def _pinned_identity() -> str:
    return f"{PINNED}, recipe {_recipe()}"


def _make_toolchain(folder: Path) -> None:
    debs = folder / "debs"
    # apt's own lists of packages may be absent, old, or not ours to update: it gets a place for others.
    for place in ("lists/partial", "archives/partial"):
        (debs / place).mkdir(parents=True)
    options = [f"Dir::State::Lists={debs}/lists", f"Dir::Cache={debs}", "APT::Sandbox::User=root"]
    apt = ["apt-get", "-q", *(word for option in options for word in ("-o", option))]
    packages = [f"{name}={version}" for name, version in _DEBS.items()]
    try:
        run([*apt, "update"], cwd=debs)
        run([*apt, "download", *packages], cwd=debs)
    except BuildFailed as exc:
        raise ToolchainMissing(f"Debian's packages are not to be had: {exc.message}", hint=_PINNED_HINT) from exc
    # Only unpacked, never installed: no root, and nothing on this machine changes.
    for deb in sorted(debs.glob("*.deb")):
        run(["dpkg", "-x", deb, folder / "root"], cwd=debs)
    shutil.rmtree(debs)
    _write_script(folder / "bin" / "rustc", _RUSTC)
    _write_script(folder / "bin" / "linker", _LINKER)
    _build_std(folder)
    # The linker runs on this machine: any Rust will do to build it, and Debian's is here. Unoptimized it takes half the
    # time to build, and is fast enough.
    install: list[str | Path] = ["cargo", "install", "wasm-component-ld", "--version", _LINKER_VERSION]
    env = {"RUSTC": str(folder / "bin" / "rustc"), "CARGO_TARGET_DIR": str(folder / "target")}
    run([*install, "--locked", "--debug", "--root", folder / "cargo"], cwd=folder, env=env)
    shutil.rmtree(folder / "target")


def _build_std(folder: Path) -> None:
    """Build the target's standard library from Debian's source package, and put it where rustc looks for it."""
    project = folder / "std"
    project.mkdir()
    (project / "lib.rs").touch()
    (project / "Cargo.toml").write_text(_STD_MANIFEST, encoding="utf-8")
    env = {
        "RUSTC": str(folder / "bin" / "rustc"),
        # -Z options of a released compiler; only here, where the compiler builds its own library.
        "RUSTC_BOOTSTRAP": "1",
        "RUSTFLAGS": "-Cembed-bitcode=yes",
        "CARGO_TARGET_DIR": str(project / "target"),
    }
    build_std = ["-Z", "build-std=std,panic_abort", "-Z", "build-std-features="]
    run(["cargo", "build", "--release", "--target", _TARGET, *build_std], cwd=project, env=env)
    library = folder / "root" / "usr" / "lib" / "rustlib" / _TARGET / "lib"
    library.mkdir(parents=True)
    for rlib in (project / "target" / _TARGET / "release" / "deps").glob("*.rlib"):
        if not rlib.name.startswith("libstdbuild-"):
            shutil.copy2(rlib, library)
    shutil.rmtree(project)


def _write_script(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)


def driver(guest: Guest) -> RustDriver:
    """Make the driver for a guest."""
    return RustDriver(pinned=guest.committed)
