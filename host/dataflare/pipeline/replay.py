"""Replays dead letters: a node gets the rows of its letters, and passes them on as in any run."""

from __future__ import annotations

import dataclasses
import logging
import os
import stat
from collections.abc import Callable, Collection, Iterator
from hashlib import sha256
from pathlib import Path
from typing import IO, Annotated, Any, Final

import orjson
import pyarrow as pa
from pydantic import Field, ValidationError

from dataflare.data.batches import MAX_BATCH_BYTES
from dataflare.data.columns import no_rows
from dataflare.data.guard.types import MAX_COLUMNS
from dataflare.data.json_reader import decode_json_lines
from dataflare.data.schemas import SchemaError, parse_type
from dataflare.data.shapes import DataFailure
from dataflare.documents.models import StrictModel, first_problem, nearest
from dataflare.errors import ConfigError
from dataflare.pipeline.branches import node_of
from dataflare.pipeline.databases.nodes import SqlRead, SqlWrite
from dataflare.pipeline.dataset_names import below as nodes_below
from dataflare.pipeline.dataset_names import choice_of
from dataflare.pipeline.models import Node, PluginNode, listings
from dataflare.pipeline.nodes import ReadNode, WriteNode
from dataflare.pipeline.run_errors import DataError
from dataflare.pipeline.specification import Specification
from dataflare.texts import cut

_log = logging.getLogger("dataflare.pipeline")

__all__ = ["LetterFile", "LetterLine", "replaying"]

_CONNECTOR: Final = "jsonl"
_LINE_BYTES: Final = 64 * 2**20
_MOST_PARTS: Final = 2_000_000
_MOST_LEVELS: Final = 100
_PART_ROWS: Final = 4096
_PART_BYTES: Final = 16 * 2**20
# As much as is looked at where letters are taken out of the file again.
_SEEN_BYTES: Final = 2**20


class LetterLine(StrictModel):
    """A line of a file of dead letters."""

    since: str = ""
    time: str
    node: str
    plugin: str
    row: Annotated[int, Field(ge=0)]
    error: str
    column: str | None = None
    message: str
    values: dict[str, Any]
    types: dict[str, str]
    metadata: dict[str, dict[str, str]] = Field(default={})

    def columns(self) -> pa.Schema:
        """The columns of the row.

        Raises:
            SchemaError: A type is not one.
        """
        return pa.schema(
            [pa.field(name, parse_type(text), metadata=self.metadata.get(name)) for name, text in self.types.items()]
        )


class LetterFile:
    """The dead letters of a node, or of all, in a file; one thread at a time.

    Args:
        path: The file, for errors.
        opened: Opens it.
        node: Whose letters they are; `None` for all.
    """

    def __init__(self, path: Path, opened: Callable[[], IO[bytes]], node: str | None = None) -> None:
        self._path = path
        self._opened = opened
        self._node = node
        self._seen: set[bytes] = set()

    def letters(self) -> Iterator[tuple[bytes, LetterLine]]:
        """Read the file: each line, and what it says.

        Raises:
            DataError: It cannot be read, or a line is not a letter; names the line.
        """
        try:
            # What is not a regular file may never come to an end, or never begin.
            if not stat.S_ISREG(os.stat(self._path).st_mode):
                raise DataError("is not a regular file", file=str(self._path), hint="name a file of dead letters")
            with self._opened() as file:
                number = 0
                while line := file.readline(_LINE_BYTES + 1):
                    number += 1
                    if not line.strip():
                        continue
                    letter = self._parse(line, number)
                    if self._node is None or letter.node == self._node:
                        yield line, letter
        except OSError as error:
            hint = "no row of the node has failed yet?" if isinstance(error, FileNotFoundError) else ""
            raise DataError(f"cannot be read: {error.strerror or error}", file=str(self._path), hint=hint) from error

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Make the rows again, in the order of the file: those with the columns of the first one.

        A run has rows of one schema. Letters with other columns stay, for another replay.

        Raises:
            DataError: As for `letters`, and where the values of a row do not fit its types, or there are no letters.
        """
        lines: list[bytes] = []
        size = left = 0
        last: LetterLine | None = None
        for line, letter in self.letters():
            if last is not None and (letter.types != last.types or letter.metadata != last.metadata):
                left += 1
                continue
            self._seen.add(_digest(line))
            if last is not None and (len(lines) >= _PART_ROWS or size >= _PART_BYTES):
                yield self._rows(lines, last)
                lines, size = [], 0
            lines.append(line if line.endswith(b"\n") else line + b"\n")
            size += len(line)
            last = letter
        if last is None:
            of = "" if self._node is None else f" of node {self._node!r}"
            raise DataError(f"has no letters{of}", file=str(self._path), hint="there is nothing to replay")
        yield self._rows(lines, last)
        if left:
            _log.warning(
                "%s: %d letters have other columns or types, and are left for another replay", self._path, left
            )

    def was_read(self, line: bytes) -> bool:
        """Whether a line, as it begins, is one that was read."""
        return _digest(line) in self._seen

    def _parse(self, line: bytes, number: int) -> LetterLine:
        hint = "a file of `dead_letters` has only what `dataflare run` writes"

        def wrong(what: str) -> DataError:
            return DataError(cut(what), file=str(self._path), line=number, hint=hint)

        if len(line) > _LINE_BYTES:
            raise DataError(f"line {number} is longer than {_LINE_BYTES} bytes", file=str(self._path), hint=hint)
        # Each of these may become an object of Python.
        if sum(line.count(mark) for mark in b",[{") > _MOST_PARTS:
            raise wrong(f"the line has more than {_MOST_PARTS} values")
        try:
            value = orjson.loads(line)
            if _depth(value) > _MOST_LEVELS:
                raise wrong(f"its values are nested deeper than {_MOST_LEVELS} levels")
            letter = LetterLine.model_validate(value)
        except ValidationError as error:
            raise wrong(f"is not a dead letter: {first_problem(error)}") from error
        except ValueError as error:
            raise wrong(f"is not JSON: {error}") from error
        if len(letter.types) > MAX_COLUMNS:
            raise wrong(f"the row has {len(letter.types)} columns, more than {MAX_COLUMNS}")
        if differing := letter.values.keys() ^ letter.types.keys():
            raise wrong(f"`values` and `types` do not have the same columns: {min(differing)!r} is in one of them")
        return letter

    def _rows(self, lines: list[bytes], letter: LetterLine) -> pa.RecordBatch:
        try:
            schema = letter.columns()
            if not schema:
                return no_rows(schema)
            wrapped = pa.schema([pa.field("values", pa.struct(list(schema)), nullable=False)])
            values = decode_json_lines(b"".join(lines), wrapped, MAX_BATCH_BYTES).column(0)
        except (DataFailure, SchemaError) as error:
            raise DataError(
                f"the letters before and with row {letter.row} of {letter.time}: {error.message}", file=str(self._path)
            ) from error
        return pa.RecordBatch.from_arrays(values.flatten(), schema=schema)


def replaying(specification: Specification, node: str | None = None) -> Specification:
    """Make the pipeline that gives a node the rows of its dead letters.

    It has the node, the nodes after it, and the plugins that they call. What they write is added to existing outputs.

    Args:
        specification: The pipeline.
        node: The node; `None` for the only one that has a file of dead letters.

    Raises:
        ConfigError: There is no such node, or it has no such file; or a node below it can only replace what is there.
    """
    node = _chosen(specification, node)
    _require_one_dataset(specification, node)
    below = {node}
    for name in specification.order:
        if not below.isdisjoint(specification.pipeline.nodes[name].inputs):
            below.add(name)
    waiting = list(below)
    while waiting:
        name = waiting.pop()
        called = specification.grants[name].plugins if name in specification.grants else ()
        new = [each for each in called if each not in below]
        below.update(new)
        waiting += new
    reader = "dead-letters"
    while reader in specification.pipeline.nodes:
        reader += "-"
    origin = specification.pipeline.nodes[node]
    assert not isinstance(origin, WriteNode) and origin.dead_letters is not None
    letters = ReadNode(connector=_CONNECTOR, read=origin.dead_letters)
    nodes: dict[str, Node] = {}
    if origin.inputs:
        nodes[reader] = letters
    for name in specification.order:
        if name in below:
            nodes[name] = _taking(_adding(specification, name), below)
    if isinstance(origin, ReadNode | SqlRead) or not origin.inputs:
        # The letters take the place of what is read: rows that its `schema` left out go on as they are.
        reader = node
        nodes[node] = letters.model_copy(update={"dead_letters": origin.dead_letters})
    else:
        # What fails again goes back into the file: nothing is lost, however many they are.
        errors = origin.errors.model_copy(update={"max_errors": None, "max_error_share": None, "max_faults": 2**31})
        nodes[node] = origin.model_copy(update={"input": reader, "on_error": errors})
    pipeline = specification.pipeline.model_copy(update={"nodes": nodes})
    order = tuple(dict.fromkeys((reader, *(name for name in specification.order if name in below))))
    return dataclasses.replace(specification, pipeline=pipeline, order=order, replays=node)


def _require_one_dataset(specification: Specification, node: str) -> None:
    nodes, order = specification.pipeline.nodes, specification.order
    for source in order:
        if choice_of(nodes[source]) is not None and node in nodes_below(nodes, order, source):
            raise ConfigError(
                f"node {node!r} has dead letters of several datasets",
                where=specification.where("nodes", source),
                hint="replay them by a pipeline that reads one of the datasets, with the file of its letters",
            )


def _chosen(specification: Specification, node: str | None) -> str:
    nodes = specification.pipeline.nodes
    having = [name for name, each in nodes.items() if "dead_letters" in dict(listings(each))]
    if node is None:
        if len(having) == 1:
            return having[0]
        what = "several nodes have" if having else "no node has"
        hint = (
            f"name one: `--node {having[0]}`" if having else "give a plugin's node a file: `dead_letters: dead.jsonl`"
        )
        raise ConfigError(f"{what} `dead_letters`", where=str(specification.file), hint=hint)
    if node not in nodes:
        raise ConfigError(f"there is no node {node!r}", where=str(specification.file), hint=nearest(node, nodes))
    if node not in having:
        hint = f"{', '.join(having)} has" if having else "give it a file: `dead_letters: dead.jsonl`"
        raise ConfigError(f"node {node!r} has no `dead_letters`", where=specification.where("nodes", node), hint=hint)
    return node


def _adding(specification: Specification, name: str) -> Node:
    """The node as it is, but that it adds to what is there."""
    node = specification.pipeline.nodes[name]
    if isinstance(node, WriteNode) and node.if_exists != "append":
        if not node.appendable and not node.partition_by:
            raise ConfigError(
                f"node {name!r} replaces {node.write}, which would then have the replayed rows alone",
                where=specification.where("nodes", name, "write"),
                hint="write CSV or JSON Lines, or give `partition_by`: these can be added to",
            )
        return node.model_copy(update={"if_exists": "append"})
    how = node.destination if isinstance(node, PluginNode | SqlWrite) else None
    if how is not None and how.mode == "replace":
        raise ConfigError(
            f"node {name!r} replaces what its destination has, which would then have the replayed rows alone",
            where=specification.where("nodes", name, *(() if isinstance(node, SqlWrite) else ("destination",)), "mode"),
            hint="replay into a destination that is written to by `append` or `merge`",
        )
    return node


def _taking(node: Node, names: Collection[str]) -> Node:
    """The node as it is, but that it takes only rows of these nodes."""
    left = [each for each in node.taken if node_of(each) in names]
    return node.model_copy(update={"input": left}) if left else node


def _depth(value: Any) -> int:
    """How deep values are nested; 0 for a text or a number."""
    depth, level = 0, [value]
    while level := [
        each
        for one in level
        if isinstance(one, dict | list)
        for each in (one.values() if isinstance(one, dict) else one)
    ]:
        depth += 1
    return depth


def _digest(line: bytes) -> bytes:
    return sha256(line.rstrip(b"\n")[:_SEEN_BYTES]).digest()[:16]
