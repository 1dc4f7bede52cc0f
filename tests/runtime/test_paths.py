"""Whatever takes a path takes a text and any `os.PathLike`, and refuses what is not a path by a `ConfigError`."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from dataflare.capabilities.secret_stores import DirectorySecrets
from dataflare.capabilities.sqlite_state import SqliteStateStore
from dataflare.engine.engine import Engine
from dataflare.errors import ConfigError
from dataflare.pipeline.specification import load_specification
from dataflare.real_paths import place_of, real_path
from dataflare.runtime.host import Host
from dataflare.security.access import Access
from dataflare.security.audit import FileAuditLog, read_audit
from dataflare.security.keys import PrivateKey, PublicKey, generate_key_files
from dataflare.security.policy import Policy
from dataflare.security.settings import Security
from dataflare.security.trust import TrustPolicy


class Own:
    """A path of the caller's own making."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __fspath__(self) -> str:
        return str(self._path)


def _host(**options: Any) -> None:
    Host(**options).close()


def _load(component: Any, folder: Path) -> None:
    with Host(cache_dir=folder / "cache") as host:
        host.load(component)


TAKERS: dict[str, Callable[[Any, Path], object]] = {
    "Engine": lambda path, _: Engine(cache_dir=path).close(),
    "Host.cache_dir": lambda path, _: _host(cache_dir=path),
    "Security.policy": lambda path, folder: _host(cache_dir=folder / "cache", security=Security(policy=path)),
    "Security.trust": lambda path, folder: _host(cache_dir=folder / "cache", security=Security(trust=path)),
    "Security.audit": lambda path, folder: _host(cache_dir=folder / "cache", security=Security(audit=path)),
    "Host.load": _load,
    "Policy.read": lambda path, _: Policy.read(path),
    "TrustPolicy.read": lambda path, _: TrustPolicy.read(path),
    "TrustPolicy.verify_file": lambda path, _: TrustPolicy().verify_file(path, now=datetime.now(UTC)),
    "Access.read": lambda path, _: Access.read(path),
    "PublicKey.read": lambda path, _: PublicKey.read(path),
    "PrivateKey.read": lambda path, _: PrivateKey.read(path),
    "generate_key_files": lambda path, _: generate_key_files(path),
    "FileAuditLog": lambda path, _: FileAuditLog(path).close(),
    "read_audit": lambda path, _: read_audit(path),
    "SqliteStateStore": lambda path, _: SqliteStateStore(path).close(),
    "DirectorySecrets": lambda path, _: DirectorySecrets(path),
    "load_specification": lambda path, _: load_specification(path),
}
MADE = ("Engine", "Host.cache_dir", "Security.audit", "FileAuditLog", "SqliteStateStore", "generate_key_files")
"""Those that make what is not there."""


@pytest.mark.parametrize("name", TAKERS)
@pytest.mark.parametrize("path", ["", "a\0b", "a\ud800b", 5, b"bytes"], ids=["empty", "nul", "half", "number", "bytes"])
def test_what_is_no_path_is_refused(tmp_path: Path, name: str, path: Any) -> None:
    if name == "Host.load" and isinstance(path, bytes):
        pytest.skip("the contents of a component")
    with pytest.raises(ConfigError) as caught:
        TAKERS[name](path, tmp_path)
    assert str(caught.value)


@pytest.mark.parametrize("name", MADE)
def test_texts_and_own_paths_are_taken(tmp_path: Path, name: str) -> None:
    TAKERS[name](str(tmp_path / "text"), tmp_path)
    TAKERS[name](Own(tmp_path / "own"), tmp_path)
    assert {"text", "own"} <= set(os.listdir(tmp_path))


@pytest.mark.parametrize("name", sorted(set(TAKERS) - set(MADE)))
def test_own_paths_to_nothing_are_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="absent"):
        TAKERS[name](Own(tmp_path / "absent"), tmp_path)


@pytest.mark.parametrize("name", sorted(set(TAKERS) - {"Engine", "Host.cache_dir", "DirectorySecrets"}))
def test_directories_are_not_files(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir(mode=0o700)
    with pytest.raises(ConfigError, match="folder"):
        TAKERS[name](tmp_path / "folder", tmp_path)


def test_a_path_leads_to_what_its_links_lead_to_and_its_place_is_its_own(tmp_path: Path) -> None:
    root = tmp_path.resolve()
    (root / "folder").mkdir()
    (root / "way").symlink_to("folder")
    (root / "folder" / "link").symlink_to(root / "absent")
    for path in (root / "way" / "link", root / "way" / ".." / "folder" / "link"):
        assert real_path(path) == root / "absent"
        assert place_of(path) == root / "folder" / "link"
