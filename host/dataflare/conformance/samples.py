"""What a sample of rows must have, so that the cases can tell right from wrong."""

from __future__ import annotations

import re
from typing import Final

import pyarrow as pa

from dataflare.conformance.values import objects

__all__ = ["BATCH_ROWS", "halves", "plain_texts", "problem_of_sample"]

BATCH_ROWS: Final = 4
"""The rows of a batch that is written to a destination."""
_LEAST_ROWS: Final = 2 * BATCH_ROWS
_PLAIN: Final = re.compile(r"[A-Za-z0-9 ]{3,}")
_WORDS: Final = frozenset({"null", "true", "false"})
"""Texts that formats write by themselves."""


def plain_texts(rows: pa.RecordBatch | pa.Table) -> set[str]:
    """The texts among the rows that any plain format writes as they are."""
    columns = [c for c in rows.columns if pa.types.is_string(c.type) or pa.types.is_large_string(c.type)]
    values = {each for column in columns for each in objects(column) if each and _PLAIN.fullmatch(each)}
    return values - _WORDS


def halves(sample: pa.Table) -> tuple[pa.Table, pa.Table]:
    """The first rows of a sample, and the others."""
    half = sample.num_rows // 2
    return sample.slice(0, half), sample.slice(half)


def problem_of_sample(sample: pa.Table, kind: str, *, files: bool) -> str:
    """Say what a sample lacks; empty where it lacks nothing.

    Args:
        sample: The rows.
        kind: The kind of plugin that gets them.
        files: Whether it may write files, in which the rows are looked for.
    """
    least = _LEAST_ROWS if kind == "destination" else 1
    if sample.num_rows < least:
        why = f", so that there are two batches of {BATCH_ROWS}" if kind == "destination" else ""
        return f"it has {sample.num_rows} rows, and a {kind} needs at least {least}{why}"
    if kind != "destination" or not files:
        return ""
    first, second = map(plain_texts, halves(sample))
    if first and second - first:
        return ""
    which = "second" if first else "first"
    also = " that the first has not" if first else ""
    return (
        f"its {which} half has no text of three or more letters, digits or spaces{also}, and such texts are looked for "
        "in the files that the destination writes"
    )
