"""Connectors by name: the built-in ones, and those of installed packages.

A package adds one by an entry point of the group `dataflare.connectors`, whose name is the connector's and whose object
is a `Connector`. It is imported when a pipeline names it, and no sooner: an installed package that is not used does
nothing. A built-in connector cannot be replaced.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final

from dataflare.data.guard.batches import admit_batch, admit_schema
from dataflare.errors import ConfigError
from dataflare.pipeline.connectors import arrow, csv, excel, jsonl, parquet
from dataflare.pipeline.connectors.connector import Connector, Reader
from dataflare.pipeline.nodes import WriteNode
from dataflare.pipeline.reading.file_schema import FileSchema
from dataflare.pipeline.sinks import MakeSink

__all__ = ["BUILT_IN", "GROUP", "connector", "names", "sink_maker"]

GROUP: Final = "dataflare.connectors"
BUILT_IN: Final[Mapping[str, Connector]] = {
    each.CONNECTOR.name: each.CONNECTOR for each in (arrow, csv, excel, jsonl, parquet)
}


def names() -> tuple[str, ...]:
    """The names of all connectors, sorted. Imports none of those that packages bring."""
    return tuple(sorted({*BUILT_IN, *_entry_points()}))


def connector(name: str) -> Connector:
    """Find a connector.

    Raises:
        ConfigError: No connector has that name, or the package that brings it is broken.
    """
    if name in BUILT_IN:
        return BUILT_IN[name]
    points = _entry_points()
    if name not in points:
        raise ConfigError(f"there is no connector {name!r}", where="connector")
    return _load(points[name])


def sink_maker(node: WriteNode) -> MakeSink:
    """Find what writes the files of a node."""
    make: Any = connector(node.connector).make_sink
    return lambda output, schema: make(output, schema, node.options)


def _entry_points() -> dict[str, EntryPoint]:
    return {each.name: each for each in entry_points(group=GROUP)}


@cache
def _load(point: EntryPoint) -> Connector:
    where = f"connector {point.name!r} of the package {point.dist.name if point.dist else point.value!r}"
    try:
        found = point.load()
    except Exception as error:
        raise ConfigError(f"cannot be imported: {error!r}", where=where, hint="update or remove the package") from error
    if not isinstance(found, Connector) or found.name != point.name:
        raise ConfigError(
            "is not a Connector of that name", where=where, hint="the entry point's object is the Connector itself"
        )
    return found if found.read is None else replace(found, read=_admitted(found.read))


def _admitted(read: Reader) -> Reader:
    """Have what somebody else's reader gives checked, like everything that does not come from a reader of ours."""

    def admitted(*arguments: Any, **options: Any) -> Iterator[Any]:
        parts = read(*arguments, **options)
        found: FileSchema = next(parts)
        admit_schema(found.schema)
        yield found
        for batch in parts:
            yield admit_batch(batch)

    return admitted
