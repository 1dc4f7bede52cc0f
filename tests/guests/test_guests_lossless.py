"""Example plugins keep and compare every digit of what they read, or say where and why not."""

from __future__ import annotations

import os
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest

from dataflare import DirectoryGrant, Grants, Host, PluginError
from guest_kit import component

COMPONENTS = Path(__file__).parents[2] / "guest-sdks/rust/components"


@pytest.fixture(scope="module")
def host():
    with Host() as host:
        yield host


def read(host, folder, text, **config):
    (folder / "in.csv").write_bytes(text.encode() if isinstance(text, str) else text)
    grants = Grants(files={"data": DirectoryGrant(path=folder)})
    with host.load(COMPONENTS / "csv-source.wasm", config={"path": "data/in.csv", **config}, grants=grants) as source:
        return pa.Table.from_batches([chunk.rows for chunk in source.chunks()])


def mapped(host, rows, **config):
    with host.load(COMPONENTS / "json-mapper.wasm", config=config) as mapper:
        return mapper.process_batch(rows)


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        (["01234", "9"], "string", ["01234", "9"]),
        (["+493012345678901", "1"], "string", ["+493012345678901", "1"]),
        (["18446744073709551615"], "string", ["18446744073709551615"]),
        (["0.1000000000000000055", "1.5"], "string", ["0.1000000000000000055", "1.5"]),
        (["NA", "null"], "string", ["NA", "null"]),
        (['""', "", "x"], "string", ["", None, "x"]),
        (["9223372036854775807", "-1"], "int64", [2**63 - 1, -1]),
        (["1.5", "2"], "double", [1.5, 2.0]),
    ],
)
def test_csv_source_keeps_what_a_column_holds(host, tmp_path, values, kind, expected):
    column = read(host, tmp_path, "k,a\n" + "".join(f"1,{value}\n" for value in values))["a"]
    assert (str(column.type), column.to_pylist()) == (kind, expected)


def test_csv_source_keeps_empty_lines_of_one_column(host, tmp_path):
    assert read(host, tmp_path, 'a\r\nx\r\n\r\n""\r\ny\r\n').to_pydict() == {"a": ["x", None, "", "y"]}
    assert read(host, tmp_path, "a\n1\n\n2\n", batch_rows=1).to_pydict() == {"a": [1, None, 2]}


def test_csv_source_takes_records_up_to_its_limit(host, tmp_path):
    text = f"a,b\n1,{'x' * 3_000_000}\n2,y\n"
    assert read(host, tmp_path, text).num_rows == 2
    with pytest.raises(PluginError, match="line 2: longer than max_record_bytes = 1000"):
        read(host, tmp_path, text, max_record_bytes=1000)


def test_csv_source_says_when_a_late_value_would_be_changed(host, tmp_path):
    text = "k,a\n" + "1,11111\n" * 200_000 + "1,01234\n"
    with pytest.raises(PluginError, match=r'line 200002: column "a" \(int64\): "01234"'):
        read(host, tmp_path, text)


@pytest.mark.parametrize(
    ("text", "config", "why"),
    [
        ('a,b\n1,2\n"x"y,2\n', {}, "line 3: something other than a delimiter follows the closing quote"),
        ('"a" ,b\n1,2\n', {}, "line 1: something other than a delimiter follows the closing quote"),
        ("a;b\n1;2\n", {}, "the header is one column, \"a;b\": set `delimiter` to ';'"),
        ("a\tb\n1\t2\n", {}, r"set `delimiter` to '\\t'"),
        ("a\n1,2\n", {}, "line 2: number of fields: 2, but the header has 1"),
        (b"\x1f\x8b\x08", {}, "the connector `csv` reads other encodings and compressed files"),
        ("a\n1\n", {"delimiter": "é"}, "delimiter: 'é' is not an ASCII character"),
    ],
)
def test_csv_source_refuses_what_it_would_misread(host, tmp_path, text, config, why):
    with pytest.raises(PluginError, match=why):
        read(host, tmp_path, text, **config)


def test_csv_source_reads_one_column_that_holds_other_delimiters(host, tmp_path):
    assert read(host, tmp_path, '"a;b"\n1;2\n').to_pydict() == {"a;b": ["1;2"]}
    assert read(host, tmp_path, "a;b\n1;2\n", delimiter=",").to_pydict() == {"a;b": ["1;2"]}
    assert read(host, tmp_path, 'a,b\n"x""y","z\n"\nu"v,""\n').to_pydict() == {"a": ['x"y', 'u"v'], "b": ["z\n", ""]}


def state_after_first_chunk(host, folder, text, **options):
    (folder / "in.csv").write_text(text)
    grants = Grants(files={"data": DirectoryGrant(path=folder)})
    config = {"path": "data/in.csv", "batch_rows": 2, **options}
    with host.load(COMPONENTS / "csv-source.wasm", config=config, grants=grants) as source:
        return next(iter(source.chunks())).state


def resume(host, folder, text, state, **options):
    (folder / "in.csv").write_text(text)
    grants = Grants(files={"data": DirectoryGrant(path=folder)})
    config = {"path": "data/in.csv", **options}
    with host.load(COMPONENTS / "csv-source.wasm", config=config, grants=grants) as source:
        return [row for chunk in source.chunks(state=state) for row in chunk.rows.to_pylist()]


def test_a_state_of_another_file_is_refused_though_a_record_begins_at_its_byte(host, tmp_path):
    state = state_after_first_chunk(host, tmp_path, "a,b\n1,2\n3,4\n5,6\n")
    assert resume(host, tmp_path, "a,b\n1,2\n3,4\n5,6\n7,8\n", state) == [{"a": 5, "b": 6}, {"a": 7, "b": 8}]
    for other in ("b,a\n1,2\n3,4\n5,6\n", "a,b\n1,2\n3,9\n5,6\n"):
        with pytest.raises(PluginError, match="is not the file that the state is of"):
            resume(host, tmp_path, other, state)


def test_a_state_of_a_read_with_other_options_is_refused(host, tmp_path):
    text = "a,b;c\n1,2;-\n3,4;-\n5,6;-\n"
    state = state_after_first_chunk(host, tmp_path, text, null_values=["", "-"])
    same = {"null_values": ["-", ""], "delimiter": ",", "columns": {"a": "string"}}
    assert resume(host, tmp_path, text, state, **same) == [{"a": "5", "b;c": "6;-"}]
    for change in ({"delimiter": ";"}, {"null_values": [""]}, {"quoted_nulls": True}):
        with pytest.raises(PluginError, match="is read with another delimiter, null_values or quoted_nulls") as caught:
            resume(host, tmp_path, text, state, **{"null_values": ["", "-"], **change})
        assert caught.value.error.case == "invalid-state"


def shorten(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(8_000_000)


def rename_another(path: Path) -> None:
    path.with_name("other").write_text("a,b\n" + "3,4\n" * 3_000_000)
    path.with_name("other").replace(path)


def write_within(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(10_000_000)
        file.write(b"9")
    os.utime(path, (1, 1))


def grow_by_a_part(path: Path) -> None:
    with path.open("a") as file:
        file.write("5")


def grow_by_a_part_of_a_value(path: Path) -> None:
    with path.open("a") as file:
        file.write("5,6")


@pytest.mark.parametrize(
    "change", [shorten, rename_another, write_within, grow_by_a_part, grow_by_a_part_of_a_value, Path.unlink]
)
def test_a_file_that_changes_while_csv_source_reads_it_is_an_error(host, tmp_path, change):
    with pytest.raises(PluginError, match="changed while it was read"):
        read_while(host, tmp_path, change)


def test_a_file_that_grows_by_whole_lines_is_read_to_its_new_end(host, tmp_path):
    def grow(path: Path) -> None:
        with path.open("a") as file:
            file.write("5,6\n")

    assert read_while(host, tmp_path, grow) == 3_000_001


def read_while(host, folder: Path, change: Callable[[Path], object]) -> int:
    """Read a file of which the end changes once its beginning was read; returns how many rows come."""
    path = folder / "in.csv"
    path.write_text("a,b\n" + "1,2\n" * 3_000_000)
    grants = Grants(files={"data": DirectoryGrant(path=folder)})
    with host.load(COMPONENTS / "csv-source.wasm", config={"path": "data/in.csv"}, grants=grants) as source:
        chunks = iter(source.chunks())
        first = next(chunks)
        change(path)
        return first.rows.num_rows + sum(chunk.rows.num_rows for chunk in chunks)


@pytest.mark.parametrize("precision", [10, 30])
def test_json_mapper_compares_decimals_as_numbers(host, precision):
    amounts = pa.array([Decimal("9.50"), Decimal("100.00"), Decimal("-3.25"), None], pa.decimal128(precision, 2))
    rows = pa.record_batch({"amt": amounts})
    kept = mapped(host, rows, keep_if={"field": "amt", "op": ">=", "value": 10})
    assert kept["amt"].to_pylist() == [Decimal("100.00")]
    assert kept.schema == rows.schema


def test_json_mapper_compares_every_digit_of_integers(host):
    rows = pa.record_batch({"n": pa.array([2**53, 2**53 + 1, -(2**63)], pa.int64())})
    assert mapped(host, rows, keep_if={"field": "n", "op": ">", "value": 2**53})["n"].to_pylist() == [2**53 + 1]


def test_json_mapper_keeps_what_is_not_finite(host):
    rows = pa.record_batch(
        {
            "x": pa.array([float("nan"), float("inf"), float("-inf"), 1.5, None]),
            "f": pa.array([float("nan"), float("-inf"), 2.5, None, 0.1], pa.float32()),
            "t": ["NaN", "Infinity", "-Infinity", None, "x"],
        }
    )
    assert repr(mapped(host, rows).to_pydict()) == repr(rows.to_pydict())
    kept = mapped(host, rows, keep_if={"field": "x", "op": ">", "value": 1})
    assert kept["x"].to_pylist() == [float("inf"), 1.5]


def test_json_mapper_refuses_to_compare_values_of_different_kinds(host):
    with pytest.raises(PluginError, match="of the same kind"):
        mapped(host, pa.record_batch({"a": ["x"]}), keep_if={"field": "a", "op": "<", "value": 1})


@pytest.mark.parametrize("fields", ['"a":1,"a":2', '"a":1,"\\u0061":2', '"a":{},"b":1,"a":null'])
def test_json_mapper_refuses_a_record_with_a_name_twice(host, fields):
    with (
        host.load(COMPONENTS / "json-mapper.wasm", config={}) as mapper,
        pytest.raises(PluginError, match='it has the name "a" twice'),
    ):
        mapper.process(f"{{{fields}}}")


NUMBERS = pa.record_batch(
    {
        "byte": pa.array([127, 1, 2], pa.int8()),
        "whole": pa.array([1, None, 2**53 + 1], pa.int64()),
        "big": pa.array([2**64 - 1, 1, 1], pa.uint64()),
        "real": pa.array([0.5, 2.0, 0.0]),
        "price": pa.array([Decimal("1.25"), Decimal("2.50"), None], pa.decimal128(10, 2)),
        "long": pa.array([Decimal("1.25"), Decimal("2.50"), None], pa.decimal128(36, 2)),
    }
)


def derived(host, op, left, right):
    config = {"columns": [{"name": "x", "op": op, "left": left, "right": right}]}
    with host.load(COMPONENTS / "derive-columns.wasm", config=config) as derive:
        return derive.transform(NUMBERS)["x"]


@pytest.mark.parametrize(
    ("op", "left", "right", "kind", "values"),
    [
        ("add", "byte", "byte", "int64", [254, 2, 4]),
        ("add", "whole", "whole", "int64", [2, None, 2**54 + 2]),
        ("multiply", "byte", 2**53 + 1, "int64", [127 * (2**53 + 1), 2**53 + 1, 2**54 + 2]),
        ("add", "byte", "real", "double", [127.5, 3.0, 2.0]),
        ("add", "price", "real", "double", [1.75, 4.5, None]),
        ("multiply", "price", 1.19, "decimal128(14, 4)", [Decimal("1.4875"), Decimal("2.975"), None]),
        ("subtract", "price", 0.1, "decimal128(11, 2)", [Decimal("1.15"), Decimal("2.40"), None]),
        ("multiply", "price", "byte", "decimal128(30, 2)", [Decimal("158.75"), Decimal("2.50"), None]),
        ("add", "long", "long", "decimal128(37, 2)", [Decimal("2.50"), Decimal("5.00"), None]),
        ("divide", "byte", 2, "double", [63.5, 0.5, 1.0]),
        ("divide", "byte", "real", "double", [254.0, 0.5, None]),
        ("divide", "price", 0, "double", [None, None, None]),
        ("multiply", "price", 1e300, "double", [1.25e300, 2.5e300, None]),
    ],
)
def test_derive_columns_computes_exactly(host, op, left, right, kind, values):
    column = derived(host, op, left, right)
    assert (str(column.type), column.to_pylist()) == (kind, values)


@pytest.mark.parametrize(
    ("op", "left", "right", "why"),
    [
        ("add", "whole", 2**63 - 1, r"overflow \(of whole\)"),
        ("add", "big", 1, r"18446744073709551615 not in range.*\(of big\)"),
        ("add", "whole", "real", r"9007199254740993 not in range.*\(of whole\)"),
        ("divide", "whole", 2, r"9007199254740993 not in range.*\(of whole\)"),
        ("add", "real", 2**53 + 1, "9007199254740993 has more digits than a double"),
        ("multiply", "long", "long", "column 'long' is .*, not types .*Decimal precision out of range"),
        ("add", "long", "real", 'column "x": column "long", a decimal, has more digits than a double'),
        ("divide", "long", 3, 'column "long", a decimal, has more digits than a double'),
    ],
)
def test_derive_columns_refuses_what_it_would_round(host, op, left, right, why):
    with pytest.raises(PluginError, match=why):
        derived(host, op, left, right)


LONG = {
    "whole": pa.array([2**53, 2**53 + 1, None, 2**63 - 1]),
    "decimal": pa.array(map(Decimal, ("9007199254740992.9", "9007199254740993.0", "-0.1", "0")), pa.decimal128(20, 1)),
    "hundreds": pa.array([Decimal(9007199254740900), None, Decimal(0), Decimal(-100)], pa.decimal128(20, -2)),
    "short": pa.array([Decimal("0.10"), Decimal("0.11"), None, Decimal("9.50")], pa.decimal128(10, 2)),
    "text": pa.array(["\U0001f600", "\uffff", "a", None]),
}


@pytest.mark.guests
@pytest.mark.parametrize(
    ("column", "op", "value", "rows"),
    [
        ("whole", "==", 2**53 + 1, [1]),
        ("whole", ">", 2**53, [1, 3]),
        ("decimal", ">", 2**53, [0, 1]),
        ("decimal", "==", 2**53 + 1, [1]),
        ("decimal", "==", -0.1, [2]),
        ("decimal", "<", 1e-7, [2, 3]),
        ("hundreds", ">=", 9007199254740900, [0]),
        ("hundreds", "<", 1e20, [0, 2, 3]),
        ("short", "==", 0.1, [0]),
        ("text", ">", "\uffff", [0]),
        ("text", ">=", "\uffff", [0, 1]),
        ("text", "<", "\U0001f600", [1, 2]),
        ("text", "==", "\U0001f600", [0]),
    ],
)
def test_filter_rows_compares_every_digit(host, column, op, value, rows):
    batch = pa.record_batch({"row": range(4), column: LONG[column]})
    with host.load(component("filter-rows"), config={"column": column, "op": op, "value": value}) as plugin:
        assert plugin.transform(batch)["row"].to_pylist() == rows


@pytest.mark.guests
@pytest.mark.parametrize(
    ("column", "rule", "rows"),
    [
        ("whole", {"max": 2**53}, [1, 3]),
        ("decimal", {"max": 2**53}, [0, 1]),
        ("decimal", {"min": 0}, [2]),
        ("decimal", {"one_of": [2**53 + 1, -0.1, 0]}, [0]),
        ("hundreds", {"min": -100, "max": 9007199254740900}, []),
        ("short", {"one_of": [0.1, 0.11, 9.5]}, []),
    ],
)
def test_range_validator_compares_every_digit(host, column, rule, rows):
    config = {"rules": [{"name": "r", "column": column, **rule}]}
    with host.load(component("range-validator"), kind="validator", config=config) as plugin:
        report = plugin.validate(pa.record_batch({column: LONG[column]}))
    assert [violation.row for violation in report.violations] == rows
