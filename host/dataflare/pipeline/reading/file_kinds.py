"""What kind of file one is by its first bytes, for errors about a file that another connector reads."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Final

from dataflare.pipeline.run_errors import DataError

__all__ = ["HEAD_BYTES", "binary_kind", "check_kind"]

HEAD_BYTES: Final = 16
_TEXT_BYTES: Final = 512
_BINARY: Final = {
    b"\x1f\x8b": ("gzip data", ""),
    b"BZh91AY&SY": ("bz2 data", ""),
    b"\xfd7zXZ\0": ("xz data", ""),
    b"\x28\xb5\x2f\xfd": ("zstd data", ""),
    b"\x04\x22\x4d\x18": ("lz4 data", "expand it first"),
    b"\x5d\0\0": ("lzma data of the old form", "expand it first"),
    b"PK\x03\x04": (
        "a ZIP archive, as Excel files are too",
        "an Excel file needs connector: excel; unpack another archive",
    ),
    b"\xd0\xcf\x11\xe0": ("a file of an old Excel or Word", "save it as .xlsx, or as CSV"),
    b"PAR1\x15": ("a Parquet file", "connector: parquet"),
    b"ARROW1\0\0": ("an Arrow file", "connector: arrow"),
    b"\xff\xff\xff\xff": ("an Arrow stream", "connector: arrow"),
    b"Obj\x01": ("an Avro file", "convert it to Parquet first"),
    b"SQLite format 3\0": ("an SQLite database", "export the table as CSV first"),
    b"%PDF-": ("a PDF document", "export the data as CSV first"),
}


def binary_kind(head: bytes) -> tuple[str, str] | None:
    """Say what a file is that is not text, and what to do; `None` if that is not known.

    What to do is empty for compressed data.
    """
    return next((found for start, found in _BINARY.items() if head.startswith(start)), None)


def check_kind(path: Path, file: IO[bytes], name: str, begins: Sequence[bytes]) -> None:
    """Refuse a file that is known to be of another kind than its connector reads.

    Args:
        path: The file.
        file: The same, at its beginning, where it is left.
        name: What the connector reads: `a Parquet file`.
        begins: What such files begin with.

    Raises:
        DataError: It is another kind of file; names it, and what to do.
    """
    head = file.read(_TEXT_BYTES)
    file.seek(0)
    if head.startswith(tuple(begins)):
        return
    if not head:
        raise DataError(f"is empty, and not {name}", file=str(path), hint="is it the right file?")
    if (found := binary_kind(head)) is not None:
        what, hint = found
        raise DataError(f"is not {name} but {what}", file=str(path), hint=hint or "expand it first")
    if _is_text(head):
        reader = "jsonl" if head.lstrip().startswith((b"{", b"[")) else "csv"
        raise DataError(f"is not {name} but text", file=str(path), hint=f"connector: {reader}")


def _is_text(head: bytes) -> bool:
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return all(character.isprintable() or character in "\t\r\n\f\ufeff" for character in text)
