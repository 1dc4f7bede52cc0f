"""Attacks by steps of Arrow that nothing interrupts: each is done in parts, or its cost is known before it begins."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import pyarrow as pa

from arena import Arena, Mutation, answers, attack
from attacks_arrow import FUNCTIONS, MIB, column, method, refused, survives
from dataflare.budgets import HostBudget, OverHostBytes, OverTime, serving
from dataflare.data import json_blocks, json_floats, json_writer
from dataflare.data.json_reader import decode_json_lines
from dataflare.wit_types.schemas import Field, Schema

HOUR_S = 3600.0


def budget(*, most_bytes: int | None = None, seconds: float = HOUR_S) -> HostBudget:
    """The budget of a call that has so many seconds left."""
    made = HostBudget(most_bytes)
    made.deadline_s = time.monotonic() + seconds
    return made


@contextmanager
def parts_that_are_read(spent: HostBudget) -> Iterator[list[int]]:
    """Note how many bytes Arrow reads at a time; with the first ones a call's time is over."""
    sizes: list[int] = []
    real = json_blocks._read

    def read(lines: bytes, *rest: Any) -> Any:
        sizes.append(len(lines))
        spent.deadline_s = 0.0
        return real(lines, *rest)

    json_blocks._read = read  # type: ignore[assignment]
    try:
        yield sizes
    finally:
        json_blocks._read = real


@attack("limits")
def text_that_outlasts_its_call(arena: Arena) -> None:
    """Have the host read JSON Lines of 9 MiB shortly before the call's end: Arrow's reader does not stop in them."""
    lines = b'{"n":[1,2]}\n' * (9 * MIB // 12)
    for schema in (None, pa.schema([("n", pa.list_(pa.int64()))])):
        spent = budget()
        with serving(spent), parts_that_are_read(spent) as sizes:
            arena.raises(OverTime, lambda given=schema: decode_json_lines(lines, given, 64 * MIB))
        assert len(sizes) == 1 and sizes[0] < 5 * MIB, f"it read {sizes} bytes"


@attack("limits")
def line_that_outlasts_its_call(arena: Arena) -> None:
    """Put twelve million numbers into one line, which cannot be read in parts, for a call of half a second."""
    line = b'{"n":[' + b"1," * (12 * MIB) + b"1]}\n"
    with serving(budget(seconds=0.5)):
        arena.raises(OverTime, lambda: json_blocks.infer_rows(line))


@attack("limits")
def keys_without_end_in_one_line(arena: Arena) -> None:
    """Send one line of JSON of 150,000 keys, each of which becomes a column with all that it takes."""
    line = b"{" + b",".join(b'"k%d":1' % number for number in range(150_000)) + b"}\n"
    for lines in (line, b'{"n":' + line[:-1] + b"}\n"):
        with parts_that_are_read(budget()) as sizes:
            refused(method("from-json-lines", lines, None), "too-large")
        assert not sizes, "Arrow has read it"


@attack("limits")
def lines_of_nothing(arena: Arena) -> None:
    """Send twenty million line ends and no row, so that the host notes where each of them is."""

    def run() -> None:
        import resource

        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        refused(method("from-json-lines", b"\n" * (20 * MIB) + b"[]\n", None), "malformed")
        kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        assert kib < 160 * 1024, f"it took {kib} KiB"

    survives(run)


@attack("limits")
def characters_that_are_escaped(arena: Arena) -> None:
    """Have the host write out a text of nothing but control characters, each of which becomes six."""
    text = column(pa.array(["\x01" * (16 * MIB)]))
    least_s = json_writer._ESCAPE_S
    try:
        json_writer._ESCAPE_S = 1.0  # as on a machine that is so slow
        with serving(budget()):
            arena.raises(OverTime, lambda: function("to-json-lines")(text))
    finally:
        json_writer._ESCAPE_S = least_s
    with serving(budget(most_bytes=64 * MIB)):
        arena.raises(OverHostBytes, lambda: function("to-json-lines")(text))


@attack("limits")
def dictionary_of_different_values(arena: Arena) -> None:
    """Have the host deduplicate values that are all different: Arrow needs ten times their memory."""
    values = pa.array(np.arange(MIB))
    kind = "dictionary<values=int64, indices=int32, ordered=0>"
    with serving(budget(most_bytes=64 * MIB)):
        arena.raises(OverHostBytes, lambda: function("cast-column")(column(values), "c", kind))
    lines = b"".join(b'{"c":%d}\n' % number for number in range(MIB // 2))
    with serving(budget(most_bytes=64 * MIB)):
        arena.raises(
            OverHostBytes, lambda: function("from-json-lines")(lines, Schema((Field("c", kind, True, ()),), ()))
        )
    with serving(budget(seconds=0.1)):
        arena.raises(OverTime, lambda: function("cast-column")(column(values), "c", kind))


@attack("limits")
def text_of_many_characters(arena: Arena) -> None:
    """Send a text of many characters beside a word that only Arrow reads as a number, so that each is remembered."""
    line = b'{"s":"Inf ' + b"a" * (4 * MIB) + b'", "k": -1}\n'

    def run() -> None:
        import resource

        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        function("from-json-lines")(line, None)
        kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        assert kib < 160 * 1024, f"it took {kib} KiB"

    survives(run)


@attack("limits")
def words_among_many_marks(arena: Arena) -> None:
    """Send a line with millions of marks beside a word such as NaN, for which the host goes from mark to mark."""
    schema = pa.schema([("f", pa.float64())])
    with serving(budget(seconds=0.0)):
        arena.raises(OverTime, lambda: json_floats.without_quotes(b'{"f":"NaN","n":[1,1]}\n', schema))
        arena.raises(OverTime, lambda: json_floats.other_word(b'{"f":1.5,"s":["Inf","a"]}\n'))


@attack("limits")
def bytes_that_are_written_as_text(arena: Arena) -> None:
    """Have the host write large byte strings as text, for which it notes of each byte where it goes."""
    values = column(pa.array([bytes(40 * MIB)]))

    def run() -> None:
        import resource

        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        function("to-json-lines")(values)
        kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        assert kib < 450 * 1024, f"it took {kib} KiB"

    survives(run)
    with serving(budget(seconds=0.02)):
        arena.raises(OverTime, lambda: function("to-json-lines")(values))


@attack("limits")
def words_that_are_no_times(arena: Arena) -> None:
    """Convert millions of texts that are not times: Arrow creates an error for each and continues."""
    words = column(pa.array(["no time at all"] * 2 * MIB))
    began = time.thread_time()
    # On a machine that is slow or busy the call's time ends first, which refuses it as well.
    with serving(budget(seconds=0.1)), suppress(OverTime):
        refused(method("cast-column", words, "c", "timestamp[us, tz=Europe/Berlin]"), "malformed")
    took = time.thread_time() - began
    assert took < 1.2, f"it took {took} s"


def function(name: str) -> Any:
    """A function of the host, whose exceptions are the outcome."""
    return FUNCTIONS[name] if name in FUNCTIONS else FUNCTIONS[f"[method]batch.{name}"]


def _encode_at_once(offsets: Any, data: pa.Buffer) -> pa.Array:
    text = json_writer._encode_rows(offsets, memoryview(data))
    ends = pa.py_buffer(np.array([0, len(text)]))
    return pa.Array.from_buffers(pa.large_string(), 1, [None, ends, pa.py_buffer(text)])


_REMEMBERING = re.compile(rb'"(?:[^"\\]|\\.)*"|-?Inf\b|-NaN\b')
MUTATIONS = [
    Mutation("dataflare.data.json_floats:_OTHER_OR_TEXT", _REMEMBERING, ("text_of_many_characters",)),
    Mutation("dataflare.data.json_floats:in_time", iter, ("words_among_many_marks",)),
    Mutation("dataflare.data.json_writer:_encode_base64", _encode_at_once, ("bytes_that_are_written_as_text",)),
    Mutation("dataflare.data.casts:_ROWS_AT_ONCE", 2**21, ("words_that_are_no_times",)),
    Mutation("dataflare.data.json_blocks:_is_long", answers(False), ("text_that_outlasts_its_call",)),
    Mutation("dataflare.data.json_blocks:_VALUE_S", 0.0, ("line_that_outlasts_its_call",)),
    Mutation("dataflare.data.json_reader:check_keys", answers(None), ("keys_without_end_in_one_line",)),
    Mutation("dataflare.data.json_reader:_BYTES_AT_ONCE", 2**30, ("lines_of_nothing",)),
    Mutation("dataflare.budgets:HostBudget.require_time", answers(None), ("characters_that_are_escaped",)),
    Mutation("dataflare.data.distinct:_VALUE_BYTES", 0, ("dictionary_of_different_values",)),
]
