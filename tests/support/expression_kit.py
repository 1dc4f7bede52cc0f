"""Expressions as a plugin gives them, in short."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pyarrow as pa

from dataflare.data.expressions.evaluate import read_plan
from dataflare.data.shapes import DataFailure
from dataflare.values import Variant


def column(name: str) -> Variant:
    return Variant("column", name)


def literal_of(value: Any) -> Variant:
    """A literal: of a Python value, the case of its type."""
    match value:
        case None:
            inner = Variant("null-value", None)
        case bool():
            inner = Variant("boolean", value)
        case int():
            inner = Variant("int64", value)
        case float():
            inner = Variant("float64", value)
        case str():
            inner = Variant("text", value)
        case _:
            inner = Variant("binary", value)
    return Variant("literal", inner)


def int64(value: int) -> Variant:
    return literal_of(value)


def text(value: str) -> Variant:
    return literal_of(value)


def typed(type_name: str, value: str) -> Variant:
    return Variant("literal", Variant("typed", SimpleNamespace(type_name=type_name, text=value)))


def call(name: str, /, *arguments: int, **options: Variant) -> Variant:
    # An option's value is a literal, not a node.
    given = [(key, value.value) for key, value in options.items()]
    return Variant("call", SimpleNamespace(name=name, arguments=list(arguments), options=given))


def output(name: str, node: int) -> tuple[str, int]:
    return name, node


def batch_of(**columns: Any) -> pa.RecordBatch:
    """One row."""
    return pa.RecordBatch.from_pydict({name: [value] for name, value in columns.items()})


def compute(batch: pa.RecordBatch, nodes: list[Variant], *, max_bytes: int = 2**30) -> pa.Array:
    """The value of the last node."""
    return read_plan(nodes).compute(batch, [len(nodes) - 1], max_bytes)[0]


def refusal(batch: pa.RecordBatch, nodes: list[Variant], *, max_bytes: int = 2**30) -> str:
    """The case of the error that an expression gives."""
    try:
        compute(batch, nodes, max_bytes=max_bytes)
    except DataFailure as failure:
        return failure.error.case
    raise AssertionError("nothing was refused")
