"""Attacks by Parquet files of few bytes that say to have gigabytes, read where a gigabyte more is all there is."""

from __future__ import annotations

import resource
from collections.abc import Callable
from pathlib import Path
from typing import Final

from arena import Arena, Mutation, answers, attack
from attacks_arrow import survives
from dataflare.pipeline.reading.parquet_costs import Costs
from dataflare.pipeline.run_errors import DataError
from hostile_parquet import HOSTILE, MOST
from reading_kit import read

GIB: Final = 2**30
MOST_GROWN_BYTES: Final = 300 * 2**20


def memory_bytes(name: str) -> int:
    """What the system says of this process's memory."""
    (line,) = [each for each in Path("/proc/self/status").read_text().splitlines() if each.startswith(f"{name}:")]
    return int(line.split()[1]) * 1024


def refused_for_memory(arena: Arena, *names: str) -> None:
    """Assert that files are refused for the memory that they would take, before it is taken."""

    def attempt(path: Path) -> Callable[[], None]:
        def run() -> None:
            most = memory_bytes("VmSize") + GIB
            resource.setrlimit(resource.RLIMIT_AS, (most, most))
            before = memory_bytes("VmHWM")
            error = arena.raises(DataError, lambda: read("parquet", path, max_batch=MOST))
            assert f"takes more memory to read than max_batch = {MOST}" in error.message and error.hint, error
            grown = memory_bytes("VmHWM") - before
            assert grown < MOST_GROWN_BYTES, f"{grown} bytes were taken"

        return run

    for name in names:
        path = arena.folder / f"{name}.parquet"
        path.write_bytes(HOSTILE[name]()[0])
        survives(attempt(path))


@attack("files-in")
def parquet_text_in_every_row(arena: Arena) -> None:
    """Say that each row of a Parquet file has the same long text, of which the file has one."""
    refused_for_memory(arena, "text_in_every_row", "text_of_64_mib_in_every_row", "list_of_one_text")


@attack("files-in")
def parquet_row_that_has_everything(arena: Arena) -> None:
    """Say that one row of a Parquet file is a list of two billion numbers, or of nothing."""
    refused_for_memory(arena, "list_of_everything", "list_of_one_number")


@attack("files-in")
def parquet_nulls_of_great_width(arena: Arena) -> None:
    """Give a Parquet file a million nulls of which each takes 16 MiB."""
    refused_for_memory(arena, "wide_nulls")


@attack("files-in")
def parquet_lengths_that_no_header_tells(arena: Arena) -> None:
    """Encode the lengths of texts in Parquet so that only their decoder finds out how many there are, or how long."""
    refused_for_memory(arena, "lengths_without_number", "prefixes_of_a_megabyte")


@attack("files-in")
def parquet_page_that_claims_gigabytes(arena: Arena) -> None:
    """Say of a page or a dictionary of some bytes that it has two billion, or compress zeros."""
    refused_for_memory(arena, "dictionary_without_number", "pages_of_zeros")


@attack("files-in")
def parquet_footer_that_grows(arena: Arena) -> None:
    """Fill the footer of a Parquet file with hundreds of thousands of columns of which nothing is said."""
    path = arena.folder / "footer.parquet"
    path.write_bytes(HOSTILE["footer_of_empty_columns"]()[0])

    def run() -> None:
        before = memory_bytes("VmHWM")
        arena.raises(DataError, lambda: read("parquet", path, max_batch=MOST))
        grown = memory_bytes("VmHWM") - before
        assert grown < MOST_GROWN_BYTES, f"{grown} bytes were taken"

    survives(run)


READING: Final = "dataflare.pipeline.reading"
MUTATIONS = [
    Mutation(
        f"{READING}.parquet_reader:costs_of",
        answers(Costs(65_536, 0, True, "a", 0)),
        (
            "parquet_text_in_every_row",
            "parquet_row_that_has_everything",
            "parquet_nulls_of_great_width",
            "parquet_page_that_claims_gigabytes",
        ),
    ),
    Mutation(f"{READING}.parquet_pages:_longest", answers(1), ("parquet_text_in_every_row",)),
    Mutation(f"{READING}.parquet_pages:_BOUNDED", frozenset(range(16)), ("parquet_lengths_that_no_header_tells",)),
    Mutation(f"{READING}.parquet_reader:_MOST_FOOTER_BYTES", 2**30, ("parquet_footer_that_grows",)),
]
