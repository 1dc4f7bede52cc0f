"""The calls of sources, destinations, transformers and validators that the adapter's request `call` makes."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from typing import Any, Final

import pyarrow as pa

from dataflare import Chunk, Dataset, Ended, Idle, NewSchema, Selection, Target, UsageError
from dataflare.data.batches import MAX_BATCH_BYTES
from dataflare.data.ipc import decode_stream
from dataflare.data.shapes import DataFailure

__all__ = ["call", "decoded_rows", "encoded_bytes", "encoded_rows", "encoded_schema"]


def call(plugin: Any, kind: str, function: str, given: Mapping[str, Any]) -> Any:
    """Call a function of a plugin's interface, and return what came as JSON can hold it.

    Raises:
        KeyError: The kind has no such function, or an argument is missing.
    """
    return _FUNCTIONS[kind][function](plugin, given)


def encoded_bytes(data: bytes | None) -> str | None:
    """Bytes in Base64."""
    return None if data is None else base64.b64encode(data).decode()


def encoded_rows(rows: pa.RecordBatch) -> str:
    """A batch as an Arrow IPC stream in Base64."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_batch(rows)
    return base64.b64encode(sink.getvalue().to_pybytes()).decode()


def encoded_schema(schema: pa.Schema) -> str:
    """A schema as an Arrow IPC stream without batches, in Base64."""
    sink = pa.BufferOutputStream()
    pa.ipc.new_stream(sink, schema).close()
    return base64.b64encode(sink.getvalue().to_pybytes()).decode()


def decoded_rows(text: str) -> pa.RecordBatch:
    """The rows of a stream, of which the other side may have made anything.

    Raises:
        UsageError: It is not a stream in Base64 of types that plugins can use.
    """
    try:
        return decode_stream(base64.b64decode(text), MAX_BATCH_BYTES)
    except (ValueError, TypeError, DataFailure) as error:
        raise UsageError(f"it is not an Arrow IPC stream in Base64: {error}") from error


def _bytes(given: Mapping[str, Any], name: str) -> bytes | None:
    found = given.get(name)
    return None if found is None else base64.b64decode(found)


def _schema(given: Mapping[str, Any]) -> pa.Schema:
    return decoded_rows(given["schema"]).schema


def _columns(schema: pa.Schema) -> dict[str, str]:
    return {field.name: str(field.type) for field in schema}


def _selections(given: Mapping[str, Any]) -> list[Selection]:
    return [
        Selection(each["dataset"], each.get("mode", "full"), cursor=each.get("cursor"), columns=each.get("columns", ()))
        for each in given["selections"]
    ]


def _where(given: Mapping[str, Any]) -> dict[str, Any]:
    return {name: found for name in ("part", "state") if (found := _bytes(given, name)) is not None}


def _dataset(found: Dataset) -> dict[str, Any]:
    return {
        "name": str(found.name),
        "columns": _columns(found.schema),
        "key": list(found.key),
        "cursors": list(found.cursors),
        "modes": sorted(found.modes),
    }


def _read(plugin: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    match plugin.read(given["max-rows"]):
        case Chunk() as chunk:
            came = {"rows": encoded_rows(chunk.rows), "state": encoded_bytes(chunk.state)}
            return {"dataset": str(chunk.dataset), **came}
        case NewSchema() as changed:
            return {"dataset": str(changed.dataset), "new-schema": _columns(changed.schema)}
        case Idle() as pause:
            return {"idle-ms": round(pause.retry_after_s * 1000), "state": encoded_bytes(pause.state)}
        case Ended():
            return {"ended": True}
        case other:
            raise TypeError(f"read returned {other!r}")


def _split(plugin: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    state = _bytes(given, "state")
    found = plugin.split(_selections(given), at_most=given["at-most"], state=state)
    return {"parts": [encoded_bytes(each) for each in found.parts], "rest": encoded_bytes(found.rest)}


def _estimate(plugin: Any, given: Mapping[str, Any]) -> dict[str, Any] | None:
    found = plugin.estimate(_selections(given), **_where(given))
    return None if found is None else {"rows": found.rows, "exact": found.exact}


def _targets(given: Mapping[str, Any]) -> list[Target]:
    return [
        Target(each["dataset"], _schema(each), key=each.get("key", ()), mode=each["mode"]) for each in given["targets"]
    ]


def _plan(plugin: Any, given: Mapping[str, Any]) -> list[dict[str, Any]]:
    changes = plugin.plan(_targets(given))
    return [{"dataset": str(each.dataset), "kind": each.kind, "detail": each.detail} for each in changes]


def _open_run(plugin: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    names = {name: given[name] for name in ("pipeline", "run", "generation") if name in given}
    return {"token": encoded_bytes(plugin.open(_targets(given), **names))}


def _write(plugin: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    rejected = plugin.write(decoded_rows(given["rows"]), given.get("dataset"))
    return {"rejected": [{"row": each.row, "column": each.column, "reason": each.reason} for each in rejected]}


def _validate(plugin: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    found = plugin.validate(decoded_rows(given["rows"]))
    return {
        "rows-checked": found.rows_checked,
        "counts": {each.rule: each.violations for each in found.counts},
        "violations": [
            {"row": each.row, "column": each.column, "rule": each.rule, "message": each.message}
            for each in found.violations
        ],
    }


_FUNCTIONS: Final[Mapping[str, Mapping[str, Callable[[Any, Mapping[str, Any]], Any]]]] = {
    "source": {
        "discover": lambda plugin, given: [_dataset(each) for each in plugin.discover()],
        "split": _split,
        "estimate": _estimate,
        "open": lambda plugin, given: [_columns(each) for each in plugin.open(_selections(given), **_where(given))],
        "read": _read,
        "acknowledge": lambda plugin, given: plugin.acknowledge(_bytes(given, "state")),
        "close": lambda plugin, given: plugin.stop(),
    },
    "destination": {
        "abilities": lambda plugin, given: sorted(plugin.abilities()),
        "plan": _plan,
        "open": _open_run,
        "write": _write,
        "change-schema": lambda plugin, given: plugin.change_schema(_schema(given), given.get("dataset")),
        "flush": lambda plugin, given: plugin.flush(_bytes(given, "token")),
        "finish": lambda plugin, given: plugin.finish(_bytes(given, "token")),
        "abort": lambda plugin, given: plugin.abort(),
    },
    "transformer": {
        "output-schema": lambda plugin, given: _columns(plugin.output_schema(_schema(given))),
        "transform": lambda plugin, given: {"rows": encoded_rows(plugin.transform(decoded_rows(given["rows"])))},
    },
    "validator": {
        "rules": lambda plugin, given: [{"name": each.name, "severity": each.severity} for each in plugin.rules()],
        "validate": _validate,
    },
}
