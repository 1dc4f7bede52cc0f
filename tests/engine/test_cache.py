"""The cache of compiled components: found again, and never taken from where others could have put something."""

from __future__ import annotations

import json
import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from wasmtime import component as wc

from dataflare.engine.cache import Cache, _sealed
from dataflare.engine.engine import Engine
from dataflare.engine.types import FuncT, Interface, PrimT, Shape
from dataflare.errors import ConfigError
from dataflare.limits import Limits
from wat_kit import API, HOST, component, echo

BINARY = echo(PrimT("u32"))


class Compilations:
    """Counts what wasmtime compiles, hollow copies for reflection left out."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        original = wc.Component.__init__

        def counted(this: Any, engine: Any, wasm: Any) -> None:
            # Only a composed component has the host's raw import.
            self.count += b"dataflare:raw/host" in bytes(wasm)
            original(this, engine, wasm)

        monkeypatch.setattr(wc.Component, "__init__", counted)


@pytest.fixture
def compilations(monkeypatch: pytest.MonkeyPatch) -> Compilations:
    return Compilations(monkeypatch)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "made" / "compiled"


def load(folder: Path, binary: bytes = BINARY, *, fuel: bool = False, name: str = "kit") -> bool:
    """Load in an engine of its own, see that it works, and say whether it came from the cache."""
    with Engine(cache_dir=folder) as engine:
        loaded = engine.load(binary, name=name, fuel=fuel)
        limits = Limits(fuel=10**9 if fuel else None)
        with loaded.instantiate({HOST: {"echo": lambda x: x}}, limits=limits) as instance:
            assert instance.call(API, "echo", 77) == 77
        return loaded.from_cache


def entries(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir())


def test_the_second_load_compiles_nothing(folder: Path, compilations: Compilations) -> None:
    assert load(folder) is False
    assert compilations.count == 1
    assert load(folder) is True and load(folder, name="another name") is True
    assert compilations.count == 1


def test_what_differs_has_its_own_entry(folder: Path, compilations: Compilations) -> None:
    assert not load(folder) and not load(folder, fuel=True)
    other = component({"echo": FuncT((("x", PrimT("u64")),), PrimT("u64"))})
    assert not load(folder, other)
    assert load(folder) and load(folder, fuel=True) and load(folder, other)
    assert compilations.count == 3


def test_another_version_of_the_engine_finds_nothing(
    folder: Path, compilations: Compilations, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(folder)
    monkeypatch.setattr("dataflare.engine.flavour._WASMTIME", "99.0.0")
    assert load(folder) is False
    assert compilations.count == 2


def test_the_folder_and_its_files_are_the_users_alone(folder: Path) -> None:
    load(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for path in entries(folder):
        assert stat.S_IMODE(path.stat().st_mode) & 0o022 == 0
    assert not [path for path in entries(folder) if path.name.startswith(".")], "a file under way was left"


@pytest.mark.parametrize("suffix", [".cwasm", ".json"])
@pytest.mark.parametrize("damage", ["truncate", "empty", "flip", "append", "garbage", "remove"])
def test_a_damaged_entry_is_made_again(folder: Path, compilations: Compilations, suffix: str, damage: str) -> None:
    load(folder)
    (path,) = [path for path in entries(folder) if path.suffix == suffix]
    content = path.read_bytes()
    middle = len(content) // 2
    changed = {
        "truncate": content[:middle],
        "empty": b"",
        "flip": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
        "append": content + b"\0more",
        "garbage": os.urandom(len(content)),
        "remove": None,
    }[damage]
    if changed is None:
        path.unlink()
    else:
        path.write_bytes(changed)
    assert load(folder) is False
    assert compilations.count == 2
    assert load(folder) is True


@pytest.mark.parametrize("at", range(0, 100, 7))
def test_a_damaged_record_never_gives_another_shape(folder: Path, compilations: Compilations, at: int) -> None:
    load(folder)
    (path,) = [path for path in entries(folder) if path.suffix == ".json"]
    content = bytearray(path.read_bytes())
    where = content.index(b'"shape"') + (len(content) - content.index(b'"shape"')) * at // 100
    content[where] ^= 1
    path.write_bytes(content)
    assert load(folder) is False
    assert compilations.count == 2


def test_a_code_file_that_was_exchanged_with_its_times_is_not_run(folder: Path, compilations: Compilations) -> None:
    load(folder)
    other = folder.parent / "other"
    load(other, echo(PrimT("u64")))
    (code,) = [path for path in entries(folder) if path.suffix == ".cwasm"]
    (foreign,) = [path for path in entries(other) if path.suffix == ".cwasm"]
    status = code.stat()
    content = foreign.read_bytes()
    code.write_bytes(content[: status.st_size].ljust(status.st_size, b"\0"))
    os.utime(code, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert load(folder) is False
    assert compilations.count == 3


@pytest.mark.parametrize("suffix", [".cwasm", ".json"])
def test_a_file_that_others_can_write_is_not_taken(folder: Path, compilations: Compilations, suffix: str) -> None:
    load(folder)
    (path,) = [path for path in entries(folder) if path.suffix == suffix]
    path.chmod(0o666)
    assert load(folder) is False
    assert compilations.count == 2
    assert load(folder) is True


@pytest.mark.parametrize("suffix", [".cwasm", ".json"])
def test_a_link_is_not_followed(folder: Path, compilations: Compilations, suffix: str) -> None:
    load(folder)
    (path,) = [path for path in entries(folder) if path.suffix == suffix]
    moved = folder.parent / "moved"
    path.rename(moved)
    path.symlink_to(moved)
    assert load(folder) is False
    assert compilations.count == 2


@pytest.mark.parametrize("suffix", [".cwasm", ".json"])
def test_a_file_of_another_user_is_not_taken(
    folder: Path, compilations: Compilations, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(folder)
    (path,) = [path for path in entries(folder) if path.suffix == suffix]
    inode = path.stat().st_ino
    original = os.fstat

    def foreign(descriptor: int) -> os.stat_result:
        status = original(descriptor)
        if status.st_ino != inode:
            return status
        return os.stat_result([*status[:4], os.getuid() + 1, *status[5:]])

    monkeypatch.setattr(os, "fstat", foreign)
    assert load(folder) is False
    assert compilations.count == 2


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o702])
def test_a_folder_that_others_can_write_is_refused(folder: Path, mode: int) -> None:
    folder.mkdir(parents=True)
    folder.chmod(mode)
    with pytest.raises(ConfigError, match=r"written by others") as caught:
        Engine(cache_dir=folder)
    assert str(folder) in str(caught.value) and caught.value.hint


def test_a_link_or_a_file_as_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "file").write_text("")
    for name in ("link", "file"):
        with pytest.raises(ConfigError):
            Engine(cache_dir=tmp_path / name)


def test_concurrent_loads_in_one_engine_compile_once(folder: Path, compilations: Compilations) -> None:
    with Engine(cache_dir=folder) as engine:
        results = in_threads(6, lambda _: engine.load(BINARY, name="kit").from_cache)
    assert sorted(results) == [False, True, True, True, True, True]
    assert compilations.count == 1


def test_concurrent_loads_in_several_engines_all_work(folder: Path) -> None:
    results = in_threads(5, lambda _: load(folder))
    assert len(results) == 5 and load(folder) is True


def in_threads(count: int, work: Callable[[int], Any]) -> list[Any]:
    start = threading.Barrier(count)
    results: list[Any] = []

    def run(number: int) -> None:
        start.wait(10)
        results.append(work(number))

    threads = [threading.Thread(target=run, args=(n,)) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return results


def test_a_write_that_is_cut_short_leaves_the_old_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = Cache(tmp_path / "compiled")
    shape = Shape(exports={"": Interface(funcs={"f": FuncT((), None)})})
    key = "ab" * 32
    assert cache.put(key, b"old", shape) is not None

    def fail(*_: Any) -> None:
        raise OSError("the disk is full")

    for function in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(os, function, fail)
            assert cache.put(key, b"new", Shape()) is None
        found = cache.find(key)
        assert found is not None and found.code.read_bytes() == b"old" and found.shape == shape
    assert not [path for path in (tmp_path / "compiled").iterdir() if path.name.startswith(".")]


def test_a_record_of_another_key_is_not_taken(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "compiled")
    cache.put("ab" * 32, b"code", Shape())
    (record,) = (tmp_path / "compiled").glob("*.json")
    (tmp_path / "compiled" / f"{'cd' * 32}.json").write_bytes(record.read_bytes())
    assert cache.find("ab" * 32) is not None and cache.find("cd" * 32) is None


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "A" * 64, "", 5, None, ["x"]])
def test_a_record_cannot_point_out_of_the_folder(tmp_path: Path, name: Any) -> None:
    cache = Cache(tmp_path / "compiled")
    cache.put("ab" * 32, b"code", Shape())
    (path,) = (tmp_path / "compiled").glob("*.json")
    record = json.loads(path.read_bytes().partition(b"\n")[2])
    record["sha256"] = name
    path.write_bytes(_sealed(record))
    (tmp_path / "outside.cwasm").write_bytes(b"code")
    assert cache.find("ab" * 32) is None


def test_code_for_another_processor_is_made_again(folder: Path, compilations: Compilations) -> None:
    """What wasmtime refuses to load counts as no entry."""
    with Engine(cache_dir=folder) as engine:
        engine.load(BINARY, name="kit")
    cache = Cache(folder)
    (record,) = folder.glob("*.json")
    found = cache.find(record.stem)
    assert found is not None
    cache.put(record.stem, b"no native code of this machine", found.shape)
    assert load(folder) is False
    assert compilations.count == 2
    assert load(folder) is True


def test_a_folder_that_cannot_be_written_only_costs_time(
    folder: Path, compilations: Compilations, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise OSError("read-only")

    monkeypatch.setattr("tempfile.mkstemp", fail)
    assert load(folder) is False and load(folder) is False
    assert compilations.count == 2
