"""The cache of compiled components: found again, and never taken from where others could have put something."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from wasmtime import component as wc

from dataflare.component_binary import name as named
from dataflare.component_binary import section
from dataflare.engine.abi.types import ComponentType, FuncT, Interface, PrimT
from dataflare.engine.cache import Cache, _sealed
from dataflare.engine.engine import Engine
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


def test_manifest_and_signature_are_not_compiled(folder: Path, compilations: Compilations) -> None:
    signed = BINARY + section(0, named("manifest") + b"{}") + section(0, named("signature") + b"x")
    assert not load(folder) and load(folder, signed)
    assert compilations.count == 1
    with Engine(cache_dir=folder) as engine:
        assert engine.load(signed, name="kit").digest == f"sha256:{hashlib.sha256(signed).hexdigest()}"
    assert not load(folder, BINARY[:8] + section(0, named("first") + b"x") + BINARY[8:])


def test_another_version_of_the_engine_finds_nothing(
    folder: Path, compilations: Compilations, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(folder)
    monkeypatch.setattr("dataflare.engine.compile_profile._WASMTIME", "99.0.0")
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
    shape = ComponentType(exports={"": Interface(funcs={"f": FuncT((), None)})})
    key = "ab" * 32
    assert cache.put(key, b"old", shape)

    def fail(*_: Any) -> None:
        raise OSError("the disk is full")

    for function in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(os, function, fail)
            assert not cache.put("cd" * 32, b"new", ComponentType())
        assert cache.find("cd" * 32) is None
        with cache.find(key) as found:
            assert found.code.read() == b"old" and found.shape == shape
    assert not [path for path in (tmp_path / "compiled").iterdir() if path.name.startswith(".")]


def test_code_in_a_copied_folder_is_hashed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key, hashed = "ab" * 32, []
    Cache(tmp_path / "one").put(key, b"code", ComponentType())
    shutil.copytree(tmp_path / "one", tmp_path / "other")
    digest = hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", lambda *args: hashed.append(args) or digest(*args))
    for _ in range(3):
        with Cache(tmp_path / "other").find(key) as found:
            assert found.code.read() == b"code"
    assert len(hashed) == 1


def test_code_that_another_process_holds_the_lock_of_is_found_without_waiting(tmp_path: Path) -> None:
    key = "ab" * 32
    cache = Cache(tmp_path / "compiled")
    cache.put(key, b"code", ComponentType())
    os.utime(tmp_path / "compiled" / f"{key}.cwasm", (1, 1))
    began_s = time.monotonic()
    with cache._locked(), cache.find(key) as found:
        assert found.code.read() == b"code"
    assert time.monotonic() - began_s < 5


def test_code_that_was_changed_after_its_folder_was_copied_is_not_taken(tmp_path: Path) -> None:
    key = "ab" * 32
    Cache(tmp_path / "one").put(key, b"code", ComponentType())
    shutil.copytree(tmp_path / "one", tmp_path / "other")
    cache = Cache(tmp_path / "other")
    cache.find(key).code.close()
    (tmp_path / "other" / f"{key}.cwasm").write_bytes(b"evil")
    assert cache.find(key) is None


def test_a_record_of_another_key_is_not_taken(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "compiled")
    cache.put("ab" * 32, b"code", ComponentType())
    (record,) = (tmp_path / "compiled").glob("*.json")
    (tmp_path / "compiled" / f"{'cd' * 32}.json").write_bytes(record.read_bytes())
    with cache.find("ab" * 32) as found:
        assert found.code.read() == b"code"
    assert cache.find("cd" * 32) is None


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "A" * 64, "", 5, None, ["x"]])
def test_a_record_that_lies_about_its_code_is_no_entry(tmp_path: Path, name: Any) -> None:
    cache = Cache(tmp_path / "compiled")
    cache.put("ab" * 32, b"code", ComponentType())
    (path,) = (tmp_path / "compiled").glob("*.json")
    record = json.loads(path.read_bytes().partition(b"\n")[2])
    record |= {"sha256": name, "stamp": [4, 0, 0, 0]}
    path.write_bytes(_sealed(record))
    assert cache.find("ab" * 32) is None


def test_code_for_another_processor_is_made_again(folder: Path, compilations: Compilations) -> None:
    """What wasmtime refuses to load counts as no entry."""
    with Engine(cache_dir=folder) as engine:
        engine.load(BINARY, name="kit")
    cache = Cache(folder)
    (record,) = folder.glob("*.json")
    shape = cache.find_shape(record.stem)
    assert shape is not None
    cache.discard(record.stem)
    assert cache.put(record.stem, b"no native code of this machine", shape)
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


def test_a_compiler_that_loses_the_race_leaves_nothing(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "compiled")
    assert cache.put("ab" * 32, b"first", ComponentType()) and cache.put("ab" * 32, b"second", ComponentType())
    with cache.find("ab" * 32) as found:
        assert found.code.read() == b"first"
    assert len(entries(cache.folder)) == 3  # with the lock


def test_what_dead_writers_left_is_removed_at_the_next_write(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "compiled")
    for name in (".new-abc", f"{'cd' * 32}.cwasm"):
        (cache.folder / name).write_bytes(b"left")
    (cache.folder / "notes.txt").write_text("not ours")
    cache.put("ab" * 32, b"code", ComponentType())
    names = {path.name for path in entries(cache.folder)}
    assert names == {f"{'ab' * 32}.json", f"{'ab' * 32}.cwasm", "lock", "notes.txt"}


def test_entries_that_were_not_used_for_longest_make_room(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "compiled", max_bytes=12_000)
    keys = [f"{number:02x}" * 32 for number in range(4)]
    for age, key in zip((30, 20, 10), keys, strict=False):
        cache.put(key, bytes(3000), ComponentType())
        past = cache.folder.stat().st_mtime - age
        os.utime(cache.folder / f"{key}.json", (past, past))
    found = cache.find(keys[0])  # the oldest, but used now
    assert found is not None
    found.code.close()
    cache.put(keys[3], bytes(3000), ComponentType())
    assert {each.key for each in cache.entries()} == {keys[0], keys[2], keys[3]}


def test_the_newest_entry_stays_however_large(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "compiled", max_bytes=10)
    assert cache.put("ab" * 32, bytes(1000), ComponentType()) and cache.find_shape("ab" * 32) is not None
    assert cache.put("cd" * 32, bytes(1000), ComponentType()) and cache.find_shape("ab" * 32) is None


def test_the_lists_and_the_end_of_entries(folder: Path, compilations: Compilations) -> None:
    load(folder)
    cache = Cache(folder)
    (entry,) = cache.entries()
    assert entry.plugin == "kit" and entry.digest.startswith("sha256:") and entry.size_bytes > 1000
    assert cache.clear() == entry.size_bytes and cache.entries() == []
    assert load(folder) is False


def test_a_plugins_digest_is_that_of_its_own_bytes_whichever_was_loaded_before(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signed, hashed = BINARY + section(0, named("note") + b"signed"), []

    def digest(binary: bytes) -> str:
        with Engine(cache_dir=folder) as engine:
            return engine.load(binary, name="signed" if binary is signed else "plain").digest

    for binary in (BINARY, signed, signed, BINARY):
        assert digest(binary) == f"sha256:{hashlib.sha256(binary).hexdigest()}"
        (entry,) = Cache(folder).entries()
        assert (entry.plugin, entry.digest) == ("signed" if binary is signed else "plain", digest(binary))
    original = hashlib.sha256
    monkeypatch.setattr(hashlib, "sha256", lambda content=b"": hashed.append(bytes(content)) or original(content))
    assert digest(BINARY).startswith("sha256:") and hashed and BINARY not in hashed, "its record knows it"
    assert digest(signed).startswith("sha256:") and signed in hashed


def test_a_folder_may_be_a_text_or_any_path(tmp_path: Path) -> None:
    class Own:
        def __fspath__(self) -> str:
            return str(tmp_path / "own")

    for path in (str(tmp_path / "text"), Own()):
        assert load(path) is False and load(path) is True  # type: ignore[arg-type]


def test_a_folder_that_is_deleted_is_made_again(folder: Path, compilations: Compilations) -> None:
    with Engine(cache_dir=folder) as engine:
        engine.load(BINARY, name="kit")
        shutil.rmtree(folder)
        assert engine.load(BINARY, name="kit").from_cache is False
        assert engine.load(BINARY, name="kit").from_cache is True
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_code_that_is_exchanged_after_it_was_checked_is_not_run(
    folder: Path, compilations: Compilations, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(folder)
    (code,) = folder.glob("*.cwasm")
    original = Cache.find

    def exchanged(cache: Cache, key: str, contents: str) -> Any:
        found = original(cache, key, contents)
        code.unlink()
        code.write_bytes(b"something else")
        return found

    monkeypatch.setattr(Cache, "find", exchanged)
    assert load(folder) is True
    assert compilations.count == 1


def test_many_processes_share_a_small_cache(tmp_path: Path) -> None:
    folder = tmp_path / "compiled"
    code = (
        "import sys; from dataflare.engine.cache import Cache; from dataflare.engine.abi.types import ComponentType\n"
        "cache = Cache(sys.argv[1], max_bytes=50_000)\n"
        "for round in range(60):\n"
        "    key = f'{(round * 7 + int(sys.argv[2])) % 20:02x}' * 32\n"
        "    found = cache.find(key)\n"
        "    if found is None: assert cache.put(key, key.encode() * 100, ComponentType())\n"
        "    else:\n"
        "        with found: assert found.code.read() == key.encode() * 100\n"
    )
    processes = [subprocess.Popen([sys.executable, "-c", code, str(folder), str(n)]) for n in range(4)]
    assert [process.wait(60) for process in processes] == [0, 0, 0, 0]
    assert sum(each.size_bytes for each in Cache(folder).entries()) <= 57_000
    assert not list(folder.glob(".new-*"))
