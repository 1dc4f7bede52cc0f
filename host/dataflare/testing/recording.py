"""Records what the host answers to a plugin's calls, and gives the same answers again without network or services.

A recording is a JSON file with the calls in their order. What crosses is written by its WIT type: bytes as text where
they are UTF-8, else in Base64.
"""

from __future__ import annotations

import base64
import functools
import json
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

from dataflare.errors import ConfigError, DataflareError
from dataflare.interfaces import interface_name
from dataflare.locks import Lock
from dataflare.runtime.options import Services
from dataflare.security.atomic_files import write_atomically
from dataflare.user_files import read_file
from dataflare.values import Err, Ok, Variant
from dataflare.wit import model as wit
from dataflare.wit.standard import standard

__all__ = ["RECORD_VARIABLE", "UnexpectedCall", "recorded_calls"]

RECORD_VARIABLE: Final = "DATAFLARE_RECORD"
"""If this variable of the environment is set, `recorded_calls` records anew."""
_MAX_BYTES: Final = 256 * 2**20
_VERSION: Final = 1


class UnexpectedCall(DataflareError):
    """A plugin called the host in another way than what was recorded; the message names the difference."""


@contextmanager
def recorded_calls(
    file: str | os.PathLike[str],
    *,
    interfaces: Collection[str] = ("http",),
    ignore: Collection[str] = (),
    record: bool | None = None,
    services: Services | None = None,
) -> Iterator[Services]:
    """Give services whose answers come from a recording, or are recorded.

    Where they come from a recording, the host's own functions are not called: no request is sent, no secret is read.
    The plugin still needs its grants. The order of the calls counts, so a plugin has one instance.

    Args:
        file: The recording (JSON).
        interfaces: The short names of the interfaces whose calls are recorded; others are answered by the host.
        ignore: What of the arguments may differ, as dotted names such as `request.timeout-ms` or
            `request.headers.user-agent`.
        record: Whether to call the host and write the recording at the end; `None` where `DATAFLARE_RECORD` is set.
        services: What stands behind the interfaces; `None` for what a host has by default.

    Raises:
        ConfigError: There is no recording, it is not one, or an interface cannot be recorded.
        UnexpectedCall: At the end: a call differed from the recorded one, even if the plugin caught the error, or
            recorded calls were not made.
    """
    records = bool(os.environ.get(RECORD_VARIABLE)) if record is None else record
    path = Path(file)
    calls = _Calls({interface_name(each): each for each in interfaces}, frozenset(ignore))
    if not records:
        calls.recorded = _read(path)
    given = services or Services()
    yield replace(given, wrap=lambda _plugin, _pipeline: calls.recording if records else calls.replaying)
    if records:
        text = json.dumps({"version": _VERSION, "calls": calls.recorded}, indent=2, ensure_ascii=False)
        write_atomically(path, f"{text}\n".encode())
    else:
        calls.finish()


def _read(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        hint = f"run the test once with {RECORD_VARIABLE}=1, and with what it calls"
        raise ConfigError("there is no recording", where=str(path), hint=hint)
    try:
        found = json.loads(read_file(path, _MAX_BYTES))
        calls = found["calls"] if found["version"] == _VERSION else None
    except (ValueError, KeyError, TypeError, RecursionError):
        calls = None
    keys = {"call", "arguments", "result"}
    if not isinstance(calls, list) or not all(isinstance(each, dict) and each.keys() == keys for each in calls):
        hint = f"record it again with {RECORD_VARIABLE}=1"
        raise ConfigError(f"is not a recording of version {_VERSION}", where=str(path), hint=hint)
    return calls


class _Calls:
    def __init__(self, interfaces: Mapping[str, str], ignore: frozenset[str]) -> None:
        self.recorded: list[dict[str, Any]] = []
        self._interfaces = interfaces
        self._ignore = ignore
        self._at = 0
        self._wrong: UnexpectedCall | None = None
        self._lock = Lock()
        self._types = _Types()

    def recording(self, interface: str, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Call the host, and write down what it answers."""
        found = self._found(interface, name)
        if found is None:
            return function

        @functools.wraps(function)
        def call(*arguments: Any) -> Any:
            result = function(*arguments)
            entry = self._entry(interface, found, arguments)
            with self._lock:
                self.recorded.append({**entry, "result": self._types.written(result, found.result)})
            return result

        return call

    def replaying(self, interface: str, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Answer as it was recorded."""
        found = self._found(interface, name)
        if found is None:
            return function

        @functools.wraps(function)
        def call(*arguments: Any) -> Any:
            entry = self._entry(interface, found, arguments)
            with self._lock:
                at, self._at = self._at, self._at + 1
                if difference := self._difference(at, entry):
                    self._wrong = self._wrong or UnexpectedCall(
                        f"call {at + 1} of the host is not the recorded one: {difference}",
                        hint=f"if the new call is right, record again with {RECORD_VARIABLE}=1",
                    )
                    raise self._wrong
            return self._types.read(self.recorded[at]["result"], found.result)

        return call

    def finish(self) -> None:
        """Raise what went wrong."""
        if self._wrong is not None:
            raise self._wrong
        if left := self.recorded[self._at :]:
            what = f"{len(left)} recorded calls were not made, the first {_shown(left[0])}"
            raise UnexpectedCall(what, hint=f"record again with {RECORD_VARIABLE}=1")

    def _found(self, interface: str, name: str) -> wit.Function | None:
        if interface not in self._interfaces:
            return None
        function = next((each for each in standard().interface(interface).functions if each.name == name), None)
        if function is None or not self._types.carries(function):
            what = f"{self._interfaces[interface]}: its values are handles, which no file holds"
            raise ConfigError(what, where="interfaces", hint="leave it out: the host answers")
        return function

    def _entry(self, interface: str, function: wit.Function, arguments: tuple[Any, ...]) -> dict[str, Any]:
        pairs = zip(function.parameters, arguments, strict=True)
        written = {each.name: self._types.written(value, each.type) for each, value in pairs}
        return {"call": f"{self._interfaces[interface]}.{function.name}", "arguments": written}

    def _difference(self, at: int, entry: Mapping[str, Any]) -> str:
        if at >= len(self.recorded):
            return f"{_shown(entry)} comes after the last recorded call"
        known = self.recorded[at]
        if known["call"] != entry["call"]:
            return f"it is {_shown(entry)}, and {_shown(known)} was recorded"
        return _different(known["arguments"], entry["arguments"], "", self._ignore)


def _different(known: Any, given: Any, path: str, ignore: frozenset[str]) -> str:
    """The first difference between two values of JSON, in words; empty where there is none."""
    if path in ignore:
        return ""
    if isinstance(known, dict) and isinstance(given, dict):
        for name in (*known, *(each for each in given if each not in known)):
            inner = f"{path}.{name}" if path else name
            if name not in known or name not in given:
                if inner not in ignore:
                    have, had = given.get(name, "absent"), known.get(name, "absent")
                    return f"{inner} is {_cut(have)}, and {_cut(had)} was recorded"
            elif found := _different(known[name], given[name], inner, ignore):
                return found
        return ""
    if _is_pairs(known) and _is_pairs(given):
        return _different(_by_name(known), _by_name(given), path, ignore)
    return "" if known == given else f"{path} is {_cut(given)}, and {_cut(known)} was recorded"


def _is_pairs(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, list) and len(each) == 2 for each in value)


def _by_name(pairs: list[Any]) -> dict[str, list[Any]]:
    """Headers by their names: their order does not count, that of the values of one name does."""
    found: dict[str, list[Any]] = {}
    for name, value in pairs:
        found.setdefault(str(name).lower(), []).append(value)
    return found


def _cut(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 200 else f"{text[:200]}..."


def _shown(entry: Mapping[str, Any]) -> str:
    return f"{entry['call']}({_cut(entry['arguments'])})"


class _Types:
    """Values of the host's functions as JSON, by their WIT types."""

    def __init__(self) -> None:
        self._definitions = {
            (name, each.name): each for name, interface in standard().interfaces() for each in interface.types
        }

    def carries(self, function: wit.Function) -> bool:
        """Whether all values of a function can be written."""
        return all(map(self._can, [*(each.type for each in function.parameters), function.result]))

    def _can(self, kind: wit.Type | None) -> bool:
        match kind:
            case wit.Borrow():
                return False
            case wit.Named(owner=owner, name=name):
                match self._definitions[owner, name]:
                    case wit.Resource():
                        return False
                    case wit.Record(fields=fields):
                        return all(self._can(each.type) for each in fields)
                    case wit.Variant(cases=cases):
                        return all(self._can(each.payload) for each in cases)
                    case wit.Alias(type=aliased):
                        return self._can(aliased)
                return True
            case wit.ListOf(element=inner) | wit.OptionOf(some=inner):
                return self._can(inner)
            case wit.TupleOf(items=items):
                return all(map(self._can, items))
            case wit.ResultOf(ok=ok, error=error):
                return self._can(ok) and self._can(error)
        return True

    def written(self, value: Any, kind: wit.Type | None) -> Any:
        """A value as JSON."""
        match kind:
            case None:
                return None
            case wit.ListOf(element=wit.Primitive(name="u8")):
                return _bytes_written(bytes(value))
            case wit.ListOf(element=element):
                return [self.written(each, element) for each in (value.tolist() if hasattr(value, "tolist") else value)]
            case wit.OptionOf(some=some):
                return None if value is None else {"some": self.written(value, some)}
            case wit.TupleOf(items=items):
                return [self.written(each, item) for each, item in zip(value, items, strict=True)]
            case wit.ResultOf(ok=ok, error=error):
                if isinstance(value, Err):
                    return {"error": self.written(value.error, error)}
                return {"ok": self.written(value.value if isinstance(value, Ok) else value, ok)}
            case wit.Primitive(name="string"):
                return value if isinstance(value, str) else bytes(value).decode()
            case wit.Primitive():
                return value.item() if hasattr(value, "item") else value
            case wit.Named(owner=owner, name=name):
                return self._named_written(value, self._definitions[owner, name])
        raise TypeError(kind)

    def _named_written(self, value: Any, definition: wit.TypeDefinition) -> Any:
        match definition:
            case wit.Record(fields=fields):
                return {each.name: self.written(getattr(value, _snake(each.name)), each.type) for each in fields}
            case wit.Variant(cases=cases):
                payload = next(each.payload for each in cases if each.name == value.case)
                return {value.case: self.written(value.value, payload)}
            case wit.Flags():
                return sorted(value)
            case wit.Alias(type=aliased):
                return self.written(value, aliased)
        return value

    def read(self, value: Any, kind: wit.Type | None) -> Any:
        """A value of JSON as the host has it."""
        match kind:
            case None:
                return None
            case wit.ListOf(element=wit.Primitive(name="u8")):
                return value["text"].encode() if "text" in value else base64.b64decode(value["base64"])
            case wit.ListOf(element=element):
                return [self.read(each, element) for each in value]
            case wit.OptionOf(some=some):
                return None if value is None else self.read(value["some"], some)
            case wit.TupleOf(items=items):
                return tuple(self.read(each, item) for each, item in zip(value, items, strict=True))
            case wit.ResultOf(ok=ok, error=error):
                if "error" in value:
                    return Err(self.read(value["error"], error))
                return Ok(self.read(value["ok"], ok))
            case wit.Named(owner=owner, name=name):
                return self._named_read(value, self._definitions[owner, name])
        return value

    def _named_read(self, value: Any, definition: wit.TypeDefinition) -> Any:
        match definition:
            case wit.Record(fields=fields):
                parts = {_snake(each.name): self.read(value[each.name], each.type) for each in fields}
                return SimpleNamespace(**parts)
            case wit.Variant(cases=cases):
                ((case, payload),) = value.items()
                return Variant(case, self.read(payload, next(each.payload for each in cases if each.name == case)))
            case wit.Flags():
                return frozenset(value)
            case wit.Alias(type=aliased):
                return self.read(value, aliased)
        return value


def _bytes_written(value: bytes) -> dict[str, str]:
    try:
        return {"text": value.decode()}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value).decode()}


def _snake(name: str) -> str:
    return name.replace("-", "_")
