"""Checks without writing whether an output takes rows of a schema, as a run would when its first rows come."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, Any, Final

import pyarrow as pa

from dataflare.pipeline.connectors.registry import BUILT_IN, sink_maker
from dataflare.pipeline.models import Node
from dataflare.pipeline.nodes import ReadNode, WriteNode
from dataflare.pipeline.outputs import OutputAction, cannot_write
from dataflare.pipeline.partitions import check_columns, without_columns
from dataflare.pipeline.reading.file_schema import FileSchema

__all__ = ["known_schema", "origins_of", "rehearse"]

_NAMES_FIRST: Final = ("csv",)
"""Connectors of files that name all columns before the first row."""


def known_schema(node: ReadNode, found: FileSchema) -> pa.Schema | None:
    """Return the schema of a node of which only the beginning was read; `None` if too little of it is certain.

    Types that more rows may change are strings, which all formats take.
    """
    if node.contract is not None or node.connector not in BUILT_IN:
        return None
    if found.whole or found.stored is not None:
        return found.schema
    if node.connector not in _NAMES_FIRST:
        return None
    return pa.schema([pa.field(each.name, pa.string() if each.inferred else each.type) for each in found.columns])


def origins_of(inputs: Iterable[str], nodes: Mapping[str, Node], kinds: Mapping[str, str]) -> list[str]:
    """Return the names of the nodes that decide which columns a node gets: validators change none.

    Args:
        inputs: Those of the node.
        nodes: All nodes.
        kinds: The kinds of the plugins.
    """
    found: dict[str, None] = {}
    waiting = list(inputs)
    while waiting:
        name = waiting.pop(0)
        if kinds.get(name) == "validator":
            waiting += [each for each in nodes[name].inputs if each not in found]
        else:
            found[name] = None
    return list(found)


def rehearse(node: WriteNode, path: Path, schema: pa.Schema) -> None:
    """Begin an output that goes nowhere.

    Raises:
        DataError: It cannot be partitioned as the node says, its format cannot hold a column, or the file that rows
            are to be appended to has other columns, an end that is not whole, or cannot be read.
    """
    if node.connector not in BUILT_IN:
        return
    if node.partition_by:
        check_columns(path, schema, node.partition_by)
        schema = without_columns(schema, node.partition_by)
    action: OutputAction = "created"
    if path.exists() and not path.is_file() and not path.is_dir():
        action = "streamed"
    elif node.if_exists == "append" and not node.partition_by and path.is_file():
        action = "appended"
    try:
        with path.open("rb") if action == "appended" else io.BytesIO() as existing:
            sink_maker(node)(_Nowhere(path, existing, action), schema).abandon()
    except OSError as error:
        raise cannot_write(path, error) from error


class _Nowhere:
    """An output that shows what is there and keeps nothing."""

    def __init__(self, path: Path, existing: IO[bytes], action: OutputAction) -> None:
        self.path = path
        self.action = action
        self.file: Any = _Discarding(existing)

    def commit(self) -> None:
        """Nothing is to be kept."""

    def abort(self) -> None:
        """Nothing is to be removed."""


class _Discarding:
    def __init__(self, existing: IO[bytes]) -> None:
        self.fileno = existing.fileno

    def write(self, data: Any) -> int:
        return len(data)

    def flush(self) -> None:
        """Nothing waits."""

    def tell(self) -> int:
        return 0
