"""A plugin whose build copies a component that is there already."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dataflare.toolchain.run_tool import BuildFailed, run

MAPPER = Path(__file__).parents[2] / "guest-sdks" / "rust" / "components" / "json-mapper.wasm"


class CopyDriver:
    """A language whose source is a component already; `plugin.txt` may say how long a build takes."""

    def identity(self) -> str:
        return "copy"

    def sources(self, guest: Any) -> Iterator[Path]:
        yield guest.folder / "plugin.txt"

    def build(self, guest: Any, work: Path) -> bytes:
        text = (guest.folder / "plugin.txt").read_text()
        if text.startswith("sleep"):
            run(text.split(), cwd=work)
        if text.startswith("wrong"):
            raise BuildFailed(f"plugin.txt:1: {text}")
        return MAPPER.read_bytes()


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a plugin that is built in no time."""
    for module in ("dataflare.authoring.dev", "dataflare.toolchain.build", "dataflare.toolchain.materials"):
        monkeypatch.setattr(f"{module}.load_driver", lambda name: lambda guest: CopyDriver())
    folder = tmp_path / "copied"
    (folder / "tests" / "cases").mkdir(parents=True)
    (folder / "plugin.yaml").write_text("{ name: copied, version: 1.0.0, kind: processor, language: rust }\n")
    (folder / "plugin.txt").write_text("good")
    (folder / "tests" / "cases" / "one.yaml").write_text(
        "config: { rename: { a: b } }\ninput: [{ a: 1 }]\noutput: [{ b: 1 }]\n"
    )
    return folder
