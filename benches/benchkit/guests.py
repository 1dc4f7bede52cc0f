"""The benches' guests: built into components like those of `guest-sdks`, from sources in `benches/guests`.

`python benches/benchkit/guests.py` builds all that are not up to date.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from dataflare.toolchain.build import build
from dataflare.toolchain.guests import Guest
from dataflare.toolchain.rust import PINNED, RustDriver
from dataflare.toolchain.store import digest_bytes, digest_files, load_build, locked, save_build, write_atomically

__all__ = ["EXTISM_GUEST", "GUESTS", "ROOT", "build_all", "component", "extism_module"]

ROOT: Final = Path(__file__).resolve().parents[2]
_HERE: Final = ROOT / "benches" / "guests"
_COMMITTED: Final = _HERE / "components"
_BUILT: Final = ROOT / "build" / "bench-guests"


def _guest(language: str, name: str, world: str, *, committed: bool = False) -> Guest:
    return Guest(
        name=name,
        language=language,
        folder=_HERE / language / "guests" / name,
        output=(_COMMITTED if committed else _BUILT) / f"{name}.wasm",
        committed=committed,
        wit=ROOT / "wit",
        sdk=_HERE / language,
        file=None,
        own_world=world,
    )


GUESTS: Final = {
    guest.name: guest
    for guest in (
        _guest("rust", "bench-echo", "echo", committed=True),
        _guest("rust", "bench-columns", "bench-columns", committed=True),
        _guest("rust", "bench-records", "bench-records", committed=True),
        _guest("rust", "bench-arrow", "bench-arrow"),
        _guest("javascript", "echo-javascript", "echo"),
        _guest("javascript", "columns-javascript", "columns"),
        _guest("python", "echo-python", "echo"),
        _guest("python", "columns-python", "columns"),
    )
}
EXTISM_GUEST: Final = _guest("rust", "extism-guest", "", committed=True)
"""A core module, not a component: what Extism takes."""

_WASM_MAGIC: Final = b"\0asm\x01\0\0\0"


class _RustDriver(RustDriver):
    """Takes all of the workspace for a guest's sources: its packages share code."""

    def sources(self, guest: Guest) -> Iterator[Path]:
        workspace = guest.folder.parent.parent
        yield from (workspace / "Cargo.toml", workspace / "Cargo.lock")
        plugin = ROOT / "guest-sdks" / "rust" / "dataflare-plugin"
        for folder in (guest.folder, workspace / "record-code", plugin):
            for pattern in ("*.toml", "*.rs", "src/**/*.rs", "wit/*.wit"):
                yield from folder.glob(pattern)


def component(name: str) -> bytes:
    """A guest's component, built if it is not there or its sources have changed.

    Raises:
        ToolchainMissing: It has to be built, and a tool is not on this machine; the hint says how to install it.
        BuildFailed: The build failed.
    """
    guest = GUESTS[name]
    build(guest, driver=_RustDriver(pinned=guest.committed) if guest.language == "rust" else None)
    return guest.output.read_bytes()


def extism_module() -> bytes:
    """The Extism plugin, built if it is not there or its sources have changed.

    Raises:
        ToolchainMissing: It has to be built, and a tool is not on this machine; the hint says how to install it.
        BuildFailed: The build failed.
    """
    guest, driver = EXTISM_GUEST, _RustDriver(pinned=True)
    key = digest_files({"": ROOT}, driver.sources(guest), guest.name, driver.identity())
    record_path = guest.output.with_name("extism.json")
    if guest.output.is_file() and record_path.is_file():
        module = guest.output.read_bytes()
        known = json.loads(record_path.read_text(encoding="utf-8"))
        if known["sources_sha256"] == key and known["sha256"] == digest_bytes(module):
            return module
    with locked(key):
        kept = load_build(key)
        if kept is None:
            with tempfile.TemporaryDirectory(prefix="dataflare-guest-") as work:
                kept = driver.build(guest, Path(work))
            if not kept.startswith(_WASM_MAGIC):
                raise AssertionError(f"{guest.name}: what was built is not a core module")
            save_build(key, kept)
    write_atomically(guest.output, kept)
    record = {
        "sha256": digest_bytes(kept),
        "size_bytes": len(kept),
        "sources_sha256": key,
        "toolchain": PINNED,
        "rebuild": "python benches/benchkit/guests.py",
    }
    write_atomically(record_path, f"{json.dumps(record, indent=2, sort_keys=True)}\n".encode())
    return kept


def build_all() -> Iterator[tuple[str, int]]:
    """Build what is not up to date; yields each guest's name and size in bytes."""
    for name in GUESTS:
        yield name, len(component(name))
    yield EXTISM_GUEST.name, len(extism_module())


if __name__ == "__main__":
    for built, size_bytes in build_all():
        print(f"{built}: {size_bytes:,} bytes", flush=True)
