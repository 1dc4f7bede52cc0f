"""The base of plugins of all kinds."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import pyarrow as pa

from dataflare.data.batches import Batch
from dataflare.data.schemas import SchemaError, from_wit, to_wit
from dataflare.errors import DataflareError, OutputLimitExceeded, ProtocolFault, UsageError, ValueTypeError
from dataflare.grants import DatasetGrants, Grants
from dataflare.headroom import require_headroom
from dataflare.limits import Limits
from dataflare.locks import Lock
from dataflare.runtime.capabilities import Capabilities
from dataflare.runtime.launch import Launcher, Worker, as_metadata, read_metadata
from dataflare.runtime.pool import InstancePool, Lease, PoolSettings
from dataflare.runtime.ports import Component
from dataflare.runtime.results import Health, PluginStats
from dataflare.runtime.worlds import LIFECYCLE, kind_interface
from dataflare.texts import cut
from dataflare.tracing import span, tracer
from dataflare.wit_types.types import Metadata

if TYPE_CHECKING:
    from dataflare.runtime.behaviour import Watch
    from dataflare.security.behaviour import BatchSample

__all__ = ["Plugin", "PluginParts"]

_CLOSING_GRACE_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginParts:
    """What a plugin is made of.

    Args:
        name: The plugin's name.
        component: The compiled component.
        capabilities: What it may use; the plugin closes it.
        config: The configuration, a JSON object as text.
        grants: What it may use.
        limits: The ceilings of each instance.
        pool: How many instances there are.
        max_batch_bytes: The largest batch that may be made from one of its inputs.
        on_close: Called once, when the plugin is closed.
        remaining_s: The seconds that are left of the call that this thread is within.
        watch: Compares its data calls with its usual behaviour; `None` if it is not watched.
        datasets: What a source or a destination may read or write; `None`: all datasets.
    """

    name: str
    component: Component
    capabilities: Capabilities
    config: str
    grants: Grants
    limits: Limits
    pool: PoolSettings
    max_batch_bytes: int
    on_close: Callable[[Plugin], None]
    remaining_s: Callable[[], float] = lambda: math.inf
    watch: Watch | None = None
    datasets: DatasetGrants | None = None


class Plugin:
    """A loaded plugin. `Host.load` makes one of the subclasses, by the component's kind.

    Instances are made when they are first needed, or by `start`: each is configured and initialized before any other
    call. One that traps is replaced at the next call. Any thread may make calls. Close it, or use it in a `with`.
    """

    kind: ClassVar[str]
    """One of `source`, `destination`, `processor`, `transformer` and `validator`."""

    def __init__(self, parts: PluginParts) -> None:
        self._parts = parts
        self._interface = kind_interface(self.kind)
        self._launcher = Launcher(
            parts.component, parts.capabilities, limits=parts.limits, config=parts.config, plugin=parts.name
        )
        self._pool = InstancePool(
            self._launcher.make,
            self._launcher.end,
            lambda worker: worker.usable,
            settings=parts.pool,
            owner=parts.name,
            remaining_s=parts.remaining_s,
        )
        self._lock = Lock()
        self._tracer = tracer()
        self._metadata: Metadata | None = None
        self._closed = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}{', closed' if self._closed else ''}>"

    @property
    def grants(self) -> Grants:
        """What it may use, by a policy and by what it was loaded with."""
        return self._parts.grants

    @property
    def limits(self) -> Limits:
        """Its ceilings, by a policy and by what it was loaded with."""
        return self._parts.limits

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if not getattr(self, "_closed", True):
            warnings.warn(f"{self!r} was never closed", ResourceWarning, stacklevel=2, source=self)
            # No plugin code may run here, but the open directories must be closed.
            self._parts.capabilities.close()

    @property
    def name(self) -> str:
        """The name that it was loaded under."""
        return self._parts.name

    @property
    def digest(self) -> str:
        """`sha256:...` of the component."""
        return self._parts.component.digest

    @property
    def closed(self) -> bool:
        """Whether it has been closed."""
        return self._closed

    @property
    def most_calls(self) -> int:
        """How many calls it serves at a time; others wait for an instance."""
        return self._parts.pool.maximum

    @property
    def metadata(self) -> Metadata:
        """The plugin's metadata. It is asked for once, in a separate instance that is neither configured nor started.

        Raises:
            PluginFault: It trapped.
            PermissionDenied: It used a capability for it.
            WorldMismatch: It says that it is of another kind.
            UsageError: The plugin is closed.
        """
        with self._lock:
            if self._metadata is None:
                self._require_open()
                self._metadata = read_metadata(self._parts.component, kind=self.kind, limits=self._parts.limits)
            return self._metadata

    def ask_metadata(self) -> Metadata:
        """Ask an instance at work for the metadata again. A plugin has to say the same as in `metadata`; a test asks.

        Raises:
            PluginError: The plugin refused its configuration, or could not get ready.
            PluginFault: It trapped.
            UsageError: The plugin is closed.
        """
        with self._lease() as worker:
            return as_metadata(worker.call(LIFECYCLE, "get-metadata"))

    @property
    def shutdown_error(self) -> DataflareError | None:
        """Why the last `shutdown` failed that did; `None` if none has failed."""
        return self._launcher.shutdown_error

    @property
    def watch(self) -> Watch | None:
        """What compares its calls with its usual behaviour; `None` if it is not watched."""
        return self._parts.watch

    @property
    def stats(self) -> PluginStats:
        """Time and number of all calls, over all instances; available after `close` too."""
        return self._launcher.stats

    @property
    def log_lines(self) -> tuple[str, ...]:
        """The last lines that it logged or wrote to its standard error, oldest first."""
        return self._parts.capabilities.log.last_lines

    def start(self, *, configurations: int = 1) -> Self:
        """Make the first instances now; does nothing if there are enough.

        Args:
            configurations: How often each instance is configured: again only as a test of it does.

        Returns:
            The plugin itself.

        Raises:
            PluginError: It refused its configuration, or could not get ready.
            PluginFault: It trapped.
            UsageError: The plugin is closed.
        """
        self._launcher.configurations = configurations
        self._pool.warm(max(1, self._parts.pool.minimum))
        return self

    def health(self) -> Health:
        """Check the plugin's health.

        Raises:
            PluginError: It has to be started for this, and starting failed.
            PluginFault: It trapped.
            UsageError: The plugin is closed.
        """
        with self._lease() as worker:
            found = worker.call(LIFECYCLE, "health-check")
        return Health(found.status, cut(found.message))

    def close(self) -> None:
        """Shut down all instances and release all resources; idempotent.

        Waits for calls that run in other threads. Errors in a shutdown are logged, not raised.

        Raises:
            RecursionError: The caller is nested too deeply; nothing was closed.
        """
        require_headroom()
        with self._lock:
            if self._closed:
                return
            self._closed = True
        try:
            self._pool.close(wait_s=(self._parts.limits.call_timeout_s or 0.0) + _CLOSING_GRACE_S)
        finally:
            self._parts.component.close()
            try:
                self._parts.capabilities.close()
            finally:
                self._parts.on_close(self)

    def interrupt(self) -> None:
        """End the calls that other threads are in, with `CallCancelled`; any thread may do it.

        Their instances are lost, and the next call gets a new one. A host function that runs is finished first.
        """
        self._launcher.interrupt()

    def _require_open(self) -> None:
        if self._closed:
            raise UsageError(f"plugin {self.name!r} is closed", hint="load it again")

    @contextmanager
    def _lease(self, *, batch: bool = False) -> Iterator[Worker]:
        """Hold an instance exclusively within the block."""
        lease: Lease[Worker] = Lease()
        try:
            yield self._pool.acquire(lease)
        finally:
            self._release(lease, batch)

    def _data_lease(self, rows_in: int, *, batch: bool = True) -> AbstractContextManager[Worker]:
        """Work like `_lease`, for a call with data: observed if the plugin is watched, with a span if there is a
        tracer."""
        if self._tracer is None:
            return self._watched_lease(rows_in, batch)
        return self._traced_lease(rows_in, batch)

    @contextmanager
    def _traced_lease(self, rows_in: int, batch: bool) -> Iterator[Worker]:
        attributes: dict[str, str | int] = {"plugin": self.name, "plugin.digest": self.digest, "rows_in": rows_in}
        with (
            span(self._tracer, f"dataflare.call.{self.kind}", attributes),
            self._watched_lease(rows_in, batch) as worker,
        ):
            yield worker

    @contextmanager
    def _watched_lease(self, rows_in: int, batch: bool) -> Iterator[Worker]:
        watch = self._parts.watch
        if watch is None:
            with self._lease(batch=batch) as worker:
                yield worker
            return
        self._require_open()
        watch.admit()
        samples: list[BatchSample] = []
        try:
            with (
                self._lease(batch=batch) as worker,
                watch.observing(worker.instance.stats, rows_in, samples.append) as worker.observation,
            ):
                yield worker
        finally:
            # The instance is already released, so the rest may take time.
            for sample in samples:
                watch.end(sample)

    def _call(self, function: str, *args: Any) -> Any:
        # Works like `_lease`, without the cost of a context manager for each record.
        lease: Lease[Worker] = Lease()
        try:
            return self._pool.acquire(lease).call(self._interface, function, *args)
        finally:
            self._release(lease, False)

    def _release(self, lease: Lease[Worker], batch: bool) -> None:
        place = lease.place
        if place is None or place.instance is None:
            self._pool.release(lease)
            return
        try:
            self._parts.capabilities.end_call()
            if not place.instance.usable:
                self._instance_lost()
        finally:
            self._pool.release(lease, batch=batch)

    def _instance_lost(self) -> None:
        """React to the loss of an instance; called while it is still leased."""

    def _wit_batch(self, rows: pa.RecordBatch) -> Batch:
        if not isinstance(rows, pa.RecordBatch):
            raise ValueTypeError(f"a {type(rows).__name__} is not a pyarrow.RecordBatch")
        return Batch(rows, max_bytes=self._parts.max_batch_bytes)

    def _wit_schema(self, schema: pa.Schema) -> Any:
        if not isinstance(schema, pa.Schema):
            raise ValueTypeError(f"a {type(schema).__name__} is not a pyarrow.Schema")
        return to_wit(schema)

    def _arrow_schema(self, worker: Worker, function: str, schema: Any) -> pa.Schema:
        try:
            return from_wit(schema)
        except SchemaError as error:
            raise self._broken_promise(worker, function, f"it returned no valid schema: {error.message}") from error

    def _within_limits(self, worker: Worker, function: str, rows: pa.RecordBatch) -> pa.RecordBatch:
        """Return the rows that a call returned, if they are within the limits."""
        if worker.observation is not None:
            worker.observation.returned(rows.num_rows, rows.nbytes)
        limits = self._parts.limits
        if limits.output_rows is not None and rows.num_rows > limits.output_rows:
            raise self._over_output(worker, function, "output_rows", limits.output_rows, rows.num_rows)
        if limits.output_bytes is not None and rows.nbytes > limits.output_bytes:
            raise self._over_output(worker, function, "output_bytes", limits.output_bytes, rows.nbytes)
        return rows

    def _over_output(self, worker: Worker, function: str, limit: str, most: int, found: int) -> OutputLimitExceeded:
        worker.condemn()
        fault = OutputLimitExceeded(
            f"returned {found}, more than {limit} = {most}",
            plugin=self.name,
            export=f"{self._interface}#{function}",
            log_lines=self.log_lines,
            hint="raise the limit, or use smaller batches",
        )
        fault.limit = limit
        self._parts.capabilities.passed_limit(fault)
        return fault

    def _broken_promise(self, worker: Worker, function: str, message: str) -> ProtocolFault:
        """Condemn an instance whose answer violates the standard, and make the error for it."""
        worker.condemn()
        return ProtocolFault(
            message,
            plugin=self.name,
            export=f"{self._interface}#{function}",
            log_lines=self.log_lines,
            hint="this is a fault of the plugin",
        )
