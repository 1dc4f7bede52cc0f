from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dataflare.toolchain.store import (
    cache_root,
    digest_files,
    load_build,
    locked,
    once,
    save_build,
    stage_wit,
    write_atomically,
)


def test_the_cache_is_where_its_variable_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DATAFLARE_CACHE", str(tmp_path / "own"))
    assert cache_root() == tmp_path / "own"


def test_the_cache_follows_the_desktop_standard_otherwise(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("DATAFLARE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_root() == tmp_path / "dataflare"


names = st.text(st.characters(codec="ascii", categories=["L"]), min_size=1, max_size=4)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(
    one=st.dictionaries(names, st.binary(max_size=8), max_size=3),
    two=st.dictionaries(names, st.binary(max_size=8), max_size=3),
)
def test_digests_are_equal_just_when_names_and_contents_are(
    one: dict[str, bytes], two: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory
) -> None:
    def digest(files: dict[str, bytes]) -> str:
        root = tmp_path_factory.mktemp("files")
        for name, data in files.items():
            (root / name).write_bytes(data)
        return digest_files({"root": root}, root.iterdir(), "extra")

    assert (digest(one) == digest(two)) == (one == two)


def test_further_texts_do_not_run_together(tmp_path: Path) -> None:
    assert digest_files({}, [], "ab", "c") != digest_files({}, [], "a", "bc")


def test_a_kept_build_comes_back() -> None:
    save_build("key", b"component")
    assert load_build("key") == b"component"
    assert load_build("other") is None


def test_a_damaged_build_is_not_taken(cache: Path) -> None:
    save_build("key", b"component")
    next((cache / "guests").iterdir()).write_bytes(b"damaged")
    assert load_build("key") is None


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "folder"
    write_atomically(folder / "file", b"old")

    def full(_descriptor: int) -> None:
        raise OSError("no space")

    monkeypatch.setattr("dataflare.toolchain.store.os.fsync", full)
    with pytest.raises(OSError, match="no space"):
        write_atomically(folder / "file", b"new")
    assert [(path.name, path.read_bytes()) for path in folder.iterdir()] == [("file", b"old")]


def test_a_folder_is_made_once(tmp_path: Path) -> None:
    made: list[Path] = []
    for _ in range(2):
        once(tmp_path / "tool", made.append)
    assert len(made) == 1


def test_a_folder_whose_making_fails_is_not_there(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "half").touch()
        raise RuntimeError("half-way")

    with pytest.raises(RuntimeError):
        once(tmp_path / "tools" / "tool", fail)
    assert list((tmp_path / "tools").iterdir()) == []


def test_the_folder_of_a_faster_process_is_taken(tmp_path: Path) -> None:
    def slow(folder: Path) -> None:
        (folder / "mine").touch()
        (folder.parent / "tool").mkdir()
        (folder.parent / "tool" / "theirs").touch()

    folder = once(tmp_path / "tools" / "tool", slow)
    assert [path.name for path in folder.iterdir()] == ["theirs"]
    assert list(folder.parent.iterdir()) == [folder]


def test_the_same_work_is_done_by_one_process_at_a_time() -> None:
    code = "from dataflare.toolchain.store import locked\nwith locked('work'): print('in', flush=True)"
    with locked("work"):
        other = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        with pytest.raises(subprocess.TimeoutExpired):
            other.wait(0.5)
    assert other.communicate(timeout=30)[0] == "in\n"


def test_wit_is_staged_with_the_packages_as_dependencies(tmp_path: Path) -> None:
    for path in ("wit/data/a.wit", "wit/host/b.wit", "wit/plugin/c.wit", "guest/wit/world.wit"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    (tmp_path / "work").mkdir()
    guest: Any = SimpleNamespace(file=None, folder=tmp_path / "guest", wit=tmp_path / "wit")
    staged = stage_wit(guest, tmp_path / "work")
    found = {path.relative_to(staged).as_posix() for path in staged.rglob("*.wit")}
    assert found == {"world.wit", "deps/data/a.wit", "deps/host/b.wit", "deps/plugin/c.wit"}
