"""Guest languages of installed packages, found by entry point."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from dataflare.engine.engine import Engine
from dataflare.errors import ConfigError
from dataflare.toolchain.build import build
from dataflare.toolchain.guests import load_project
from dataflare.toolchain.languages import load_driver, names

FILE = "name: hello\nversion: 1.0.0\nkind: source\nlanguage: text\n"


def install(place: Path, name: str, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    information = place / f"{module}-1.0.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(f"[dataflare.languages]\n{name} = {module}:driver\n")
    monkeypatch.syspath_prepend(place)


def test_guest_in_a_language_of_a_package_is_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path / "site", "text", "toy_text_language", monkeypatch)
    shutil.copy(Path(__file__).parents[1] / "support" / "toy_language.py", tmp_path / "site" / "toy_text_language.py")
    monkeypatch.setenv("DATAFLARE_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "guest-sdks" / "text" / "examples" / "hello"
    folder.mkdir(parents=True)
    for package in ("data", "host", "plugin"):
        (tmp_path / "wit" / package).mkdir(parents=True)
    (folder / "plugin.yaml").write_text(FILE)
    (folder / "plugin.wat").write_text("(component)")
    built = build(load_project(tmp_path).guests["hello"])
    assert built.how == "built"
    with Engine() as engine:
        assert engine.load(built.guest.output.read_bytes(), name="hello").shape.exports == {}


def test_language_of_a_package_cannot_replace_one_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "rust", "toy_other_rust", monkeypatch)
    assert load_driver("rust").__module__ == "dataflare.toolchain.rust"


def test_broken_driver_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "absent", "toy_absent", monkeypatch)
    assert "absent" in names()
    with pytest.raises(ConfigError, match="toy_absent"):
        load_driver("absent")
    with pytest.raises(ConfigError, match="no language 'cobol'"):
        load_driver("cobol")
