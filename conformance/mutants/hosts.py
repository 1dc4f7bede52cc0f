"""Hosts with one fault each: this project's host behind the adapter's protocol, with one thing left out.

`caught_by` names the case that has to find the fault. `replaced` names functions of the host, and what stands in for
them while the case runs: a check that is gone.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

import pyarrow as pa

from dataflare import DataflareError, MemoryStateStore, PermissionDenied, PluginError, PluginFault
from dataflare.conformance import HostService


class Good(HostService):
    """Nothing is left out."""

    caught_by: str
    replaced: ClassVar[Mapping[str, Any]] = {}


def without_limit(name: str, other: str) -> Callable[..., dict[str, Any]]:
    """A `load` that has another value for a limit."""

    def load(self: Any, component: str, *, limits: list[str] | None = None, **given: Any) -> dict[str, Any]:
        kept = [f"{name}={other}" if each.startswith(f"{name}=") else each for each in limits or ()]
        return HostService.load(self, component, limits=kept, **given)

    return load


class SlowClock(Good):
    """Lets calls run longer than it was told to."""

    caught_by = "host/time-limit"
    load = without_limit("call_timeout", "6s")  # type: ignore[assignment]


class MemoryForAll(Good):
    """Has no limit of memory."""

    caught_by = "host/memory-limit"
    load = without_limit("memory", "512MiB")  # type: ignore[assignment]


class OutputForAll(Good):
    """Has no limit of results."""

    caught_by = "host/output-limit"
    load = without_limit("output", "512MiB")  # type: ignore[assignment]


class HandlesForAll(Good):
    """Has no limit of handles."""

    caught_by = "host/handle-limit"
    load = without_limit("handles", "100000")  # type: ignore[assignment]


class LogsForAll(Good):
    """Passes on every log event."""

    caught_by = "host/log-limit"
    load = without_limit("log_events_per_s", "1000000")  # type: ignore[assignment]


class GrantsTheTime(Good):
    """Grants the clock to everybody."""

    caught_by = "host/without-clock"

    def load(self, component: str, *, grants: list[str] | None = None, **given: Any) -> dict[str, Any]:
        return super().load(component, grants=[*{*(grants or ()), "clock"}], **given)


class GrantsState(Good):
    """Grants state to everybody."""

    caught_by = "host/without-state"

    def load(self, component: str, *, grants: list[str] | None = None, **given: Any) -> dict[str, Any]:
        return super().load(component, grants=[*{*(grants or ()), "state"}], **given)


class ForgetsConfiguration(Good):
    """Gives plugins no configuration."""

    caught_by = "host/configuration"

    def load(self, component: str, *, config: Any = None, **given: Any) -> dict[str, Any]:
        return super().load(component, **given)


class OneState(Good):
    """Has one store for the plugins of all pipelines."""

    caught_by = "host/state-apart"

    def load(self, component: str, *, pipeline: str = "", **given: Any) -> dict[str, Any]:
        return super().load(component, **given)


class ForgetsState(Good):
    """Forgets values when a plugin is ended."""

    caught_by = "host/state-kept"

    def close_plugin(self, plugin: int) -> dict[str, Any]:
        done = super().close_plugin(plugin)
        self.reset()
        return done


class NeverShutsDown(Good):
    """Leaves plugins as they are."""

    caught_by = "host/shutdown"

    def close_plugin(self, plugin: int) -> dict[str, Any]:
        return {}


class HealthIsGood(Good):
    """Says that all plugins are well."""

    caught_by = "host/health"

    def health(self, plugin: int) -> dict[str, Any]:
        return {"status": "healthy", "message": ""}


class ErrorsAreOther(Good):
    """Makes one error of all."""

    caught_by = "host/errors"

    def describe(self, error: DataflareError) -> dict[str, Any]:
        said = super().describe(error)
        return {**said, "case": "other"} if isinstance(error, PluginError) else said


class ErrorsWithoutPayload(Good):
    """Passes on the text of an error about data, and not what it is about."""

    caught_by = "host/data-errors"

    def describe(self, error: DataflareError) -> dict[str, Any]:
        said = super().describe(error)
        return {**said, "value": str(said["value"])} if said.get("case") == "data" else said


class TrapsAreErrors(Good):
    """Calls a trap an error of the plugin."""

    caught_by = "host/traps"

    def describe(self, error: DataflareError) -> dict[str, Any]:
        if isinstance(error, PluginFault):
            return {"kind": "plugin", "case": "internal", "value": error.message}
        return super().describe(error)


class NamelessLimits(Good):
    """Does not say which limit was passed."""

    caught_by = "host/limit-names"

    def describe(self, error: DataflareError) -> dict[str, Any]:
        return {**super().describe(error), "limit": ""}


class RestartsAfterErrors(Good):
    """Takes a new instance after each error."""

    caught_by = "host/same-instance"

    def load(self, component: str, **given: Any) -> dict[str, Any]:
        self.given = (component, given)
        return super().load(component, **given)

    def process(self, plugin: int, input: str, cancel_after_ms: int | None = None) -> dict[str, Any]:
        try:
            return super().process(plugin, input, cancel_after_ms)
        except PluginError:
            super().close_plugin(plugin)
            made = super().load(self.given[0], **self.given[1])["plugin"]
            self.plugins[plugin], self.pipelines[plugin] = self.plugins.pop(made), self.pipelines[made]
            raise


class OneFaultEndsAll(Good):
    """Takes new instances of all plugins after a fault of one."""

    caught_by = "host/apart"

    def process(self, plugin: int, input: str, cancel_after_ms: int | None = None) -> dict[str, Any]:
        try:
            return super().process(plugin, input, cancel_after_ms)
        except PluginFault:
            self.plugins = {}
            raise


class TidiesTexts(Good):
    """Writes records anew on their way."""

    caught_by = "host/texts"

    def process(self, plugin: int, input: str, cancel_after_ms: int | None = None) -> dict[str, Any]:
        found = super().process(plugin, input, cancel_after_ms)["output"]
        return {"output": None if found is None else json.dumps(json.loads(found))}


class DroppedIsEmpty(Good):
    """Gives an empty record for one that was dropped."""

    caught_by = "host/dropped-record"

    def process(self, plugin: int, input: str, cancel_after_ms: int | None = None) -> dict[str, Any]:
        return {"output": super().process(plugin, input, cancel_after_ms)["output"] or "{}"}


class TurnsRows(Good):
    """Turns the rows of a batch around."""

    caught_by = "host/batch-unchanged"

    def process_batch(self, plugin: int, rows: str) -> dict[str, Any]:
        with pa.ipc.open_stream(base64.b64decode(super().process_batch(plugin, rows)["rows"])) as reader:
            found = reader.read_all()
        turned = found.take(list(range(found.num_rows - 1, -1, -1)))
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, turned.schema) as writer:
            writer.write_table(turned)
        return {"rows": base64.b64encode(sink.getvalue().to_pybytes()).decode()}


class NeverCancels(Good):
    """Tells no plugin that it was cancelled."""

    caught_by = "host/cancelled"

    @contextmanager
    def cancelling(self, plugin: int, after_ms: int | None) -> Iterator[None]:
        yield


class NoProgress(Good):
    """Keeps progress to itself."""

    caught_by = "host/progress"

    def report(self, plugin: str, progress: Any) -> None:
        """Nobody hears of it."""


class LogsWithoutFields(Good):
    """Passes on the messages of events alone."""

    caught_by = "host/logging"

    def events(self, plugin: str = "probe") -> dict[str, Any]:
        found = super().events(plugin)
        return {**found, "logs": [{**each, "fields": {}} for each in found["logs"]]}


class DamagedIsDenied(Good):
    """Calls a damaged component one that is not granted something."""

    caught_by = "host/damaged-component"

    def describe(self, error: DataflareError) -> dict[str, Any]:
        said = super().describe(error)
        return {**said, "kind": "denied"} if said["kind"] == "component" else said


class AnyKey(Good):
    """Takes keys of any length."""

    caught_by = "host/state-keys"
    replaced: ClassVar[Mapping[str, Any]] = {"dataflare.capabilities.state.encode_key": lambda key: key.encode()}


class AnySwap(Good):
    """Swaps a value, whatever it is."""

    caught_by = "host/state-swap"

    class Store(MemoryStateStore):
        def compare_and_swap(self, namespace: str, key: str, expected: bytes | None, replacement: bytes | None) -> bool:
            if replacement is not None:
                self.set(namespace, key, replacement)
            return True

    replaced: ClassVar[Mapping[str, Any]] = {"dataflare.conformance.host_service.MemoryStateStore": Store}


class AnySecret(Good):
    """Gives any secret to a plugin with some."""

    caught_by = "host/secrets"

    @staticmethod
    def all_of_them(store: Any, granted: Any) -> Any:
        """The functions of the interface, for a plugin that was granted all secrets."""
        from dataflare.capabilities import secrets

        return secrets.imports(store, {"token", "other", "nothing"})

    replaced: ClassVar[Mapping[str, Any]] = {
        "dataflare.capabilities.secrets.provide": lambda context: AnySecret.all_of_them(context.secrets, set()),
    }


class AnyLength(Good):
    """Gives as many random bytes as are asked for."""

    caught_by = "host/random"
    replaced: ClassVar[Mapping[str, Any]] = {"dataflare.capabilities.random.MAX_BYTES": 2**30}


class AnyMetric(Good):
    """Takes metrics of any name and value."""

    caught_by = "host/metrics"
    replaced: ClassVar[Mapping[str, Any]] = {
        "dataflare.capabilities.metrics.PluginMetrics._admit": lambda self, kind, name, value, labels: tuple(labels)
    }


class ReadIsWrite(Good):
    """Lets plugins write where they may read."""

    caught_by = "host/file-read-only"
    replaced: ClassVar[Mapping[str, Any]] = {"dataflare.grants.DirectoryGrant.writable": property(lambda self: True)}


class NullsPass(Good):
    """Keeps rows for which a condition is null."""

    caught_by = "host/expression-filter"

    @staticmethod
    def kept(batch: pa.RecordBatch, mask: pa.Array) -> pa.RecordBatch:
        """The rows for which the mask holds, or is null."""
        return batch.filter(mask.fill_null(True))

    replaced: ClassVar[Mapping[str, Any]] = {"dataflare.data.expressions.relations.keep_rows": kept}


class DeniesAsFaults(Good):
    """Breaks down where something is not granted."""

    caught_by = "host/without-files"

    def describe(self, error: DataflareError) -> dict[str, Any]:
        said = super().describe(error)
        return {**said, "kind": "fault"} if isinstance(error, PermissionDenied) else said


class TurnsArrow(TurnsRows):
    """Turns the rows of Arrow streams around."""

    caught_by = "host/batch-through-arrow"


class AnyColumns(Good):
    """Takes rows of a source with any columns."""

    caught_by = "host/source-other-columns"
    replaced: ClassVar[Mapping[str, Any]] = {
        "dataflare.runtime.source.fits_schema": lambda rows, schema: True,
        "dataflare.runtime.source.as_schema": lambda rows, schema: rows,
    }


class AnyTypes(AnyColumns):
    """Takes rows of a source with any types."""

    caught_by = "host/source-other-type"


class AnyNulls(AnyColumns):
    """Takes nulls of a source anywhere."""

    caught_by = "host/source-nulls"


class FollowsNothing(Good):
    """Leaves every redirect to the plugin."""

    caught_by = "host/http-redirects"
    replaced: ClassVar[Mapping[str, Any]] = {"dataflare.capabilities.http_broker._REDIRECTS": frozenset()}


class PassesCredentialsOn(Good):
    """Follows redirects with all headers."""

    caught_by = "host/http-redirects"
    replaced: ClassVar[Mapping[str, Any]] = {
        "dataflare.capabilities.http_broker._without_credentials": lambda headers, grant: headers
    }


class ExpandsNothing(Good):
    """Passes on compressed bodies as they come."""

    caught_by = "host/http-compressed"
    replaced: ClassVar[Mapping[str, Any]] = {"dataflare.capabilities.http_body.ENCODINGS": frozenset()}


class AnyHeader(Good):
    """Lets plugins set the headers of the connection."""

    caught_by = "host/http-headers"
    replaced: ClassVar[Mapping[str, Any]] = {"dataflare.capabilities.http_rules.is_reserved_header": lambda name: False}


class SharesAnySize(Good):
    """Lets plugins share as much as they like."""

    caught_by = "host/shared-limit"

    def reset(self, *, shared_bytes: int | None = None, **given: Any) -> dict[str, Any]:  # type: ignore[override]
        return super().reset(**given)
