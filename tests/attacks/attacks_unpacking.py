"""Attacks by text files that are small until they are decompressed, or that make their reader work too long."""

from __future__ import annotations

import gzip
import itertools
import lzma
import struct
import zlib
from collections.abc import Iterable
from typing import Final

from arena import Arena, Mutation, answers, attack
from attacks_arrow import survives
from attacks_parquet import MOST_GROWN_BYTES, memory_bytes
from dataflare.pipeline.run_errors import DataError
from reading_kit import read

MIB: Final = 2**20


def refused(arena: Arena, name: str, data: bytes, *, says: str) -> None:
    """Assert that a file is refused, and that little memory is taken."""
    path = arena.folder / name
    path.write_bytes(data)

    def run() -> None:
        before = memory_bytes("VmHWM")
        error = arena.raises(DataError, lambda: read(name.split(".")[1], path), says=says)
        assert str(path) in error.message and error.hint and len(str(error)) < 10_000
        grown = memory_bytes("VmHWM") - before
        assert grown < MOST_GROWN_BYTES, f"{grown} bytes were taken"

    survives(run)


def with_dictionary(parts: Iterable[bytes]) -> bytes:
    """Compress as xz, and say that it takes a dictionary of 3 GiB."""
    compressor = lzma.LZMACompressor(filters=[{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": MIB}])
    data = bytearray(b"".join([*(compressor.compress(part) for part in parts), compressor.flush()]))
    start = 12
    end = start + (data[start] + 1) * 4 - 4
    data[data.index(0x21, start) + 2] = 39
    data[end : end + 4] = struct.pack("<I", zlib.crc32(bytes(data[start:end])))
    return bytes(data)


@attack("files-in")
def xz_dictionary_of_gigabytes(arena: Arena) -> None:
    """Say of an xz file that unpacking it takes a dictionary of 3 GiB, and fill 400 MiB of it with 60 KB."""
    data = with_dictionary(itertools.repeat(b" " * MIB, 400))
    assert len(data) < MIB
    refused(arena, "rows.jsonl.xz", data, says="more than 268435456 bytes of memory to unpack")


@attack("files-in")
def zstd_window_of_gigabytes(arena: Arena) -> None:
    """Say of a zstd file that unpacking it takes a window of 2 GiB."""
    frame = b"\x28\xb5\x2f\xfd\x00" + bytes([21 << 3]) + b"\x01\x00\x00"
    refused(arena, "rows.csv.zst", frame, says="requires too much memory")


@attack("files-in")
def record_that_does_not_end(arena: Arena) -> None:
    """Compress 400 MiB without a line end, as one record of CSV, one line of JSON, and one name in a header."""
    endless = gzip.compress(b"x" * (400 * MIB), 1)
    longer = gzip.compress(b"x" * (48 * MIB), 1)
    refused(arena, "rows.csv.gz", gzip.compress(b"a\n") + longer, says="longer than max_record")
    refused(arena, "rows.jsonl.gz", gzip.compress(b'{"a":"') + endless, says="longer than max_line")
    refused(arena, "rows.csv.gz", endless, says="longer than max_record")


@attack("files-in")
def header_of_too_many_names(arena: Arena) -> None:
    """Give a header 60,000 names, which are compared with each other."""
    refused(arena, "rows.csv", b",".join(b"%d" % n for n in range(60_000)) + b"\n", says="more than 16384")


@attack("terminal")
def name_of_megabytes_in_an_error(arena: Arena) -> None:
    """Give two columns the same name of three megabytes, which the error about it shows."""
    name = b"n" * (3 * MIB)
    refused(arena, "rows.csv", name + b"," + name + b"\n1,2\n", says="two columns are named")
    refused(arena, "rows.jsonl", b'{"' + name + b'":1}\n{"' + name + b'":"x"}\n', says="column")


READING: Final = "dataflare.pipeline.reading"
MUTATIONS = [
    Mutation(f"{READING}.csv_reader:parse_size", answers(2**28), ("record_that_does_not_end",)),
    Mutation(f"{READING}.compression:_XZ_BYTES", 2**40, ("xz_dictionary_of_gigabytes",)),
    Mutation(f"{READING}.csv_reader:MAX_COLUMNS", 2**40, ("header_of_too_many_names",)),
    Mutation("dataflare.pipeline.run_errors:cut", lambda text: text, ("name_of_megabytes_in_an_error",)),
]
