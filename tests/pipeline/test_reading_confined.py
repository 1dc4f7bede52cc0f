"""Files that are read in a confined process: what the jail must not take away, and how long the host waits."""

from __future__ import annotations

import io
import logging
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pyarrow as pa
import pytest

import hostile_excel
from dataflare.pipeline.reading import confined
from dataflare.pipeline.reading.confined import Found, read_confined
from dataflare.runtime.isolation import spawn
from reading_kit import read

SUPPORT = str(Path(__file__).parents[1] / "support")


@pytest.fixture
def file(tmp_path: Path) -> Iterator[io.BufferedReader]:
    path = tmp_path / "rows.any"
    path.write_bytes(b"something")
    with path.open("rb") as opened:
        yield opened


def waits(file: io.BufferedReader, batches: int, each_s: float) -> Iterator[Any]:
    request = {"batches": batches, "each_s": each_s}
    return read_confined("hostile_reader:waits", file, request, max_bytes=2**26, roots=[SUPPORT])


def test_parts_that_the_kernel_does_not_have_are_told(
    file: io.BufferedReader, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    weaker = (
        "import sys, json; sys.path += json.loads(sys.argv[1]); from dataflare.runtime.isolation import jail; "
        "jail.confine = lambda **_: ('rlimits', 'seccomp'); "
    )
    monkeypatch.setattr(spawn, "_BOOT", weaker + spawn._BOOT)
    with caplog.at_level(logging.WARNING):
        found, _ = waits(file, 0, 0)
    assert found == Found({}, ("rlimits", "seccomp"))
    assert "rows.any: this machine's kernel has no landlock-files" in caplog.text


def test_reader_that_goes_on_is_waited_for(file: io.BufferedReader) -> None:
    parts = waits(file, 12, 0.5)
    next(parts)
    schema = next(parts)
    with mock.patch.object(confined, "_STILL_S", 5.0):
        assert pa.Table.from_batches(parts, schema)["n"].to_pylist() == [*range(12)]


@pytest.mark.parametrize("encoding", ["utf-16", "iso-8859-1", "windows-1251", "koi8-r"])
def test_workbook_in_another_encoding_is_read(tmp_path: Path, encoding: str) -> None:
    pytest.importorskip("openpyxl")
    text = "ä" if encoding == "iso-8859-1" else "да"
    sheet = hostile_excel.rows(hostile_excel.HEADER, hostile_excel.text(text))
    head = f'<?xml version="1.0" encoding="{encoding}"?>'
    made = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(hostile_excel.workbook(sheet, head=head))) as plain,
        zipfile.ZipFile(made, "w") as archive,
    ):
        for name in plain.namelist():
            data = plain.read(name)
            archive.writestr(name, data.decode().encode(encoding) if "sheet1" in name else data)
        archive.writestr("docProps/naïve.xml", "")
    path = tmp_path / "rows.xlsx"
    path.write_bytes(made.getvalue())
    assert read("excel", path).to_pydict() == {"a": [text]}


def test_times_of_a_workbook_get_a_zone(tmp_path: Path) -> None:
    pytest.importorskip("openpyxl")
    styles = (
        f'<styleSheet xmlns="{hostile_excel.MAIN}"><cellXfs><xf/><xf numFmtId="22" applyNumberFormat="1"/></cellXfs>'
        "</styleSheet>"
    )
    path = tmp_path / "rows.xlsx"
    sheet = hostile_excel.rows(hostile_excel.HEADER, '<c s="1"><v>45352.5</v></c>')
    path.write_bytes(hostile_excel.workbook(sheet, {"styles.xml": styles}))
    table = read("excel", path, columns={"a": "timestamp[us]"})
    assert table["a"].cast(pa.string()).to_pylist() == ["2024-03-01 12:00:00.000000"]
