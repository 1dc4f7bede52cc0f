"""Runs `.wast` scripts of components: what they assert of values, of traps, and of what is not valid.

    python tests/wast/wast_run.py FILE_OR_FOLDER... [--reach flat|bridges|both] [--verbose]

The suites are those of the component model (https://github.com/WebAssembly/component-model, folder `test`) and of
wasmtime (https://github.com/bytecodealliance/wasmtime, folder `tests/misc_testsuite/component-model`); fetch them, and
give their folders. Each command of a script has an outcome:

- `passed`: the value is right, the trap came, what is not valid was refused;
- `refused`: the component has something that the engine says, by name, that it does not carry (async functions, say);
- `apart`: it takes something that is not about one component (linking of several, core modules, other hosts), or this
  version of wasmtime does not take the component for valid, or it lets a call through that ought to trap: what a
  component does within itself is wasmtime's. For wasmtime 50 these are two calls between a component and one within it;
- `failed`: anything else. One of these, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import wasmtime
from wasmtime import component as wc

from dataflare.engine.component import Component
from dataflare.engine.engine import Engine
from dataflare.engine.instance import Instance
from dataflare.errors import ConfigError, DataflareError, NotAComponent, PluginFault, UnsupportedComponent, UsageError
from dataflare.limits import Limits
from wast_script import Form, Text, atoms, commands, same, value_of

LIMITS: Final = Limits(call_timeout_s=60, memory_bytes=16 * 2**30)
os.environ.setdefault("WAST_STRICT_COMPONENT_INDICES", "0")  # some scripts have the older spelling


class Apart(Exception):
    """A command that is not about one component alone."""


@dataclass
class Outcomes:
    """What came of the commands of some scripts."""

    counts: Counter[str] = field(default_factory=Counter)
    told: list[str] = field(default_factory=list)
    flattened: int = 0
    loaded: int = 0


class Thing:
    """What is behind handles of the host's resources: a number, and who is told of its end."""

    def __init__(self, number: int, drops: list[int]) -> None:
        self.number = number
        self._drops = drops

    def close_handle(self) -> None:
        """The plugin dropped its handle."""
        self._drops.append(self.number)


def host_functions() -> Mapping[str, Mapping[str, Callable[..., Any]]]:
    """What wasmtime's own runner gives to scripts."""
    drops: list[int] = []

    def expect(thing: Thing, number: int) -> None:
        drops.append(thing.number)  # what is handed over is not kept
        if thing.number != number:
            raise ConfigError(f"{thing.number} is not {number}")

    resource = {
        "[constructor]resource1": lambda number: Thing(number, drops),
        "[static]resource1.assert": expect,
        "[static]resource1.last-drop": lambda: drops[-1],
        "[static]resource1.drops": lambda: len(drops),
        "[method]resource1.simple": lambda thing, number: _expect_number(thing, number),
        "[method]resource1.take-borrow": lambda thing, other: None,
        "[method]resource1.take-own": lambda thing, other: drops.append(other.number),
    }
    return {
        "": {"host-echo-u32": lambda value: value, "host-return-two": lambda: 2},
        "host": {"return-three": lambda: 3, **resource},
    }


def _expect_number(thing: Thing, number: int) -> None:
    if thing.number != number:
        raise ConfigError(f"{thing.number} is not {number}")


class Script:
    """Runs the commands of one script."""

    def __init__(self, engine: Engine, path: Path, outcomes: Outcomes) -> None:
        self._engine = engine
        self._wasmtime = wasmtime.Engine()
        self._path = path
        self._source = path.read_text()
        self._outcomes = outcomes
        self._definitions: dict[str, bytes] = {}
        self._instances: dict[str, Instance] = {}
        self._binaries: dict[Instance, bytes] = {}
        self._current: Instance | Exception | None = None

    def run(self) -> None:
        """Run all commands, and keep their outcomes."""
        for form in commands(self._source):
            outcome, why = self._outcome(form)
            self._outcomes.counts[outcome] += 1
            line = self._source.count("\n", 0, form.start) + 1
            self._outcomes.told.append(f"{outcome}: {self._path.name}:{line}: {form.head}: {why}")

    def _outcome(self, form: Form) -> tuple[str, str]:
        try:
            return "passed", self._command(form) or ""
        except Apart as why:
            return "apart", str(why)
        except UnsupportedComponent as why:
            return "refused", why.message
        except NotAComponent as why:
            return ("apart" if self._wasmtime_refuses(form) else "failed"), why.message
        except (DataflareError, AssertionError, LookupError, ValueError) as why:
            return "failed", f"{type(why).__name__}: {str(why).splitlines()[0]}"

    def _wasmtime_refuses(self, form: Form) -> bool:
        """Whether wasmtime, alone, takes a component for invalid."""
        try:
            wc.Component(self._wasmtime, self._binary(form))
        except (NotAComponent, wasmtime.WasmtimeError):
            return True
        return False

    def _command(self, form: Form) -> str | None:
        match form.head:
            case "component":
                return self._component(form)
            case "assert_return":
                invoke, *expected = form.forms()
                results = self._invoke(invoke)
                for form_of, (value, ty) in zip(expected, results, strict=True):
                    assert same(value, value_of(form_of, ty)), f"{value!r} is wrong"
                return None
            case "invoke":
                self._invoke(form)
                return None
            case "assert_trap" | "assert_exhaustion":
                return self._trap(form.forms()[0])
            case "assert_invalid" | "assert_malformed":
                return self._invalid(form.forms()[0])
            case other:
                raise Apart(f"{other} is about several components, or about core modules")

    def _binary(self, form: Form) -> bytes:
        """A component's bytes.

        Raises:
            NotAComponent: Its text is not valid.
        """
        if form.head != "component":
            raise Apart(f"a {form.head}")
        words = form.items[1:]
        while words and type(words[0]) is str and (words[0].startswith("$") or words[0] == "definition"):
            words = words[1:]
        kind = words[0] if words and type(words[0]) is str else ""
        if kind in ("quote", "binary"):
            content = b"".join(item for item in words if isinstance(item, Text))
            if kind == "binary":
                return content
            text = content.decode(errors="replace")
            text = text if text.lstrip().startswith("(component") else f"(component {text})"
        else:
            text = self._source[form.start : form.end].replace("(component definition", "(component", 1)
        try:
            return bytes(wasmtime.wat2wasm(text))
        except wasmtime.WasmtimeError as error:
            raise NotAComponent(str(error).splitlines()[0]) from None

    def _component(self, form: Form) -> str:
        words = atoms(form)
        names = [word for word in words if word.startswith("$")]
        if words[:1] == ["instance"]:
            binary = self._definitions[names[1] if len(names) > 1 else ""]
        else:
            binary = self._binary(form)
        if "definition" in words[:2]:
            self._definitions[names[0] if names else ""] = binary
            return ""
        self._current = None
        try:
            instance = self._instantiate(binary)
        except (DataflareError, Apart) as error:
            self._current = error
            raise
        self._current = instance
        self._binaries[instance] = binary
        if names:
            self._instances[names[0]] = instance
        return "flattened" if instance.component.flattened else self._engine.why_bridges(binary, name="script")

    def _instantiate(self, binary: bytes) -> Instance:
        component: Component = self._engine.load(binary, name="script")
        self._outcomes.loaded += 1
        self._outcomes.flattened += component.flattened
        try:
            return component.instantiate(host_functions(), limits=LIMITS)
        except ConfigError as why:
            raise Apart(f"it imports what this host does not have: {why.message}") from None

    def _target(self, form: Form) -> tuple[Instance, str]:
        """The instance and the name of the function that are called."""
        if form.head != "invoke":
            raise Apart(f"a {form.head}")
        named = next((word for word in atoms(form) if word.startswith("$")), None)
        instance: Any = self._current if named is None else self._instances.get(named)
        if isinstance(instance, (UnsupportedComponent, Apart)):
            raise instance
        if not isinstance(instance, Instance):
            raise Apart("its component is not there")
        return instance, next(item for item in form.items if isinstance(item, Text)).decode()

    def _invoke(self, form: Form) -> list[tuple[Any, Any]]:
        """Call a function; its result, if any, with its type."""
        instance, name = self._target(form)
        func = instance.component.export_codec("", name).link.func
        arguments = [value_of(each, ty) for each, (_, ty) in zip(form.forms(), func.params, strict=True)]
        result = instance.call("", name, *arguments)
        return [] if func.result is None else [(result, func.result)]

    def _trap(self, form: Form) -> str:
        try:
            if form.head == "component":
                self._instantiate(self._binary(form))
            else:
                self._invoke(form)
        except PluginFault as fault:
            return fault.message
        except UsageError as error:
            assert "dead" in str(error), str(error)
            return "it had trapped before"
        if form.head == "invoke" and self._wasmtime_returns(form):
            raise Apart("wasmtime alone does not trap either")
        raise AssertionError("it did not trap")

    def _wasmtime_returns(self, form: Form) -> bool:
        """Whether a function returns where wasmtime runs the component alone, if it is wasmtime that wires it: the host
        took no part in it, neither by generated code nor by functions."""
        instance, name = self._target(form)
        component, store = instance.component, wasmtime.Store(self._wasmtime)
        if component.flattened or component.imports or component.export_codec("", name).link.func.params:
            return False
        try:
            alone = wc.Linker(self._wasmtime).instantiate(store, wc.Component(self._wasmtime, self._binaries[instance]))
            function = alone.get_func(store, name)
            assert function is not None, name
            function(store)
        except wasmtime.WasmtimeError:
            return False
        return True

    def _invalid(self, form: Form) -> str:
        try:
            binary = self._binary(form)
            component = self._engine.load(binary, name="script")
        except NotAComponent as error:
            return error.message
        component.close()
        raise AssertionError("it is taken for valid")


def scripts(paths: list[Path]) -> Iterator[Path]:
    """The scripts in these files and folders, sorted."""
    for path in paths:
        yield from sorted(path.rglob("*.wast")) if path.is_dir() else [path]


def run(paths: list[Path], *, flatten: bool | None) -> Outcomes:
    """Run scripts with an engine of one way."""
    outcomes = Outcomes()
    with tempfile.TemporaryDirectory() as folder, Engine(cache_dir=Path(folder) / "c", flatten=flatten) as engine:
        for path in scripts(paths):
            Script(engine, path, outcomes).run()
    return outcomes


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("paths", type=Path, nargs="+")
    parser.add_argument("--reach", choices=("flat", "bridges", "both"), default="both")
    parser.add_argument("--verbose", action="store_true", help="print every outcome, not only what failed")
    options = parser.parse_args()
    failed = 0
    for name, flatten in (("flat", None), ("bridges", False)):
        if options.reach not in (name, "both"):
            continue
        outcomes = run(options.paths, flatten=flatten)
        for line in outcomes.told:
            if options.verbose or line.startswith("failed"):
                print(line)
        counts = ", ".join(f"{count:,} {outcome}" for outcome, count in sorted(outcomes.counts.items()))
        print(f"{name}: {counts}; {outcomes.flattened:,} of {outcomes.loaded:,} components flattened")
        failed += outcomes.counts["failed"]
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
