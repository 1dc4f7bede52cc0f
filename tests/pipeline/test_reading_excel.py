"""Excel workbooks: what a cell is arrives, or the run ends with the reason."""

from __future__ import annotations

import contextlib
import datetime
import io
import sys
import zipfile
from pathlib import Path

import pyarrow as pa
import pytest
from pydantic import ValidationError

import hostile_excel
from dataflare.errors import ConfigError
from dataflare.pipeline.readers import describe, guess_connector
from dataflare.pipeline.reading import excel_reader, excel_sheet
from dataflare.pipeline.reading.excel_reader import ExcelReadOptions
from dataflare.pipeline.run_errors import DataError
from reading_kit import NODES, read, source_of

openpyxl = pytest.importorskip("openpyxl")

DAY = datetime.datetime(2024, 2, 29)
MOMENT = datetime.datetime(2024, 3, 10, 1, 30, 15)


def workbook(path: Path, *rows: list[object], title: str = "One", **others: list[list[object]]) -> Path:
    book = openpyxl.Workbook()
    for name, content in {title: rows, **others}.items():
        sheet = book.create_sheet(name)
        for row in content:
            sheet.append(row)
    book.remove(book.worksheets[0])
    book.save(path)
    return path


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        (["01234", "+49"], "string", ["01234", "+49"]),
        ([1, None, -(2**53)], "int64", [1, None, -(2**53)]),
        ([1, 2.5], "double", [1.0, 2.5]),
        ([True, False], "bool", [True, False]),
        ([DAY, None], "date32[day]", [DAY.date(), None]),
        ([DAY, MOMENT], "timestamp[us]", [DAY, MOMENT]),
        ([datetime.time(1, 2, 3)], "time64[us]", [datetime.time(1, 2, 3)]),
        ([datetime.timedelta(hours=30)], "duration[us]", [datetime.timedelta(hours=30)]),
    ],
)
def test_a_column_is_what_its_cells_are(tmp_path, values, kind, expected):
    path = workbook(tmp_path / "in.xlsx", ["k", "a"], *([1, value] for value in values))
    column = read("excel", path)["a"]
    assert (str(column.type), column.to_pylist()) == (kind, expected)


@pytest.mark.parametrize(
    ("number", "kind"), [(2**63 - 1, "int64"), (2**64 + 1, "decimal128(38, 0)"), (10**40 + 1, "string")]
)
def test_integers_that_other_programs_write_keep_their_digits(tmp_path, number, kind):
    path = workbook(tmp_path / "plain.xlsx", ["a"], [123456])
    with zipfile.ZipFile(path) as plain, zipfile.ZipFile(tmp_path / "in.xlsx", "w") as archive:
        for name in plain.namelist():
            archive.writestr(name, plain.read(name).replace(b"123456", b"%d" % number))
    column = read("excel", tmp_path / "in.xlsx")["a"]
    assert (str(column.type), str(column[0].as_py())) == (kind, str(number))


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ("x_x000D_y", "x\ry"),
        ("_x005F_", "_"),
        ("_x005F_x000D_", "_x000D_"),
        ("_xD83D__xDE00_", "\N{GRINNING FACE}"),
        ("_xD83D_", "_xD83D_"),
        ("a_x_b", "a_x_b"),
    ],
)
def test_characters_that_a_workbook_writes_by_their_numbers_are_decoded(tmp_path, written, text):
    path = workbook(tmp_path / "in.xlsx", ["k", "a"], [1, written])
    assert read("excel", path)["a"].to_pylist() == [text]


def test_a_sheet_is_found_by_name_and_number(tmp_path):
    path = workbook(tmp_path / "in.xlsx", ["a"], [1], Two=[["b"], ["x"]])
    assert read("excel", path).to_pydict() == {"a": [1]}
    assert read("excel", path, sheet=2) == read("excel", path, sheet="Two")
    for sheet in ("Three", 3):
        with pytest.raises(DataError, match="there is no sheet") as caught:
            read("excel", path, sheet=sheet)
        assert "One, Two" in caught.value.hint


def test_header_rows_before_it_and_empty_rows(tmp_path):
    path = workbook(tmp_path / "in.xlsx", ["Report"], [], ["a", "b"], [1, "x"], [], [None, "y"])
    assert read("excel", path, skip_rows=1).to_pydict() == {"a": [1, None], "b": ["x", "y"]}
    bare = workbook(tmp_path / "bare.xlsx", [1], [], [3], [])
    assert read("excel", bare, header=False, batch_rows=2).to_pydict() == {"column_1": [1, None, 3]}


@pytest.mark.parametrize(
    ("rows", "what"),
    [
        ([["a"], [1], ["x"]], ":3: column 'a': a text after a number"),
        ([["a"], ["#N/A"]], ":2: cell A2 is the error #N/A"),
        ([["a"], ["=1+1"]], ":2: the formula in cell A2 has no stored value"),
        ([["a", "a"], [1, 2]], ":1: two columns are named 'a'"),
        ([["a", None, "b"], [1, None, 2], [None, 3]], ":3: cell B3 has a value, and its column has no name"),
        ([["a"], [1, 2]], ":2: the row has 2 cells"),
        ([], "the sheet is empty"),
    ],
)
def test_what_would_be_lost_is_refused_with_its_row(tmp_path, rows, what):
    path = workbook(tmp_path / "in.xlsx", *rows)
    with pytest.raises(DataError) as caught:
        read("excel", path)
    assert what in str(caught.value)
    assert str(path) in str(caught.value)


def test_columns_without_a_name_and_a_value_are_left_out(tmp_path):
    path = workbook(tmp_path / "in.xlsx", [None, "a", None, "b"], [None, 1, None, 2], [None, 3], [None, None, None, 4])
    assert read("excel", path).to_pydict() == {"a": [1, 3, None], "b": [2, None, 4]}
    path = workbook(tmp_path / "one.xlsx", [None, "a"], [None, 1], [], [None, 3])
    assert read("excel", path).to_pydict() == {"a": [1, None, 3]}


def test_a_formula_may_give_an_empty_text(tmp_path):
    path = workbook(tmp_path / "plain.xlsx", ["k", "a"], [1, 123456], [2, "x"])
    with zipfile.ZipFile(path) as plain, zipfile.ZipFile(tmp_path / "in.xlsx", "w") as archive:
        for name in plain.namelist():
            content = plain.read(name).replace(b't="n"><v>123456<', b't="str"><f>IF(TRUE,"")</f><v><')
            archive.writestr(name, content)
    assert read("excel", tmp_path / "in.xlsx")["a"].to_pylist() == ["", "x"]


@pytest.mark.parametrize("errors", ["fail", "null"])
def test_a_date_beyond_the_calendar_is_not_one_of_the_errors_of_cells(tmp_path, errors):
    path = tmp_path / "in.xlsx"
    book = openpyxl.Workbook()
    book.active.append(["a"])
    book.active.append([2958466])
    book.active["A2"].number_format = "yyyy-mm-dd"
    book.save(path)
    with pytest.raises(DataError, match="'2958466' is shown as a date, and is beyond the year 9999") as caught:
        read("excel", path, errors=errors)
    assert caught.value.line == 2


def test_types_that_are_given_are_held_to(tmp_path):
    path = workbook(tmp_path / "in.xlsx", ["a", "d"], [1, MOMENT], ["x", DAY], [2.5, None], ["#N/A", DAY])
    table = read("excel", path, columns={"a": "string"}, errors=None)
    assert table["a"].to_pylist() == ["1", "x", "2.5", None]
    for columns, row in (({"a": "string", "d": "date32[day]"}, 2), ({"a": "int64"}, 3)):
        with pytest.raises(DataError) as caught:
            read("excel", path, columns=columns, errors="null")
        assert caught.value.line == row


def test_a_file_that_expands_too_far_is_refused_before_it_does(tmp_path):
    path = workbook(tmp_path / "in.xlsx", ["a"], [1])
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/bomb.xml", bytes(2**25))
    assert path.stat().st_size < 2**17
    assert read("excel", path).num_rows == 1
    with pytest.raises(DataError, match="more than max_expanded"):
        read("excel", path, max_expanded="16MiB")


def test_a_file_cut_off_or_damaged_anywhere_is_an_error_of_its_own(tmp_path):
    path = workbook(tmp_path / "in.xlsx", ["a", "b"], [1, "x"], [2, "y"])
    data = path.read_bytes()
    cut = tmp_path / "cut.xlsx"
    for size in range(0, len(data), 1500):
        cut.write_bytes(data[:size])
        with pytest.raises(DataError) as caught:
            read("excel", cut)
        assert str(cut) in str(caught.value)
    cut.write_bytes(b"\xd0\xcf\x11\xe0" + bytes(512))
    with pytest.raises(DataError, match="97 to 2003"):
        read("excel", cut)


def test_whatever_is_damaged_is_a_typed_error(tmp_path, monkeypatch):
    monkeypatch.setattr(excel_sheet, "limit_time", lambda _: None)
    data = workbook(tmp_path / "in.xlsx", ["a", "b"], [1, "x"], [2, "y"]).read_bytes()
    request = {**ExcelReadOptions().model_dump(mode="json"), "most_bytes": 2**20, "least_s": 1}
    for size in range(0, len(data), 97):
        for broken in (data[:size], data[:size] + bytes([data[size] ^ 0x55]) + data[size + 1 :]):
            with contextlib.suppress(DataError):
                parts = excel_sheet.read_sheet(io.BytesIO(broken), {**request, "found": None, "sample_only": False})
                assert sum(batch.num_rows for batch in list(parts)[2:]) <= 2


@pytest.mark.parametrize("prefix", ["", "x:"])
def test_formula_without_a_stored_value_is_found_whatever_its_prefix(tmp_path, prefix):
    path = tmp_path / "in.xlsx"
    cell = f"<{prefix}c><{prefix}f>1+1</{prefix}f></{prefix}c>"
    head = f'xmlns:x="{hostile_excel.MAIN}"'
    path.write_bytes(
        hostile_excel.workbook(hostile_excel.rows(hostile_excel.HEADER, cell.replace(">", f" {head}>", 1)))
    )
    with pytest.raises(DataError, match="has no stored value"):
        read("excel", path)


def test_wide_sheets_are_read_fewer_rows_at_a_time(tmp_path):
    path = tmp_path / "in.xlsx"
    path.write_bytes(hostile_excel.wide(1200))
    source = source_of("excel", path, max_expanded="16MiB")
    sizes = [batch.num_rows for batch in source.batches()]
    source.close()
    assert sum(sizes) == 1200 and max(sizes) < 200


def test_files_of_one_node_have_the_columns_of_the_first(tmp_path):
    first = workbook(tmp_path / "1.xlsx", ["a", "b"], [1, "x"])
    second = workbook(tmp_path / "2.xlsx", ["b", "a"], ["y", 2])
    assert read("excel", [first, second]).to_pydict() == {"a": [1, 2], "b": ["x", "y"]}
    third = workbook(tmp_path / "3.xlsx", ["b"], ["y"])
    with pytest.raises(DataError, match="different columns from the first file: it lacks 'a'"):
        read("excel", [first, third])


def test_reader_that_fails_otherwise_is_an_error_of_the_file(tmp_path, monkeypatch):
    path = workbook(tmp_path / "in.xlsx", ["a"], [1])
    monkeypatch.setattr(excel_reader, "_READER", "os:abort")
    with pytest.raises(DataError, match=r"in\.xlsx: is not a workbook, or damaged: "):
        read("excel", path)


def test_without_the_extra_the_error_names_it(tmp_path, monkeypatch):
    path = workbook(tmp_path / "in.xlsx", ["a"], [1])
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(ConfigError, match="needs the extra `excel`") as caught:
        read("excel", path)
    assert "dataflare[excel]" in caught.value.hint


def test_its_schema_is_shown_by_name_alone(tmp_path):
    path = workbook(tmp_path / "in.xlsx", ["a", "b"], [1, "x"])
    assert guess_connector(path) == "excel"
    assert describe("excel", [path], {}).schema == pa.schema([("a", pa.int64()), ("b", pa.string())])


def test_a_workbook_is_not_written(tmp_path):
    with pytest.raises(ValidationError, match="read, not written"):
        NODES.validate_python({"connector": "excel", "write": "out.xlsx", "input": "in"})


def test_dates_that_are_written_as_text_are_dates(tmp_path):
    made = openpyxl.Workbook(iso_dates=True)
    for row in (["d"], [DAY], [MOMENT]):
        made.active.append(row)
    made.save(tmp_path / "in.xlsx")
    assert read("excel", tmp_path / "in.xlsx")["d"].type == pa.timestamp("us")
