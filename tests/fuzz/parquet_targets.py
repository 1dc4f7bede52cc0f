"""Parquet files that are whole, and that say what nobody would: made of parts, with some numbers that are lies."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

import parquet_kit as kit
from arrow_targets import exercise
from cases import Target
from dataflare.data.batches import Batch
from dataflare.pipeline.connectors.registry import BUILT_IN
from dataflare.pipeline.readers import open_source
from parquet_kit import Column, Page

MOST: Final = 16 * 2**20
"""The bytes that a batch may take."""
_MOST_BATCHES: Final = 6
_COUNTS: Final = (0, 1, 1, 2, 7, 1000, 1000, 65_536, 2**20, 2**31 - 1)
_WIDTHS: Final = (1, 4, 12, 16, 1000, 2**20, 2**24, 2**31 - 1)
_CONVERTED: Final = (None, None, None, 0, 5, 6, 7, 9, 10, 15, 20, 21)
_CODECS: Final = {kit.SNAPPY: "snappy", kit.GZIP: "gzip", kit.ZSTD: "zstd", kit.BROTLI: "brotli"}


def make(rng: random.Random, seeds: Sequence[bytes]) -> bytes:
    """Make a file of one to three columns that agree on the number of rows, mostly."""
    rows = rng.choice(_COUNTS)
    columns = [_column(rng, f"c{number}", rows) for number in range(rng.choice((1, 1, 2, 3)))]
    return kit.file(columns, _lie(rng, rows), groups=rng.choice((1, 1, 1, 3)))


def _lie(rng: random.Random, truth: int) -> int:
    return rng.choice((0, 1, truth + 1, truth * 2, 2**31 - 1, 2**40)) if rng.random() < 0.03 else truth


def _column(rng: random.Random, name: str, rows: int) -> Column:
    kind = rng.choice((*range(8), kit.BYTE_ARRAY, kit.BYTE_ARRAY))
    repetition = rng.choice((kit.REQUIRED, kit.OPTIONAL, kit.OPTIONAL, kit.REPEATED))
    path = [("g", rng.randrange(3))] if rng.random() < 0.2 else []
    width = rng.choice(_WIDTHS) if kind == kit.FIXED else 0
    codec = rng.choice((kit.PLAIN_BYTES, kit.PLAIN_BYTES, *_CODECS))
    levels = [each for _, each in path] + [repetition]
    repeated, optional = levels.count(kit.REPEATED), len(levels) - levels.count(kit.REQUIRED)
    values = rng.choice(_COUNTS) if repeated else rows
    pages = []
    entries = rng.choice((0, 0, 1, 1, 3))
    if entries:
        pages.append(_page(rng, codec, entries, _plain(rng, kind, width, entries), kit.PLAIN, dictionary=True))
    shares = [values] if values < 2 or rng.random() < 0.7 else [values // 2, values - values // 2]
    for share in shares:
        pages.append(_data_page(rng, codec, kind, width, share, repeated, optional, entries))
    return Column(
        name, pages, kind, repetition, width, codec, converted=rng.choice(_CONVERTED), path=path,
        size=None if rng.random() < 0.97 else rng.choice((0, 2**31, 2**40)),
    )  # fmt: skip


def _data_page(
    rng: random.Random, codec: int, kind: int, width: int, values: int, repeated: int, optional: int, entries: int
) -> Page:
    body = b""
    if repeated:
        first = min(1, values)
        body += kit.levels(kit.run(0, first), kit.run(rng.choice((0, repeated)), max(0, values - first)))
    defined = values
    if optional:
        level = rng.choice((0, optional, optional))
        defined = values if level == optional else 0
        body += kit.levels(kit.run(level, values))
    if entries and rng.random() < 0.7:
        return _page(rng, codec, values, body + b"\1" + kit.run(0, defined), kit.DICTIONARY)
    match rng.randrange(5):
        case 0:
            return _page(rng, codec, values, body + kit.same(rng.choice((0, 1, 5)), _lie(rng, values)), kit.DELTA)
        case 1:
            lengths = kit.same(0, values)
            return _page(rng, codec, values, body + lengths, kit.DELTA_LENGTH)
        case 2:
            empty = kit.same(0, values)
            return _page(rng, codec, values, body + empty + empty, kit.DELTA_BYTES)
        case _:
            return _page(rng, codec, values, body + _plain(rng, kind, width, min(defined, 2000)), kit.PLAIN)


def _plain(rng: random.Random, kind: int, width: int, values: int) -> bytes:
    if kind == kit.BYTE_ARRAY:
        return kit.texts(*[b"x" * rng.choice((0, 3, 3, 3, 40_000 if values < 9 else 9))] * values)
    size = {kit.BOOLEAN: 1, kit.INT64: 8, kit.DOUBLE: 8, kit.INT96: 12, kit.FIXED: min(width, 1000)}.get(kind, 4)
    return bytes(size * values)


def _page(rng: random.Random, codec: int, values: int, body: bytes, encoding: int, *, dictionary: bool = False) -> Page:
    size = len(body)
    if codec in _CODECS:
        body = bytes(pa.compress(body, codec=_CODECS[codec], asbytes=True))
    return Page(
        _lie(rng, values), body, encoding, dictionary, _lie(rng, size) & 0x7FFF_FFFF, _lie(rng, len(body)) & 0x7FFF_FFFF
    )


def _read(data: bytes) -> None:
    node: Any = BUILT_IN["parquet"].read_node.model_validate(
        {"connector": "parquet", "read": "case", "options": {"max_batch": f"{MOST}B"}}
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "case.parquet")
        path.write_bytes(data)
        source = open_source(node, path)
        try:
            for number, batch in enumerate(source.batches()):
                size = batch.get_total_buffer_size()
                assert size <= 2 * MOST, f"a batch of {size} bytes"
                if batch.num_rows <= 1000:
                    exercise(Batch(batch, max_bytes=MOST), random.Random(number))
                if number == _MOST_BATCHES:
                    break
        finally:
            source.close()


def targets() -> dict[str, Target]:
    """All targets, by name."""
    # Most of the cases start a process.
    return {"parquet-lies": Target([], _read, make, address_bytes=2 * 2**30, weight=20)}
