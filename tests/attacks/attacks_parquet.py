"""Attacks by Parquet files of few bytes that say to have gigabytes, read where a gigabyte more is all there is."""

from __future__ import annotations

import base64
import resource
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pyarrow as pa
from pyarrow import parquet

import parquet_kit as kit
from arena import Arena, Mutation, answers, attack
from attacks_arrow import survives
from dataflare.pipeline.reading.parquet_costs import Costs
from dataflare.pipeline.reading.thrift import I32
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
    """Encode texts in Parquet so that their number and lengths are only known after decoding."""
    refused_for_memory(arena, "lengths_without_number", "prefixes_of_a_megabyte")


@attack("files-in")
def parquet_page_that_claims_gigabytes(arena: Arena) -> None:
    """Say of a page or a dictionary of some bytes that it has two billion, or compress zeros."""
    refused_for_memory(arena, "dictionary_without_number", "pages_of_zeros")


@attack("files-in")
def parquet_footer_that_grows(arena: Arena) -> None:
    """Fill the footer of a Parquet file with hundreds of thousands of elements of a schema that no column has."""
    path = arena.folder / "footer.parquet"
    path.write_bytes(HOSTILE["footer_of_empty_elements"]()[0])

    def run() -> None:
        before = memory_bytes("VmHWM")
        arena.raises(DataError, lambda: read("parquet", path, max_batch=MOST))
        grown = memory_bytes("VmHWM") - before
        assert grown < 64 * 2**20, f"{grown} bytes were taken"

    survives(run)


@attack("files-in")
def parquet_field_with_the_number_of_another(arena: Arena) -> None:
    """Encode a page twice: as plain in field 2, and with prefixes in field 65538, which Thrift reads as 2."""
    path = arena.folder / "alias.parquet"
    path.write_bytes(HOSTILE["prefixes_said_to_be_plain"]()[0])

    def run() -> None:
        most = memory_bytes("VmSize") + 2 * GIB
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
        arena.raises(DataError, lambda: read("parquet", path, max_batch=MOST), says="does not define: 65538")

    survives(run)


@attack("files-in")
def parquet_stored_schema_given_twice(arena: Arena) -> None:
    """Give the schema in a Parquet file's footer twice, a valid one and in field 65538 one that nobody has checked."""
    path = arena.folder / "twice.parquet"
    parquet.write_table(pa.table({"a": [1]}), path)
    whole = path.read_bytes()
    length = int.from_bytes(whole[-8:-4], "little")
    head, key, rest = whole[-8 - length : -8].partition(b"\x18\x0cARROW:schema\x18")
    size = rest[0] & 0x7F | rest[1] << 7
    stored, rest = rest[: 2 + size], rest[2 + size :]
    unchecked = base64.b64encode(pa.schema([("a", pa.int64())], {"unchecked": ""}).serialize())
    for number in (2, 2**16 + 2):
        second = kit.long_form(number, 8) + kit.varint(len(unchecked)) + unchecked
        footer = head + key + stored + second + rest
        path.write_bytes(whole[: -8 - length] + footer + struct.pack("<I", len(footer)) + b"PAR1")
        survives(lambda: arena.raises(DataError, lambda: read("parquet", path), says="stored schema"))


@attack("files-in")
def parquet_footer_that_ends_the_process(arena: Arena) -> None:
    """Put values into the footer of a Parquet file that make Arrow end the process."""
    page = kit.Page(1, kit.texts(b"x"))
    hostile = [kit.Column("a", [page], histogram=[0] * 4), kit.Column("a", [page], codec=99)]
    for number, column in enumerate(hostile):
        path = arena.folder / f"{number}.parquet"
        path.write_bytes(kit.file([column], 1))
        survives(lambda path=path: arena.raises(DataError, lambda: read("parquet", path)))


def _as_arrow_says(file: parquet.ParquetFile, *_: object, **__: object) -> Costs:
    assert file.metadata.row_group(0).column(0).compression
    return Costs(65_536, 0, True, "a", 0)


def _first_value(data: bytes, at: int, *_: object) -> tuple[dict[int, bytes], int]:
    """Read the value of the stored schema, and nothing after it."""
    size = data[at + 15] & 0x7F | data[at + 16] << 7
    return {2: data[at + 17 : at + 17 + size]}, 0


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
    Mutation(f"{READING}.parquet_reader:costs_of", _as_arrow_says, ("parquet_footer_that_ends_the_process",)),
    Mutation(f"{READING}.parquet_pages:_longest", answers(1), ("parquet_text_in_every_row",)),
    Mutation(f"{READING}.parquet_pages:_BOUNDED", frozenset(range(16)), ("parquet_lengths_that_no_header_tells",)),
    Mutation(
        "dataflare.pipeline.reading.thrift:_kind_of_other",
        answers(I32),
        ("parquet_field_with_the_number_of_another",),
    ),
    Mutation(
        "dataflare.pipeline.reading.parquet_footer:read_struct", _first_value, ("parquet_stored_schema_given_twice",)
    ),
    Mutation(f"{READING}.parquet_reader:_MOST_FOOTER_BYTES", 2**30, ("parquet_footer_that_grows",)),
]
