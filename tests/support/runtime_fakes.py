"""An engine whose components are Python classes, with shapes made of the standard's own WIT."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from types import SimpleNamespace
from typing import Any

import pyarrow as pa

from dataflare.data.batches import Batch
from dataflare.data.schemas import to_wit
from dataflare.engine.abi import types as t
from dataflare.errors import ConfigError, GuestPanic, NotAComponent
from dataflare.interfaces import interface_name
from dataflare.limits import Limits
from dataflare.runtime.datasets import Target
from dataflare.runtime.destination import Destination
from dataflare.testing.shapes import plugin_shape
from dataflare.values import Err, Ok, Variant
from dataflare.wit.catalog import Catalog
from dataflare.wit.standard import standard


@cache
def catalog() -> Catalog:
    return standard()


class Trap(Exception):
    """What a fake guest raises to trap."""


def failed(case: str, value: Any = None) -> Err[Any]:
    return Err(Variant(case, value))


class Guest:
    """A guest whose lifecycle succeeds. `self.host(interface, function, ...)` calls the host."""

    kind = "processor"
    capabilities: tuple[str, ...] = ()

    def __init__(self, host: Callable[..., Any]) -> None:
        self.host = host
        self.life: list[str] = []

    def get_metadata(self) -> Any:
        return SimpleNamespace(
            name="fake", version="1.2.3", kind=self.kind, description="a fake", config_schema='{"type": "object"}'
        )

    def configure(self, config: str) -> Any:
        self.life.append("configure")
        self.config = config
        return Ok()

    def initialize(self) -> Any:
        self.life.append("initialize")
        return Ok()

    def shutdown(self) -> Any:
        self.life.append("shutdown")
        return Ok()

    def health_check(self) -> Any:
        return SimpleNamespace(status="healthy", message="")


class Upper(Guest):
    kind = "processor"

    def process(self, input: str) -> Any:
        if input == "trap":
            raise Trap("unreachable")
        if input == "wrong":
            return failed("invalid-input", "not mine")
        return Ok(None if input == "drop" else input.upper())

    def process_batch(self, input: Batch) -> Any:
        return Ok(input.slice(0, max(0, input.num_rows() - 1)))


class Numbers(Guest):
    """A source of the numbers 0 to 5, two a chunk; its state is the next one, its parts are `begin-end`."""

    kind = "source"
    trap_at: int | None = None
    change_schema_at: int | None = None
    schema = pa.schema([pa.field("n", pa.int64())])

    def __init__(self, host: Callable[..., Any]) -> None:
        super().__init__(host)
        self.next: int | None = None
        self.end = 6
        self.acknowledged: list[bytes] = []
        self.opened: list[Any] = []

    def discover(self) -> Any:
        name = SimpleNamespace(name="numbers", namespace="")
        modes = frozenset({"full", "incremental", "splittable"})
        schema = to_wit(self.schema)
        return Ok([SimpleNamespace(name=name, description="", schema=schema, key=["n"], cursors=["n"], modes=modes)])

    def split(self, selections: Any, state: bytes | None, at_most: int) -> Any:
        begin = int(state or b"0")
        middle = (begin + 6) // 2
        parts = [f"{begin}-{middle}".encode(), f"{middle}-6".encode()][:at_most]
        return Ok(SimpleNamespace(parts=parts, rest=b"6"))

    def estimate(self, selections: Any, part: bytes | None, state: bytes | None) -> Any:
        return Ok(SimpleNamespace(rows=6 - int(state or b"0"), exact=True))

    def open(self, selections: Any, part: bytes | None, state: bytes | None) -> Any:
        self.opened = list(selections)
        if state is not None and not state.isdigit():
            return failed("invalid-state", "not a state of mine")
        begin, self.end = (0, 6) if part is None else map(int, part.split(b"-"))
        self.next = begin if state is None else int(state)
        return Ok([to_wit(self.schema)])

    def read(self, max_rows: int) -> Any:
        start = self.next
        assert start is not None
        if start == self.trap_at:
            type(self).trap_at = None
            raise Trap("unreachable")
        if start >= self.end:
            return Ok(Variant("ended"))
        array = pa.array(range(start, min(start + 2, start + max_rows, self.end)), pa.int64())
        self.next = start + len(array)
        if start == self.change_schema_at:
            array = array.cast(pa.string())
        rows = Batch(pa.RecordBatch.from_arrays([array], ["n"]))
        return Ok(Variant("rows", SimpleNamespace(selection=0, rows=rows, state=str(self.next).encode())))

    def acknowledge(self, state: bytes) -> Any:
        self.acknowledged.append(state)
        return Ok()

    def close(self) -> Any:
        self.next = None
        return Ok()


class Shelf(Guest):
    """A destination that publishes rows into `shelf` when a run finishes."""

    kind = "destination"
    shelf: list[int]
    kept: dict[str, bytes]
    trap_in: str = ""
    rejects: tuple[int, ...] = ()
    changes: tuple[str, ...] = ("add-columns", "widen-columns")

    def __init__(self, host: Callable[..., Any]) -> None:
        super().__init__(host)
        self.run: list[int] | None = None
        self.pipeline = ""

    def abilities(self) -> Any:
        return Ok(frozenset({"append", "merge", "keep-token", *self.changes}))

    def plan(self, targets: Any) -> Any:
        return Ok([SimpleNamespace(target=0, kind="create", detail="a shelf")])

    def open(self, run: Any, targets: Any) -> Any:
        self._trap("open")
        self.run, self.pipeline = [], run.pipeline
        return Ok(getattr(type(self), "kept", {}).get(run.pipeline))

    def write(self, target: int, rows: Batch) -> Any:
        self._trap("write")
        if self.run is None:
            return failed("unsupported", "no run")
        values = rows.arrow.column(0).to_pylist()
        self.run += [value for row, value in enumerate(values) if row not in self.rejects]
        return Ok([SimpleNamespace(row=row, column="n", reason="no") for row in self.rejects])

    def change_schema(self, target: int, schema: Any) -> Any:
        return Ok()

    def flush(self, token: bytes) -> Any:
        self._trap("flush")
        return Ok(False)

    def finish(self, token: bytes) -> Any:
        self._trap("finish")
        if self.run is None:
            return failed("unsupported", "no run")
        self.shelf[:] = self.run
        if hasattr(type(self), "kept"):
            self.kept[self.pipeline] = token
        return Ok()

    def abort(self) -> Any:
        self.run = None
        return Ok()

    def _trap(self, function: str) -> None:
        if type(self).trap_in == function:
            type(self).trap_in = ""
            raise Trap("unreachable")


class Doubler(Guest):
    """A transformer that doubles `n`, and breaks its promise where `result_type` says so."""

    kind = "transformer"
    result_type = pa.int64()

    def output_schema(self, input: Any) -> Any:
        if [each.name for each in input.fields] != ["n"]:
            return failed("data", Variant("no-such-column", "n"))
        return Ok(to_wit(pa.schema([("n", pa.int64())])))

    def transform(self, input: Batch) -> Any:
        values = [2 * value for value in input.arrow.column(0).to_pylist()]
        return Ok(Batch(pa.RecordBatch.from_arrays([pa.array(values).cast(self.result_type)], ["n"])))


class Positive(Guest):
    """A validator that wants `n` to be over 0; tests change its report by `tamper`."""

    kind = "validator"
    tamper: Callable[[Any], None] = staticmethod(lambda report: None)

    def rules(self) -> Any:
        return Ok([SimpleNamespace(name="positive", description="n is over 0", severity="error")])

    def validate(self, input: Batch) -> Any:
        values = input.arrow.column(0).to_pylist()
        violations = [
            SimpleNamespace(row=row, column="n", rule="positive", severity="error", message=f"{value} is not over 0")
            for row, value in enumerate(values)
            if value <= 0
        ]
        counts = [SimpleNamespace(rule="positive", violations=len(violations))]
        report = SimpleNamespace(rows_checked=len(values), counts=counts, violations=violations)
        self.tamper(report)
        return Ok(report)


@dataclass
class FakeStats:
    calls: int = 0
    wall_ns: int = 0
    marshal_ns: int = 0
    host_ns: int = 0
    host_calls: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    memory_bytes: int = 0
    host_peak_bytes: int = 0


class FakeInstance:
    def __init__(self, guest: type[Guest], name: str, host: Mapping[str, Mapping[str, Any]], log_lines: Any) -> None:
        self.stats = FakeStats(memory_bytes=65_536)
        self.alive = True
        self.embedder: Any = None
        self.closed = 0
        self._name = name
        self._host = host
        self._log_lines = log_lines
        self.guest = guest(self._call_host)
        self.calls: list[str] = []

    def call(self, interface: str, function: str, *args: Any) -> Any:
        assert self.alive, "a call of an instance that is gone"
        self.calls.append(function)
        self.stats.calls += 1
        self.stats.wall_ns += 10
        try:
            return getattr(self.guest, function.replace("-", "_"))(*args)
        except Trap as trap:
            self.alive = False
            raise GuestPanic(
                str(trap), plugin=self._name, export=f"{interface}#{function}", log_lines=self._log_lines()
            ) from trap
        except BaseException:
            self.alive = False
            raise

    def drop(self, resource: Any) -> None:
        raise AssertionError("a fake has no resources")

    def interrupt(self) -> None:
        pass

    def close(self) -> None:
        self.closed += 1
        self.alive = False
        self.stats.memory_bytes = 0

    def _call_host(self, short: str, function: str, *args: Any) -> Any:
        self.stats.host_calls += 1
        return self._host[interface_name(short)][function](*args)


class FakeComponent:
    def close(self) -> None:
        pass

    def __init__(self, guest: type[Guest], name: str, shape: t.ComponentType) -> None:
        self.name = name
        self.digest = f"sha256:{guest.__name__}"
        self.shape = shape
        self.flattened = False
        self.instances: list[FakeInstance] = []
        self._guest = guest

    def instantiate(self, host: Any, *, limits: Limits, log_lines: Any = tuple, stderr: Any = None) -> FakeInstance:
        for name, interface in self.shape.imports.items():
            for function in interface.funcs:
                if function not in host.get(name, {}):
                    raise ConfigError(f"{name}#{function} is missing")
        instance = FakeInstance(self._guest, self.name, host, log_lines)
        self.instances.append(instance)
        return instance


@dataclass
class FakeOpenComponent:
    """What `FakeEngine.open` gives."""

    engine: FakeEngine
    binary: bytes
    name: str
    shape: t.ComponentType

    def compile(self) -> FakeComponent:
        return self.engine.compile(self.binary, self.name, self.shape)


@dataclass
class FakeEngine:
    """An engine; `add` makes the contents of a component of a guest's class."""

    closed: int = 0
    loads: list[str] = field(default_factory=list)
    components: list[FakeComponent] = field(default_factory=list)
    _known: dict[bytes, tuple[type[Guest], t.ComponentType]] = field(default_factory=dict)

    def add(self, guest: type[Guest], shape: t.ComponentType | None = None) -> bytes:
        binary = f"{guest.__name__} {len(self._known)}".encode()
        self._known[binary] = (guest, shape or plugin_shape(guest.kind, guest.capabilities))
        return binary

    @property
    def instances(self) -> list[FakeInstance]:
        return [instance for component in self.components for instance in component.instances]

    def shape(self, binary: bytes, *, name: str) -> t.ComponentType:
        if binary not in self._known:
            raise NotAComponent("is not a component", component=name)
        return self._known[binary][1]

    def why_bridges(self, binary: bytes, *, name: str) -> str:
        return "it is a fake"

    @contextmanager
    def open(
        self, binary: bytes, *, name: str, file: str = "", fuel: bool = False, timed: bool = True
    ) -> Iterator[FakeOpenComponent]:
        yield FakeOpenComponent(self, binary, name, self.shape(binary, name=file or name))

    def compile(self, binary: bytes, name: str, shape: t.ComponentType) -> FakeComponent:
        guest = self._known[binary][0]
        self.loads.append(name)
        component = FakeComponent(guest, name, shape)
        self.components.append(component)
        return component

    def remaining_s(self) -> float:
        return math.inf

    def close(self) -> None:
        self.closed += 1


def numbers(*values: int) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array(values, pa.int64())], ["n"])


def run_of(load: Callable[..., Any], shelf: list[int], **attributes: Any) -> Any:
    """A destination whose run is open, for rows of `numbers`."""
    destination = load(Shelf, Destination, shelf=shelf, **attributes)
    destination.open(Target("rows", numbers().schema))
    return destination
