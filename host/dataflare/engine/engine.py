"""The engine: from a component's bytes to something that can be instantiated."""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import wasmtime
from blake3 import blake3
from wasmtime import component as wc

from dataflare.component_binary import check_header, code_end
from dataflare.engine.abi.types import ComponentType, Interface
from dataflare.engine.bridges.compose import BRIDGE_VERSION, compose
from dataflare.engine.cache import Cache, Entry, default_folder
from dataflare.engine.call_codecs import CallCodecs
from dataflare.engine.compile_profile import CompileProfile
from dataflare.engine.component import Component
from dataflare.engine.flat.compose import flatten_component
from dataflare.engine.flat.protocol import FLAT_VERSION
from dataflare.engine.flat.wiring import CannotFlatten
from dataflare.engine.instance import remaining_s
from dataflare.engine.reading.features import refusal
from dataflare.engine.reading.reflection import error_of, not_carried, reflect
from dataflare.errors import ConfigError, NotAComponent, UnsupportedComponent, UsageError
from dataflare.headroom import require_headroom
from dataflare.interruptible import interruptible
from dataflare.shortages import require_memory

__all__ = ["Engine", "OpenComponent"]

_KEPT_SHAPES: Final = 256
_KEPT_CODECS: Final = 64
_COMPILER_BYTES: Final = 64 * 2**20
_COMPILER_SHARE: Final = 16
"""What reading and compiling takes at least: so much, and so many times the component."""


@dataclass(frozen=True, slots=True)
class OpenComponent:
    """A component that is not compiled yet; valid within the `with` block of `Engine.open`.

    Attributes:
        shape: What it imports and exports.
    """

    shape: ComponentType
    _compile: Callable[[], Component]

    def compile(self) -> Component:
        """Compile it, flattened or with its bridges, or take it from the cache.

        Raises:
            UnsupportedComponent: It has something that the engine cannot carry.
        """
        return self._compile()


def _default_flatten() -> bool | None:
    text = os.environ.get("DATAFLARE_FLATTEN", "")
    if text not in ("", "0", "1"):
        raise ConfigError(f"{text!r} is neither 0 nor 1", where="DATAFLARE_FLATTEN")
    return False if text == "0" else None


class Engine:
    """Compiles components. Any thread may use it; a context manager.

    Args:
        cache_dir: The folder for compiled components; `None` for the user's cache folder.
        flatten: `None` flattens each component that can be flattened, and gives the others bridges; if
            `$DATAFLARE_FLATTEN` is 0, all get bridges. `True` refuses components that cannot be flattened. `False`
            gives all of them bridges.
        debug: Whether to compile in half the time, to slower code whose traps name files and lines: for components that
            are tried while they are written.

    Raises:
        ConfigError: Others can write to the folder, or the variable is neither 0 nor 1.
    """

    def __init__(
        self, *, cache_dir: str | os.PathLike[str] | None = None, flatten: bool | None = None, debug: bool = False
    ) -> None:
        self._debug = debug
        self._cache = Cache(default_folder() if cache_dir is None else cache_dir)
        self._profiles: dict[tuple[bool, bool], CompileProfile] = {}
        self._flatten = _default_flatten() if flatten is None else flatten
        self._lock = threading.Lock()
        # Weak: a lock is here only while a load holds it or waits for it.
        self._compiling: weakref.WeakValueDictionary[str, threading.Lock] = weakref.WeakValueDictionary()
        self._shapes: dict[str, ComponentType] = {}
        self._codecs: dict[str, CallCodecs] = {}
        self._closed = False
        _engines.add(self)

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop the engine's threads; idempotent. Close all instances first."""
        with self._lock:
            self._closed = True
            profiles, self._profiles = list(self._profiles.values()), {}
        for profile in profiles:
            profile.close()

    def shape(self, binary: bytes, *, name: str) -> ComponentType:
        """Return what a component imports and exports; nothing of it is compiled or run.

        Args:
            binary: The component.
            name: Its name, for errors.

        Raises:
            NotAComponent: The bytes are not a valid component.
            UnsupportedComponent: It has an import or export that the engine cannot carry.
        """
        _require_room(binary)
        check_header(binary, name)
        identity, _ = _digests(binary)
        return self._shape(binary, identity, name, frozenset())

    def _shape(self, binary: bytes, identity: str, name: str, hosted: frozenset[str]) -> ComponentType:
        """Return a component's type: from memory, from the cache, or by reflection."""
        with self._lock:
            known = self._shapes.get(identity)
        if known is None:
            self._profile(False, True)
            profiles = list(self._profiles.values())
            found = (self._cache.find_shape(_key(identity, profile, flat=self._flatten)) for profile in profiles)
            known = next((shape for shape in found if shape is not None), None)
            known = known or self._reflect(binary, name, hosted)
            with self._lock:
                if len(self._shapes) >= _KEPT_SHAPES:
                    self._shapes.pop(next(iter(self._shapes)))
                self._shapes[identity] = known
        return known

    def _reflect(self, binary: bytes, name: str, hosted: frozenset[str] = frozenset()) -> ComponentType:
        return reflect(self._profile(False, True).compiler, binary, name, hosted=hosted)

    def load(
        self,
        binary: bytes,
        *,
        name: str,
        file: str = "",
        fuel: bool = False,
        timed: bool = True,
        hosted: frozenset[str] = frozenset(),
    ) -> Component:
        """Compile a component, or take it from the cache: `open` and `compile` in one step.

        Raises:
            NotAComponent: The bytes are not a valid component.
            UnsupportedComponent: It has something that the engine cannot carry.
        """
        with self.open(binary, name=name, file=file, fuel=fuel, timed=timed, hosted=hosted) as found:
            return found.compile()

    @contextlib.contextmanager
    def open(
        self,
        binary: bytes,
        *,
        name: str,
        file: str = "",
        fuel: bool = False,
        timed: bool = True,
        hosted: frozenset[str] = frozenset(),
    ) -> Iterator[OpenComponent]:
        """Read a component, so that its type can be checked before anything of it is compiled.

        Args:
            binary: The component.
            name: The plugin's name, for its faults.
            file: The component's name in errors about the file itself; empty for `name`.
            fuel: Whether to count its work; needed for `Limits.fuel`, and slower.
            timed: Whether a time limit can end its calls; needed unless `Limits.call_timeout_s` is `None`.
            hosted: WASI interfaces that the caller implements instead of wasmtime.

        Returns:
            A context manager that gives the component. Compile it within the `with` block. Other threads that load the
            same component wait.

        Raises:
            NotAComponent: The bytes are not a valid component.
            UnsupportedComponent: It has something that the engine cannot carry.
        """
        _require_room(binary)
        source = file or name
        check_header(binary, source)
        profile = self._profile(fuel, timed)
        code, contents = _digests(binary)
        identity = " ".join([code, *sorted(hosted)])
        key = _key(identity, profile, flat=self._flatten)
        with self._lock:
            lock = self._compiling.setdefault(key, threading.Lock())
        with lock, ExitStack() as opened:
            entry = self._cache.find(key, contents)
            if entry is not None:
                opened.enter_context(entry)
            digest = "" if entry is None else entry.digest
            if not digest:
                digest = f"sha256:{hashlib.sha256(binary).hexdigest()}"
                if entry is not None:
                    self._cache.rename(key, plugin=name, digest=digest, contents=contents)
            shape = self._shape(binary, identity, source, hosted) if entry is None else entry.shape

            def compile_it() -> Component:
                compiled = None if entry is None else self._deserialize(profile, entry, key)
                from_cache, composed = compiled is not None, shape
                if compiled is None:
                    if any(interface == Interface() for interface in shape.wasi.values()):
                        # Composing also needs WASI's types, which the cache does not store.
                        composed = self._reflect(binary, source, hosted)
                    compiled = self._compile(profile, binary, composed, source)
                    self._cache.put(key, compiled.serialize(), composed, plugin=name, digest=digest, contents=contents)
                component = Component(
                    profile,
                    compiled,
                    composed,
                    self._codecs_of(identity, composed),
                    name=name,
                    digest=digest,
                    from_cache=from_cache,
                )
                if self._flatten and not component.flattened:
                    why = self.why_bridges(binary, name=source)
                    raise UnsupportedComponent(
                        f"cannot be flattened: {why}", component=source, hint="flatten=None gives it bridges"
                    )
                return component

            yield OpenComponent(shape, compile_it)

    def _codecs_of(self, identity: str, shape: ComponentType) -> CallCodecs:
        """Return the codecs of a component, made once for all its loads."""
        with self._lock:
            codecs = self._codecs.pop(identity, None) or CallCodecs(shape)
            self._codecs[identity] = codecs  # at the end: the first is the least recently used
            if len(self._codecs) > _KEPT_CODECS:
                del self._codecs[next(iter(self._codecs))]
            return codecs

    @property
    def flatten(self) -> bool | None:
        """The argument `flatten` of the class."""
        return self._flatten

    @property
    def cache_dir(self) -> Path:
        """The folder for compiled components."""
        return self._cache.folder

    def remaining_s(self) -> float:
        """Return the seconds left for the plugin call that this thread is in; infinity if it is in none."""
        return remaining_s()

    def _deserialize(self, profile: CompileProfile, entry: Entry, key: str) -> wc.Component | None:
        try:
            if path := entry.path:
                return wc.Component.deserialize_file(profile.engine, path)
            return wc.Component.deserialize(profile.engine, entry.code.read())
        except wasmtime.WasmtimeError:
            # Made on another kind of processor, say.
            self._cache.discard(key)
            return None

    def _compile(self, profile: CompileProfile, binary: bytes, shape: ComponentType, name: str) -> wc.Component:
        if self._flatten is not False:
            # A component gets bridges if it cannot be flattened, or if wasmtime refuses the flattened form.
            with contextlib.suppress(CannotFlatten, wasmtime.WasmtimeError):
                return self._compile_joined(profile, flatten_component(binary, shape))
        try:
            return self._compile_joined(profile, compose(binary, shape, component=name))
        except wasmtime.WasmtimeError as error:
            own = error_of(profile.compiler, binary)
            if own is None:
                raise not_carried(error, name) from error
            raise refusal(own, name, binary) from error

    def _compile_joined(self, profile: CompileProfile, joined: bytes) -> wc.Component:
        compiled = interruptible(lambda: wc.Component(profile.compiler, joined))
        if profile.compiler is not profile.engine:
            compiled = wc.Component.deserialize(profile.engine, compiled.serialize())
        return compiled

    def why_bridges(self, binary: bytes, *, name: str) -> str:
        """Say why this engine gives a component bridges; empty if it is flattened.

        Raises:
            NotAComponent: The bytes are not a valid component.
            UnsupportedComponent: It has an import or export that the engine cannot carry.
        """
        if self._flatten is False:
            return "the engine flattens nothing"
        try:
            flatten_component(binary, self._reflect(binary, name))
        except CannotFlatten as error:
            return str(error)
        return ""

    def _profile(self, fuel: bool, timed: bool) -> CompileProfile:
        with self._lock:
            if self._closed:
                raise UsageError("the engine is closed")
            key = (fuel, timed)
            if key not in self._profiles:
                self._profiles[key] = CompileProfile(fuel=fuel, timed=timed, debug=self._debug)
            return self._profiles[key]


def _after_fork() -> None:
    """Other threads may have held these locks; in the child there are no other threads."""
    for engine in list(_engines):
        engine._lock = threading.Lock()
        engine._compiling = weakref.WeakValueDictionary()


_engines: Final[weakref.WeakSet[Engine]] = weakref.WeakSet()
os.register_at_fork(after_in_child=_after_fork)


def _require_room(binary: bytes) -> None:
    """Fail now where native code would: it ends the process if it gets no memory."""
    require_headroom()
    require_memory(_COMPILER_BYTES + _COMPILER_SHARE * len(binary), "reading and compiling a plugin")


def _digests(binary: bytes) -> tuple[str, str]:
    """Return the digests of a component without the custom sections at its end, and of all of it.

    A plugin's manifest and signatures are such sections: they do not change the compiled code. The digests are BLAKE3,
    which takes a fifth of SHA-256's time: half of the time to load a plugin that brings an interpreter.
    """
    whole = memoryview(binary)
    try:
        end = code_end(whole)
    except NotAComponent:
        end = len(whole)  # whoever reads it says what is wrong
    digest = blake3(whole[:end])
    code = digest.hexdigest()
    digest.update(whole[end:])
    return code, digest.hexdigest()


def _key(identity: str, profile: CompileProfile, *, flat: bool | None) -> str:
    """Return the cache key of a compiled component."""
    way = f"bridge={BRIDGE_VERSION}" + ("" if flat is False else f" flat={FLAT_VERSION}")
    return hashlib.sha256(f"{identity} {profile.identity} {way}".encode()).hexdigest()
