"""Attacks on compiled code: by processes that write, clear and cut the cache at once, and by forks."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

import wasmtime

from arena import Arena, Mutation, answers, attack, bystander
from attacks_arrow import survives
from dataflare.engine.cache import Cache, Entry
from dataflare.engine.compile_profile import CompileProfile
from dataflare.engine.engine import Engine
from dataflare.errors import UnsupportedComponent
from dataflare.runtime.host import Host
from plugin_wat import hostile


def loads(folder: Path, binary: bytes | None = None) -> None:
    """Load a plugin with a cache, and call it."""
    with Engine(cache_dir=folder) as engine, Host(engine=engine) as host:
        plugin = host.load(bystander().binary if binary is None else binary, name="plugin")
        assert plugin.process(bystander().order("nothing")) is None  # type: ignore[attr-defined]


def code_of(folder: Path) -> Path:
    """The file of the only code in a cache."""
    (code,) = folder.glob("*.cwasm")
    return code


@attack("limits")
def compiler_that_a_fork_left_behind(arena: Arena) -> None:
    """Have a fork compile with a host of its own: the compiler's threads are its parent's, and it waits forever."""
    loads(arena.folder / "cache")

    def run() -> None:
        signal.setitimer(signal.ITIMER_REAL, arena.patience_s)
        loads(arena.folder / "cache", hostile({"nothing": "", "new": ""}).binary)

    survives(run)


@attack("files-in")
def code_cut_between_its_check_and_its_use(arena: Arena) -> None:
    """Cut, empty or remove a file of compiled code, or put a link in its place, once it was found to be sound."""
    folder = arena.folder / "cache"
    loads(folder)
    real = Cache.find
    whole = code_of(folder).read_bytes()

    def cut(size: int) -> None:
        os.truncate(code_of(folder), size)

    def link() -> None:
        code_of(folder).rename(folder / "aside")
        (folder / f"{'0' * 64}.cwasm").write_bytes(b"not code")
        (folder / next(folder.glob("*.json")).with_suffix(".cwasm").name).symlink_to(folder / f"{'0' * 64}.cwasm")

    def run(harm) -> None:  # type: ignore[no-untyped-def]
        def found(cache: Cache, key: str, contents: str = "") -> Entry | None:
            entry = real(cache, key, contents)
            if entry is not None and harms:
                harms.pop()()
            return entry

        harms = [harm]
        Cache.find = found  # type: ignore[method-assign]
        try:
            loads(folder)
        finally:
            Cache.find = real  # type: ignore[method-assign]
        assert not harms, "nothing was found, so nothing was tried"

    harms = [*(lambda size=size: cut(size) for size in (0, 1, 64, 4096, len(whole) // 2, len(whole) - 1))]
    for harm in (*harms, lambda: Cache(folder).clear(), link):
        survives(lambda: run(harm))  # noqa: B023  # called at once
        for each in folder.iterdir():
            each.unlink()
        loads(folder)


@attack("files-in")
def code_cut_while_it_is_loaded(arena: Arena) -> None:
    """Have a program of the user open compiled code for writing, which cuts what the host has mapped."""
    loads(arena.folder / "cache")
    assert code_of(arena.folder / "cache").stat().st_mode & 0o777 == 0o400, "it can be opened for writing"


@attack("files-in")
def cache_that_many_use_and_clear(arena: Arena) -> None:
    """Compile, load, clear and cut in five processes at once: each of them gets what it asked for."""
    folder = arena.folder / "cache"
    children = []
    for number in range(5):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                signal.alarm(120)
                for turn in range(6):
                    if number < 3:
                        loads(folder, hostile({"nothing": "", f"n{turn % 2}": ""}).binary)
                    elif number == 3:
                        Cache(folder).clear()
                    else:
                        for each in folder.glob("*.cwasm"):
                            with contextlib.suppress(OSError):
                                each.rename(each.with_suffix(".new")), each.with_suffix(".new").write_bytes(b"")
                code = 0
            finally:
                os._exit(code)
        children.append(child)
    ends = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    assert ends == [0] * 5, ends


@attack("files-in")
def destructor_that_is_a_components_function(arena: Arena) -> None:
    """Have the host load, or only inspect, a component whose destructor ends the compiler, and so the process."""
    binary = bytes(
        wasmtime.wat2wasm(
            """(component
            (component $c (core module $m (func (export "f") (param i32))) (core instance $i (instantiate $m))
              (func (export "f") (param "x" u32) (canon lift (core func $i "f"))))
            (instance $a (instantiate $c)) (core func $d (canon lower (func $a "f")))
            (type (resource (rep i32) (dtor (core func $d))))
            (instance $b (instantiate $c)) (core func $g (canon lower (func $b "f")))
            (core module $m (import "" "f" (func (param i32))))
            (core instance (instantiate $m (with "" (instance (export "f" (func $g)))))))"""
        )
    )

    def run() -> None:
        with Engine(cache_dir=arena.folder / "cache") as engine:
            for read in (engine.shape, engine.load):
                arena.raises(UnsupportedComponent, lambda read=read: read(binary, name="a"), says="a destructor")

    survives(run)


@attack("files-in")
def components_that_multiply(arena: Arena) -> None:
    """Have the host load, or only inspect, a component that instantiates another one twice, and that another, and so
    on, until all time and memory is gone."""
    inner = "".join(
        f"(component $c{n} (alias outer 1 $c{n - 1} (component $c)) (instance (instantiate $c))"
        " (instance (instantiate $c)))"
        for n in range(1, 18)
    )
    binary = bytes(wasmtime.wat2wasm(f"(component (component $c0) {inner} (instance (instantiate $c17)))"))
    with Engine(cache_dir=arena.folder / "cache") as engine:
        for read in (engine.shape, engine.load):
            arena.raises(UnsupportedComponent, lambda read=read: read(binary, name="a"), says="instantiated too often")


def _trusting(_: Engine, profile: CompileProfile, entry: Entry, __: str) -> wasmtime.component.Component:
    return wasmtime.component.Component.deserialize_file(profile.engine, entry.path)


MUTATIONS = [
    Mutation("dataflare.engine.engine:Engine._deserialize", _trusting, ("code_cut_between_its_check_and_its_use",)),
    Mutation("dataflare.engine.cache:_UNUSABLE", (), ("cache_that_many_use_and_clear",)),
    Mutation(
        "dataflare.engine.reading.reflection:check_lowered",
        answers(None),
        ("destructor_that_is_a_components_function",),
    ),
    Mutation("dataflare.engine.reading.reflection:check_instantiations", answers(None), ("components_that_multiply",)),
    Mutation(
        "dataflare.engine.compile_profile:_CompilerThreads.are_here",
        answers(True),
        ("compiler_that_a_fork_left_behind",),
    ),
    Mutation("os:fchmod", answers(None), ("code_cut_while_it_is_loaded",)),
]
