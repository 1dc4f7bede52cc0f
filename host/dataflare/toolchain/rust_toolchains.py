"""Rust's toolchains: the installed one, and one that is made of pinned packages.

The pinned one is for components that must not depend on the machine that builds them, and for machines whose Rust has
no WebAssembly target: it is made of Debian's packages and a linker that cargo builds, for `wasm32-unknown-unknown`.
"""

from __future__ import annotations

import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from dataflare.texts import cut
from dataflare.toolchain.run_tool import BuildFailed, ToolchainMissing, run
from dataflare.toolchain.store import cache_root, digest_bytes, once

__all__ = ["CARGO_HINT", "PINNED", "Toolchain", "choose", "identity", "ready", "require_cargo"]

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
CARGO_HINT = "install Rust with rustup (https://rustup.rs), then `rustup target add wasm32-wasip2`"
_TARGET_HINT = "`rustup target add wasm32-wasip2`"
# What the SDK and the bindings are written in.
_LEAST = (1, 87)
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
class Toolchain:
    """A toolchain. `env` is what cargo needs to use it, `identity` what a component depends on."""

    target: str
    env: dict[str, str]
    identity: str


def choose(*, pinned: bool) -> Toolchain:
    """The toolchain to build with.

    Args:
        pinned: Whether to take the pinned one. If not, the installed one, or the pinned one where that has no
            WebAssembly target.

    Raises:
        ToolchainMissing: There is no cargo, Rust is too old, or there is no toolchain and no way to make one.
    """
    require_cargo()
    found = None if pinned else _installed()
    return found or _pinned(by_default=not pinned)


def require_cargo() -> None:
    """Raise an error if there is no cargo that is new enough.

    Raises:
        ToolchainMissing: There is none, it does not work, or it is too old.
    """
    if shutil.which("cargo") is None:
        raise ToolchainMissing("there is no cargo", hint=CARGO_HINT)
    try:
        said = run(["cargo", "--version"], cwd=Path.cwd())
    except BuildFailed as error:
        # A rustup without a toolchain.
        raise ToolchainMissing(f"cargo does not work: {error}", hint=CARGO_HINT) from error
    _require_age(said.strip())


def _require_age(version: str) -> None:
    number = re.search(r"(\d+)\.(\d+)", version)
    if number is None:
        raise ToolchainMissing(f"Rust does not say its version, but {cut(version)!r}", hint=CARGO_HINT)
    if (int(number[1]), int(number[2])) < _LEAST:
        least = ".".join(map(str, _LEAST))
        raise ToolchainMissing(
            f"{cut(version)} is too old: {least} is needed", hint=f"`rustup update`, or {CARGO_HINT}"
        )


def identity(*, pinned: bool) -> str:
    """What a component depends on, of the toolchain that `choose` takes."""
    found = None if pinned else _installed()
    return found.identity if found else _pinned_identity()


def ready() -> str:
    """The toolchain that authors of plugins have, in words.

    Raises:
        ToolchainMissing: There is none, and none can be made.
    """
    require_cargo()
    found = _installed()
    if found is None:
        _require_makeable(by_default=True)
    return found.identity if found else f"{PINNED}, made on first use"


def _installed() -> Toolchain | None:
    """The installed Rust, where it has the standard library of a WebAssembly target.

    Raises:
        ToolchainMissing: It is too old.
    """
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
            _require_age(version)
            env = {"CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER": "wasm-component-ld"} if target == _TARGET else {}
            return Toolchain(target=target, env=env, identity=f"{version}, {target}")
    return None


def _pinned(*, by_default: bool) -> Toolchain:
    """The pinned toolchain, made on first use: about two minutes on two cores."""
    folder = cache_root() / "toolchains" / f"rust-{_recipe()}"
    _require_makeable(by_default=by_default)
    if not folder.is_dir():
        once(folder, _make_toolchain)
    env = {
        "RUSTC": str(folder / "bin" / "rustc"),
        "CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER": str(folder / "bin" / "linker"),
    }
    return Toolchain(target=_TARGET, env=env, identity=_pinned_identity())


def _require_makeable(*, by_default: bool) -> None:
    """Raise an error if the pinned toolchain neither exists nor can be made."""
    if (cache_root() / "toolchains" / f"rust-{_recipe()}").is_dir():
        return
    if not sys.platform.startswith("linux") or shutil.which("apt-get") is None or shutil.which("dpkg") is None:
        if by_default:
            raise ToolchainMissing("the installed Rust has no WebAssembly target", hint=_TARGET_HINT)
        raise ToolchainMissing("the pinned Rust toolchain cannot be made here", hint=_PINNED_HINT)


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
        hint = f"{_TARGET_HINT}, or: {_PINNED_HINT}"
        raise ToolchainMissing(f"Debian's packages cannot be downloaded: {exc.message}", hint=hint) from exc
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
