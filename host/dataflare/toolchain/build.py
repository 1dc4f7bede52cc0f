"""Builds guests: each once, kept by the digest of all that goes into it."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, Protocol

from dataflare.errors import ConfigError
from dataflare.toolchain.guests import Guest
from dataflare.toolchain.languages import load_driver
from dataflare.toolchain.run_tool import BuildFailed
from dataflare.toolchain.rust import PINNED
from dataflare.toolchain.store import (
    digest_bytes,
    digest_files,
    load_build,
    locked,
    save_build,
    write_atomically,
    write_changed,
)

__all__ = ["Built", "Driver", "build", "check"]

_COMPONENT_MAGIC = b"\0asm\x0d\0\x01\0"
_RECORD = "components.json"


class Driver(Protocol):
    """Builds the guests of one language."""

    def identity(self) -> str:
        """What, apart from the sources, a component depends on."""

    def sources(self, guest: Guest) -> Iterator[Path]:
        """The files that a component is made of, in the guest's folder and its SDK's, apart from WIT."""

    def build(self, guest: Guest, work: Path) -> bytes:
        """Build a component; `work` is an empty folder that is deleted afterwards."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """What was done for a guest. `how` is `up to date` (nothing to do), `from the cache` or `built`."""

    guest: Guest
    how: str
    size_bytes: int
    seconds: float


def build(guest: Guest, *, driver: Driver | None = None) -> Built:
    """Make sure that a guest's component exists and is up to date.

    A committed component whose sources have not changed needs no toolchain.

    Args:
        guest: The guest.
        driver: Instead of the language's own.

    Raises:
        ToolchainMissing: A tool is not on this machine; the hint says how to install it.
        BuildFailed: The build failed.
    """
    begin = perf_counter()
    driver = driver or _driver(guest)
    getattr(driver, "prepare", lambda _: None)(guest)
    key = _key(guest, driver)
    record = _read_record(guest) if guest.committed else {}
    how = "up to date"
    if guest.committed and guest.output.is_file():
        component = guest.output.read_bytes()
        known = record.get(guest.name, {})
        if known.get("sources_sha256") == key and known.get("sha256") == digest_bytes(component):
            return Built(guest=guest, how=how, size_bytes=len(component), seconds=perf_counter() - begin)
    with locked(key):
        kept = load_build(key)
        component = kept if kept is not None else _make(guest, driver, key)
    folder = guest.folder if guest.output.is_relative_to(guest.folder) else guest.output.parent
    if write_changed(folder, guest.output.relative_to(folder), component):
        how = "from the cache"
    if kept is None:
        how = "built"
    if guest.committed:
        _write_record(guest, record, key, component)
    return Built(guest=guest, how=how, size_bytes=len(component), seconds=perf_counter() - begin)


def check(guest: Guest, *, driver: Driver | None = None, afresh: bool = True) -> Built:
    """Build a committed component again, and compare it byte for byte.

    Args:
        guest: The guest.
        driver: Instead of the language's own.
        afresh: Build it whatever is in the cache. Otherwise what this machine has already built of the same sources
            with the same tools is compared.

    Raises:
        ConfigError: The guest's component is not committed.
        ToolchainMissing: A tool is not on this machine; the hint says how to install it.
        BuildFailed: The build failed, or made something other than what is committed.
    """
    if not guest.committed:
        raise ConfigError(f"the component of {guest.name!r} is not committed: there is nothing to compare with")
    begin = perf_counter()
    driver = driver or _driver(guest)
    hint = f"`python -m dataflare.toolchain build {guest.name}`, and commit what it writes"
    key = _key(guest, driver)
    known = _read_record(guest).get(guest.name, {})
    if not guest.output.is_file():
        raise BuildFailed(f"{guest.name}: {guest.output} is not there", hint=hint)
    committed = guest.output.read_bytes()
    if known.get("sha256") != digest_bytes(committed) or known.get("sources_sha256") != key:
        raise BuildFailed(f"{guest.name}: {_RECORD} does not belong to the component and its sources", hint=hint)
    kept = None if afresh else load_build(key)
    component = kept if kept is not None else _make(guest, driver, key)
    if component != committed:
        what = f"{digest_bytes(committed)} is committed, {digest_bytes(component)} was built"
        raise BuildFailed(f"{guest.name}: the component is not what its sources give: {what}", hint=hint)
    return Built(guest=guest, how="identical", size_bytes=len(component), seconds=perf_counter() - begin)


def _driver(guest: Guest) -> Driver:
    made: Driver = load_driver(guest.language)(guest)
    return made


def _key(guest: Guest, driver: Driver) -> str:
    files = {*driver.sources(guest)}
    for package in ("data", "host", "plugin"):
        files |= {*(guest.wit / package).glob("*.wit")}
    said = guest.own_world if guest.file is None else guest.file.model_dump_json()
    if guest.file is None:
        files |= {*(guest.folder / "wit").rglob("*.wit")}
    # Debug information has the folder's path, which traps show.
    how = ["debug", str(guest.folder)] if guest.debug else []
    return digest_files(guest.roots(), files, guest.name, said, driver.identity(), *how)


def _make(guest: Guest, driver: Driver, key: str) -> bytes:
    with tempfile.TemporaryDirectory(prefix="dataflare-guest-") as work:
        component = driver.build(guest, Path(work))
    if not component.startswith(_COMPONENT_MAGIC):
        raise BuildFailed(f"{guest.name}: what was built is not a component")
    if _key(guest, driver) != key:
        raise BuildFailed(f"{guest.name}: its sources changed during the build", hint="build again")
    save_build(key, component)
    return component


def _read_record(guest: Guest) -> dict[str, Any]:
    """What is known of the committed components beside a guest's."""
    path = guest.output.with_name(_RECORD)
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as exc:
        raise ConfigError(
            f"cannot be read: {exc}", where=str(path), hint="delete it and build all guests again"
        ) from exc
    if not isinstance(record, dict):
        raise ConfigError("is not a JSON object", where=str(path), hint="delete it and build all guests again")
    return record


def _write_record(guest: Guest, record: dict[str, Any], key: str, component: bytes) -> None:
    entry = {
        "sha256": digest_bytes(component),
        "size_bytes": len(component),
        "sources_sha256": key,
        "toolchain": PINNED,
        "rebuild": f"python -m dataflare.toolchain build {guest.name}",
    }
    if record.get(guest.name) != entry:
        text = json.dumps({**record, guest.name: entry}, indent=2, sort_keys=True)
        write_atomically(guest.output.with_name(_RECORD), f"{text}\n".encode())
