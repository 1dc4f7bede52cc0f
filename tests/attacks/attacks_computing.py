"""Attacks on the host's memory and time through what it computes for plugins: expressions, JSON Lines, filters."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, Final

import numpy as np
import pyarrow as pa

from arena import Arena, Mutation, answers, attack
from dataflare.budgets import HostBudget, OverHostBytes, OverTime, serving
from dataflare.data.batches import Batch
from dataflare.data.batches import imports as batch_imports
from dataflare.data.expressions.interface import imports
from dataflare.values import Err, Variant
from dataflare.wit_types.schemas import Field, Schema

MIB: Final = 2**20
COMPUTE: Final = imports()
BATCHES: Final = batch_imports()
ROOM: Final = 16 * MIB
GROUPS: Final = 3
LITERALS: Final = {bool: "boolean", int: "int64", float: "float64", str: "text"}


def column(name: str) -> Variant:
    return Variant("column", name)


def literal(value: Any) -> Variant:
    return Variant("literal", Variant(LITERALS[type(value)], value))


def call(name: str, *arguments: int, **options: Any) -> Variant:
    given = [(key, literal(value).value) for key, value in options.items()]
    return Variant("call", SimpleNamespace(name=name, arguments=list(arguments), options=given))


def chosen(batch: Batch, *nodes: Variant) -> Any:
    return COMPUTE["select"](batch, nodes, [SimpleNamespace(name="x", node=len(nodes) - 1)])


def aggregate(batch: Batch, keys: Sequence[str], *wanted: tuple[str, str]) -> Any:
    made = [SimpleNamespace(name=f"x{at}", aggregate=name, column=of) for at, (name, of) in enumerate(wanted)]
    return COMPUTE["aggregate"](batch, keys, made)


class Watch:
    """Watches, from a thread of its own, how much memory Arrow takes within a `with`."""

    def __init__(self) -> None:
        self.peak_bytes = 0
        self._before = pa.default_memory_pool().bytes_allocated()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._done.wait(0.0005):
            taken = pa.default_memory_pool().bytes_allocated() - self._before
            self.peak_bytes = max(self.peak_bytes, taken)


def within(run: Callable[[], Any]) -> Any:
    """Run something with little room: it may be refused, and must not take much more; the answer, if any."""
    answer = None
    with Watch() as watch, serving(HostBudget(ROOM)), contextlib.suppress(OverHostBytes):
        answer = run()
    assert watch.peak_bytes <= 3 * ROOM, f"{watch.peak_bytes} bytes were taken, with room for {ROOM}"
    return answer


def never_made(run: Callable[[], Any]) -> None:
    """Run something that has to be refused for its room, before it is made."""
    answer = within(run)
    assert answer is None or (isinstance(answer, Err) and answer.error.case == "too-large"), "it was let through"


def in_time(limit_s: float, run: Callable[[], Any]) -> None:
    """Run something that has to be stopped, or be done, soon after its deadline."""
    began = time.monotonic()
    budget = HostBudget()
    budget.deadline_s = began + limit_s
    with serving(budget), contextlib.suppress(OverTime):
        run()
    took_s = time.monotonic() - began
    assert took_s < limit_s + 2.0, f"it took {took_s:.1f} s, and had {limit_s} s"


def numbers(rows: int) -> Batch:
    return Batch(pa.record_batch({"n": np.arange(rows), "g": np.arange(rows) % GROUPS}))


@attack("limits")
def values_that_are_all_needed_at_the_end(arena: Arena) -> None:
    """Compute hundreds of columns that one last node needs, so that all live at once, and return one small one."""
    count = 200
    nodes = [column("n"), *(literal(at) for at in range(count))]
    nodes += [call("add", 0, 1 + at) for at in range(count)]
    nodes += [call("max_element_wise", *range(count + 1, 2 * count + 1)), call("less", 2 * count + 1, 0)]
    within(lambda: chosen(numbers(200_000), *nodes))


@attack("limits")
def long_literal_in_every_row(arena: Arena) -> None:
    """Put a literal of a megabyte into each of many rows, only to ask for its length."""
    nodes = [column("n"), literal(5), call("less", 0, 1), literal("x" * MIB)]
    nodes += [call("if_else", 2, 3, 3), call("binary_length", 4)]
    within(lambda: chosen(numbers(500), *nodes))


@attack("limits")
def lists_of_one_column_many_times(arena: Arena) -> None:
    """Ask for the list of all values of a column a hundred times in one call."""
    batch = numbers(200_000)
    never_made(lambda: aggregate(batch, ["g"], *[("list", "n")] * 100))


@attack("limits")
def median_of_each_row(arena: Arena) -> None:
    """Make as many groups as there are rows, for an aggregate that takes kilobytes for each."""
    batch = numbers(30_000)
    never_made(lambda: aggregate(batch, ["n"], ("approximate_median", "n")))


@attack("limits")
def dictionary_written_out_as_a_key(arena: Arena) -> None:
    """Sort, group and join by a dictionary of one long text, which the host writes out for it."""
    indices = pa.array(np.zeros(20_000, np.int8))
    batch = Batch(pa.record_batch({"k": pa.DictionaryArray.from_arrays(indices, pa.array(["z" * 5_000]))}))
    never_made(lambda: COMPUTE["sort"](batch, [SimpleNamespace(column="k", descending=False)], "first"))
    never_made(lambda: aggregate(batch, ["k"], ("count_rows", "")))
    never_made(lambda: aggregate(batch, [], ("count", "k")))
    never_made(lambda: COMPUTE["join"](batch, batch, [("k", "k")], "left-semi"))


@attack("limits")
def one_heavy_row_joined_many_times(arena: Arena) -> None:
    """Join a row of a megabyte, among a thousand small ones, with many partners: on average, rows are small."""
    heavy = Batch(pa.record_batch({"k": np.arange(1000), "t": pa.array(["y" * MIB] + [""] * 999)}))
    partners = Batch(pa.record_batch({"k": np.zeros(100, np.int64)}))
    for left, right in ((heavy, partners), (partners, heavy)):
        never_made(lambda left=left, right=right: COMPUTE["join"](left, right, [("k", "k")], "inner"))


@attack("limits")
def rows_kept_of_a_large_batch(arena: Arena) -> None:
    """Filter a batch that the host lent: what is kept is the plugin's, and larger than its room."""
    batch = numbers(5_000_000)
    never_made(lambda: BATCHES["[method]batch.filter"](batch, np.full(78_125, 2**64 - 1, np.uint64)))
    never_made(lambda: COMPUTE["filter"](batch, [literal(True)]))


@attack("limits")
def key_of_its_own_in_every_line(arena: Arena) -> None:
    """Send JSON Lines in which each line has another key: kilobytes that become a column for each row."""
    for form in (b'{"k%d":1}\n', b'{"k%d" :1}\n', b'{"v":"v",":k%d":1}\n', b'{"%d\\"v":1,"v":2}\n'):
        lines = b"".join(form % at for at in range(3000))
        never_made(lambda lines=lines: BATCHES["from-json-lines"](lines, None))


@attack("limits")
def wide_schema_for_empty_lines(arena: Arena) -> None:
    """Read empty objects by a schema of thousands of columns."""
    schema = Schema(tuple(Field(f"c{at}", "int64", True, ()) for at in range(2000)), ())
    never_made(lambda: BATCHES["from-json-lines"](b"{}\n" * 3000, schema))


@attack("limits")
def patterns_that_read_on_in_vain(arena: Arena) -> None:
    """Replace with a pattern that scans to the end of the text at each match, which takes quadratic time."""
    batch = Batch(pa.record_batch({"t": pa.array(["x" * 60_000])}))
    for pattern in ("x(.*y)?", "x(?:[^z]+y)?", "x|x.*y"):
        in_time(0.2, lambda p=pattern: chosen(batch, column("t"), call("count_substring_regex", 0, pattern=p)))


@attack("limits")
def pattern_of_many_places(arena: Arena) -> None:
    """Search a long text with a pattern that a matcher cannot turn into few states."""
    text = "".join(np.random.default_rng(1).choice(["x", "y"], 1_000_000))
    batch = Batch(pa.record_batch({"t": pa.array([text])}))
    node = call("match_substring_regex", 0, pattern="[xy]*x[xy]{900}c")
    in_time(0.2, lambda: chosen(batch, column("t"), node))


@attack("limits")
def sort_that_outlasts_its_call(arena: Arena) -> None:
    """Sort, group and join millions of rows in a call that has little time left: none of it can be interrupted."""
    rng = np.random.default_rng(1)
    rows = 6_000_000  # so many that without the trial any machine takes seconds too long
    texts = pa.array(rng.integers(0, 2**60, rows)).cast(pa.string())
    batch = Batch(pa.record_batch({"t": texts, "n": rng.random(rows)}))
    in_time(0.2, lambda: COMPUTE["sort"](batch, [SimpleNamespace(column="t", descending=False)], "first"))
    in_time(0.2, lambda: aggregate(batch, ["t"], ("count_distinct", "n")))
    in_time(0.2, lambda: COMPUTE["join"](batch, batch, [("t", "t")], "inner"))


EXPRESSIONS: Final = "dataflare.data.expressions"
MUTATIONS: Final = [
    Mutation(f"{EXPRESSIONS}.evaluate:_refuse_rows", answers(None), ("values_that_are_all_needed_at_the_end",)),
    Mutation(
        f"{EXPRESSIONS}.evaluate:_refuse_rows",
        answers(None),
        ("long_literal_in_every_row", "patterns_that_read_on_in_vain", "pattern_of_many_places"),
    ),
    Mutation(f"{EXPRESSIONS}.relations:_state_bytes", answers(0.0), ("median_of_each_row",)),
    Mutation(
        f"{EXPRESSIONS}.relations:_require",
        answers(None),
        ("lists_of_one_column_many_times", "dictionary_written_out_as_a_key"),
    ),
    Mutation(
        f"{EXPRESSIONS}.relations:batch_row_sizes",
        lambda batch: np.full(batch.num_rows, batch.nbytes / max(batch.num_rows, 1)),
        ("one_heavy_row_joined_many_times",),
    ),
    Mutation(
        "dataflare.data.builders:batch_row_sizes",
        lambda batch: np.zeros(batch.num_rows),
        ("rows_kept_of_a_large_batch",),
    ),
    Mutation("dataflare.data.json_reader:check_keys", answers(None), ("key_of_its_own_in_every_line",)),
    Mutation("dataflare.data.json_reader:_null_bytes", answers(0.0), ("wide_schema_for_empty_lines",)),
    Mutation(f"{EXPRESSIONS}.relations:_try", answers(None), ("sort_that_outlasts_its_call",)),
]
