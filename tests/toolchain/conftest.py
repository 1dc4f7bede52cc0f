from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dataflare.toolchain.guests import Guest, Project, load_project

REPOSITORY = Path(__file__).resolve().parents[2]
COMPONENT = b"\0asm\x0d\0\x01\0"

FILE = """name: {name}
version: 1.0.0
kind: source
language: {language}
"""


class FakeDriver:
    """Makes a component of the guest's one source; counts how often."""

    def __init__(self, *, identity: str = "fake 1", salt: bytes = b"") -> None:
        self.builds = 0
        self.salt = salt
        self._identity = identity

    def identity(self) -> str:
        return self._identity

    def sources(self, guest: Guest) -> Iterator[Path]:
        yield guest.folder / "source"

    def build(self, guest: Guest, work: Path) -> bytes:
        self.builds += 1
        return COMPONENT + (guest.folder / "source").read_bytes() + self.salt


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache."""
    monkeypatch.setenv("DATAFLARE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def make_project(tmp_path: Path) -> Callable[..., Project]:
    """Make a repository with one guest, whose source is `one`."""

    def make(name: str = "probe", *, language: str = "rust", committed: bool = False) -> Project:
        root = tmp_path / "repository"
        for package in ("data", "host", "plugin"):
            (root / "wit" / package).mkdir(parents=True)
            (root / "wit" / package / "one.wit").write_text(f"package dataflare:{package}@1.0.0;\n")
        folder = root / "guest-sdks" / language / "examples" / name
        folder.mkdir(parents=True)
        (folder / "source").write_text("one")
        (folder / "plugin.yaml").write_text(FILE.format(name=name, language=language))
        if committed:
            (folder.parent.parent / "components").mkdir()
        return load_project(root)

    return make


def in_ci() -> bool:
    """Whether a missing toolchain is a failure."""
    return os.environ.get("CI") == "true"
