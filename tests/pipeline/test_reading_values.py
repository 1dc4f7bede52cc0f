from __future__ import annotations

import datetime
import json
import math
import re
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest

from dataflare import run
from dataflare.pipeline.run_errors import DataError
from reading_kit import read, source_of


@pytest.fixture
def fill(tmp_path):
    def make(data: str | bytes, name: str = "in") -> Path:
        path = tmp_path / name
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        return path

    return make


def csv_column(fill, *values: str, **options) -> tuple[str, list]:
    """Read a column `a` beside another one."""
    column = read("csv", fill("k,a\n" + "".join(f"{n},{value}\n" for n, value in enumerate(values))), **options)["a"]
    return str(column.type), column.to_pylist()


def json_column(fill, *values: str, **options) -> tuple[str, list]:
    column = read("jsonl", fill("".join(f'{{"a":{value}}}\n' for value in values)), **options)["a"]
    return str(column.type), column.to_pylist()


UTC = datetime.UTC


def comparable(value):
    """Make NaN equal to itself, and -0.0 differ from 0.0; the names of zones, and scales, do not count."""
    if isinstance(value, list | tuple):
        return [comparable(each) for each in value]
    if isinstance(value, dict):
        return {key: comparable(each) for key, each in value.items()}
    if isinstance(value, datetime.datetime) and value.tzinfo is not None:
        return value.astimezone(UTC)
    return repr(value) if isinstance(value, float) else value


@pytest.mark.parametrize(
    ("values", "type_name", "expected"),
    [
        (["1", "-2", "0"], "int64", [1, -2, 0]),
        (["9223372036854775807", "-9223372036854775808"], "int64", [2**63 - 1, -(2**63)]),
        (["18446744073709551615"], "decimal128(38, 0)", [Decimal(2**64 - 1)]),
        (["1", "-9223372036854775809"], "decimal128(38, 0)", [Decimal(1), Decimal(-(2**63) - 1)]),
        (["1" * 39], "decimal256(76, 0)", [Decimal("1" * 39)]),
        (["1" * 77], "string", ["1" * 77]),
        (["1", "2.5", "1e3", ".5", "-0"], "double", [1.0, 2.5, 1000.0, 0.5, -0.0]),
        (["9.50", "100.00"], "double", [9.5, 100.0]),
        (["0.30000000000000004"], "double", [0.30000000000000004]),
        (["0.10000000000000001", "5e-324"], "double", [0.1, 5e-324]),
        (["0.1000000000000000055", "2.5"], "decimal128(38, 19)", [Decimal("0.1000000000000000055"), Decimal("2.5")]),
        (["12345678901234567.89"], "decimal128(38, 2)", [Decimal("12345678901234567.89")]),
        (["9007199254740993", "0.5"], "decimal128(38, 1)", [Decimal("9007199254740993"), Decimal("0.5")]),
        (["1e400", "1"], "string", ["1e400", "1"]),
        (["1.5", "nan", "-inf"], "double", [1.5, math.nan, -math.inf]),
        (["nan", "inf"], "string", ["nan", "inf"]),
        (["01234", "99999"], "string", ["01234", "99999"]),
        (["-007"], "string", ["-007"]),
        (["00.5"], "string", ["00.5"]),
        (["+493012345678901", "1"], "string", ["+493012345678901", "1"]),
        (["1", "+1"], "string", ["1", "+1"]),
        (["0x1F"], "string", ["0x1F"]),
        (["1_000"], "string", ["1_000"]),
        ([" 1"], "string", [" 1"]),
        (["true", "false"], "bool", [True, False]),
        (["True", "FALSE"], "bool", [True, False]),
        (["true", "1"], "string", ["true", "1"]),
        (["1", "true"], "string", ["1", "true"]),
        (["NA", "N/A", "null"], "string", ["NA", "N/A", "null"]),
        (["2024-03-10"], "date32[day]", [datetime.date(2024, 3, 10)]),
        (["2024-02-30"], "string", ["2024-02-30"]),
        (["2024-03-10", "1"], "string", ["2024-03-10", "1"]),
        (["12:30:00"], "time32[s]", [datetime.time(12, 30)]),
        (["12:30"], "string", ["12:30"]),
        (["2024-03-10T01:30:00"], "timestamp[s]", [datetime.datetime(2024, 3, 10, 1, 30)]),
        (["2024-03-10 01:30:00.5"], "timestamp[ms]", [datetime.datetime(2024, 3, 10, 1, 30, 0, 500_000)]),
        (["2024-03-10T01:30:00Z"], "timestamp[s, tz=UTC]", [datetime.datetime(2024, 3, 10, 1, 30, tzinfo=UTC)]),
        (["2024-03-10T01:30:00-05:00"], "string", ["2024-03-10T01:30:00-05:00"]),
        (["2024-03-10T01:30:00Z", "2024-03-10T01:30:00"], "string", ["2024-03-10T01:30:00Z", "2024-03-10T01:30:00"]),
        (["2024-03-10", "2024-03-10T01:30:00"], "string", ["2024-03-10", "2024-03-10T01:30:00"]),
        (["2024-03-10T25:00:00"], "string", ["2024-03-10T25:00:00"]),
        (["1500-01-01T00:00:00.000000001"], "string", ["1500-01-01T00:00:00.000000001"]),
        (["", '""'], "string", [None, ""]),
        (['""', "5"], "string", ["", "5"]),
        (["", ""], "string", [None, None]),
        (['"5"', "6"], "int64", [5, 6]),
    ],
    ids=lambda value: value if isinstance(value, str) else repr(value)[:40],
)
def test_what_a_csv_column_is_read_as(fill, values, type_name, expected):
    found, actual = csv_column(fill, *values)
    assert (found, comparable(actual)) == (type_name, comparable(expected))
    assert comparable(csv_column(fill, *values, sample="all")) == comparable((found, actual))


def test_a_csv_of_one_column_keeps_its_empty_lines(fill):
    assert read("csv", fill("a\n1\n\n2\n")).to_pydict() == {"a": [1, None, 2]}
    assert read("csv", fill('a\r\nx\r\n\r\n""\r\n')).to_pydict() == {"a": ["x", None, ""]}
    assert read("csv", fill("a,b\n1,2\n\n3,4\n")).to_pydict() == {"a": [1, 3], "b": [2, 4]}


def test_texts_in_quotes_are_nulls_where_the_options_say_so(fill):
    assert csv_column(fill, '""', "5", quoted_nulls=True) == ("int64", [None, 5])
    with pytest.raises(DataError, match="quoted_nulls: true"):
        csv_column(fill, '""', "5", columns={"a": "int64"})


@pytest.mark.parametrize(
    ("first", "late", "words"),
    [
        ("1", "x", "'x' is not a value of int64"),
        ("1", "007", "'007' is not a value of int64"),
        ("1", "+1", "'+1' is not a value of int64"),
        ("1", "9223372036854775808", "does not fit int64"),
        ("1", "2.5", "'2.5' is not a value of int64"),
        ("1.5", "0.1000000000000000055", "more digits than double keeps"),
        ("1.5", "07.5", "'07.5' is not a value of double"),
        ("true", "1", "'1' is not a value of bool"),
        ("2024-03-10", "2024-03-10T01:00:00", "is not a value of date32"),
        ("2024-03-10T01:00:00", "2024-03-10", "is not a value of timestamp"),
        ("2024-03-10T01:00:00", "2024-03-10T01:00:00.5", "is not a value of timestamp"),
        ("2024-03-10T01:00:00Z", "2024-03-10T01:00:00-05:00", "is not a value of timestamp"),
        ("12:30:00", "12:30", "is not a value of time32"),
        ("1" * 20, "1.5", "is not a value of decimal"),
    ],
)
def test_a_value_after_the_sample_that_would_be_changed_is_an_error(fill, first, late, words):
    path = fill("k,a\n" + f"1,{first}\n" * 40 + f"2,{late}\n")
    with pytest.raises(DataError) as caught:
        read("csv", path, sample="64B", max_record="64B")
    assert words in str(caught.value)
    (advised,) = re.findall(r"columns: \{a: '?(.*?)'?\}", caught.value.hint)
    assert (caught.value.line, read("csv", path, columns={"a": advised})["a"].null_count) == (42, 0)
    last = read("csv", path, sample="all", max_record="64B")["a"][-1].as_py()
    assert str(last) in (late, late.replace("T", " ") + "00000") or last == Decimal(late)


def test_nulls_before_the_sample_ends_are_text_and_take_what_comes(fill):
    path = fill("k,a\n" + "1,\n" * 40 + "2,x\n")
    assert read("csv", path, sample="64B", max_record="64B")["a"].to_pylist() == [None] * 40 + ["x"]


@pytest.mark.parametrize(
    ("values", "type_name", "expected"),
    [
        (["1", "2"], "int64", [1, 2]),
        (["9223372036854775808"], "decimal128(38, 0)", [Decimal(2**63)]),
        (["1", "18446744073709551616"], "decimal128(38, 0)", [Decimal(1), Decimal(2**64)]),
        (["1", "2.5"], "double", [1.0, 2.5]),
        (["0.1000000000000000055", "1"], "decimal128(38, 19)", [Decimal("0.1000000000000000055"), Decimal(1)]),
        (["9007199254740993", "0.5"], "decimal128(38, 1)", [Decimal("9007199254740993"), Decimal("0.5")]),
        (['"2024-03-10T01:30:00-05:00"'], "string", ["2024-03-10T01:30:00-05:00"]),
        (['"2024-03-10T01:30:00Z"'], "string", ["2024-03-10T01:30:00Z"]),
        (['"2024-03-10"'], "string", ["2024-03-10"]),
        (['"01234"', '"NA"', '""', "null"], "string", ["01234", "NA", "", None]),
        (["true", "false"], "bool", [True, False]),
        (["null"], "string", [None]),
        (["[9223372036854775808]"], "list<item: decimal128(38, 0)>", [[Decimal(2**63)]]),
        (['{"b":9223372036854775808}'], "struct<b: decimal128(38, 0)>", [{"b": Decimal(2**63)}]),
        (['["2024-03-10"]', "[]", "[null]"], "list<item: string>", [["2024-03-10"], [], [None]]),
        (["NaN", "-Infinity", "1.5"], "double", [math.nan, -math.inf, 1.5]),
    ],
    ids=lambda value: value if isinstance(value, str) else repr(value)[:40],
)
def test_what_a_json_column_is_read_as(fill, values, type_name, expected):
    found, actual = json_column(fill, *values)
    assert (found, comparable(actual)) == (type_name, comparable(expected))


@pytest.mark.parametrize(
    ("first", "late"),
    [("1", "2.5"), ("1", "9223372036854775808"), ("1.5", "0.1000000000000000055"), ("1", '"x"'), ("true", "1")],
)
def test_a_late_json_value_that_would_be_changed_is_an_error(fill, first, late, monkeypatch):
    monkeypatch.setattr("dataflare.pipeline.reading.json_parts.PART_BYTES", 64)
    with pytest.raises(DataError) as caught:
        json_column(fill, *[first] * 40, late, sample="64B")
    assert caught.value.line == 41
    assert "'a'" in str(caught.value)
    assert caught.value.hint


def test_a_number_that_no_type_keeps_is_an_error_unless_the_loss_is_allowed(fill):
    with pytest.raises(DataError, match="no type keeps") as caught:
        json_column(fill, "1" * 80)
    assert "double" in caught.value.hint
    assert json_column(fill, "1" * 80, columns={"a": "double"}) == ("double", [float("1" * 80)])


@pytest.mark.parametrize(
    ("type_name", "text", "expected"),
    [
        ("timestamp[s]", "2024-03-10T01:30:00-05:00", None),
        ("timestamp[s, tz=UTC]", "2024-03-10T01:30:00", None),
        ("timestamp[s]", "2024-03-10T01:30:00.5", None),
        ("timestamp[s, tz=UTC]", "2024-03-10T01:30:00-05:00", datetime.datetime(2024, 3, 10, 6, 30, tzinfo=UTC)),
        ("timestamp[s]", "2024-03-10T01:30:00", datetime.datetime(2024, 3, 10, 1, 30)),
        ("date32[day]", "2024-03-10T01:30:00", None),
        ("double", "NaN", "nan"),
        ("double", "-Infinity", "-inf"),
    ],
)
@pytest.mark.parametrize("connector", ["jsonl", "csv"])
def test_a_type_that_is_given_takes_no_value_that_it_would_change(fill, connector, type_name, text, expected):
    if connector == "csv":
        text = {"NaN": "nan", "-Infinity": "-inf"}.get(text, text)
        path = fill(f"k,a\n1,{text}\n")
    else:
        path = fill(json.dumps({"a": text}) + "\n")
    options = {"columns": {"a": type_name}}
    if expected is None:
        with pytest.raises(DataError):
            read(connector, path, **options)
    else:
        value = read(connector, path, **options)["a"].to_pylist()[0]
        assert (str(value) if isinstance(expected, str) else value) == expected


def test_the_words_for_what_is_not_finite_stay_texts_in_columns_of_text(fill):
    path = fill(
        '{"x":"NaN","t":"NaN","s":{"x":"NaN"},"l":["Infinity"]}\n{"x":1.5,"t":"\\"x\\":\\"NaN\\"","s":{},"l":[2]}\n'
    )
    columns = {"x": "double", "s": "struct<x: string>", "l": "list<item: float>"}
    assert str(read("jsonl", path, columns=columns).to_pylist()) == str(
        [
            {"x": math.nan, "t": "NaN", "s": {"x": "NaN"}, "l": [math.inf]},
            {"x": 1.5, "t": '"x":"NaN"', "s": {"x": None}, "l": [2.0]},
        ]
    )


def test_what_was_inferred_is_told(fill):
    source = source_of("csv", fill("a,b,c\n1,x,007\n"), columns={"b": "string"})
    try:
        assert source.found.inferred == {"a": "int64", "c": "string"}
        assert [column.note for column in source.found.columns] == [
            "",
            "",
            "leading zeros, plus signs or other forms that a number does not keep",
        ]
        assert (source.found.sampled_rows, source.found.whole) == (1, True)
    finally:
        source.close()


def test_a_decimal_column_that_is_given_takes_what_fits_exactly(fill):
    assert csv_column(fill, "9.5", "100.00", columns={"a": "decimal128(10, 2)"}) == (
        "decimal128(10, 2)",
        [Decimal("9.50"), Decimal("100.00")],
    )
    with pytest.raises(DataError, match=r"'9\.505' is not a value of decimal128"):
        csv_column(fill, "9.505", columns={"a": "decimal128(10, 2)"})


@pytest.mark.parametrize(
    ("type_name", "text", "expected"),
    [
        ("int8", "300", None),
        ("int64", "007", 7),
        ("int64", "0x1F", None),
        ("uint64", "18446744073709551615", 2**64 - 1),
        ("double", "1e999", None),
        ("double", "0.1000000000000000055", 0.1),
        ("halffloat", "0.5", 0.5),
        ("time64[us]", "12:30:00.5", datetime.time(12, 30, 0, 500_000)),
        ("duration[s]", "5", datetime.timedelta(seconds=5)),
        ("date64[ms]", "2024-03-10", datetime.date(2024, 3, 10)),
        ("dictionary<values=string, indices=int8, ordered=0>", "x", "x"),
        ("binary", "x", b"x"),
        ("large_string", "x", "x"),
        ("decimal64(10, 1)", "1.5", Decimal("1.5")),
        ("list<item: int64>", "1", None),
        ("null", "x", None),
    ],
)
def test_a_given_type_is_what_the_operator_wants(fill, type_name, text, expected):
    if expected is None:
        with pytest.raises(DataError):
            csv_column(fill, text, columns={"a": type_name})
    else:
        assert csv_column(fill, text, columns={"a": type_name}) == (type_name, [expected])


def test_binary_columns_of_a_csv_need_not_be_text(fill):
    assert read("csv", fill(b"k,a\n1,\xff\n"), columns={"a": "binary"})["a"].to_pylist() == [b"\xff"]


def test_an_empty_table_has_its_columns(fill):
    assert read("csv", fill("a,b\n")).schema == pa.schema([("a", pa.string()), ("b", pa.string())])


@pytest.mark.parametrize("connector", ["jsonl", "csv"])
@pytest.mark.parametrize(
    ("type_name", "text", "says"),
    [
        ("timestamp[us]", "2024-03-10T01:30:00-05:00", "has a zone, and timestamp[us] has none"),
        ("timestamp[us]", "2024-03-10 01:30:00Z", "has a zone, and timestamp[us] has none"),
        ("timestamp[us, tz=UTC]", "2024-03-10T01:30:00", "has no zone, as timestamp[us, tz=UTC] needs"),
        ("timestamp[s, tz=America/New_York]", "2024-03-10T01:30:00", "has no zone, as timestamp[s, tz="),
        ("timestamp[s]", "soon: 10 o'clock", "is not a value of timestamp[s]"),
        ("date32[day]", "2024-02-30", "is not a value of date32[day]"),
    ],
)
def test_a_time_that_a_given_type_does_not_take_is_told_in_plain_words(fill, connector, type_name, text, says):
    path = fill(f"k,a\n1,{text}\n" if connector == "csv" else json.dumps({"a": text}) + "\n")
    with pytest.raises(DataError) as caught:
        read(connector, path, columns={"a": type_name})
    assert f"column 'a': {text!r} {says}" in str(caught.value)
    assert "{a: string} takes this value" in caught.value.hint
    assert "Failed to parse" not in str(caught.value) and "assume_timezone" not in str(caught.value)
    assert read(connector, path, columns={"a": "string"})["a"].to_pylist() == [text]


@pytest.mark.parametrize(
    ("first", "late", "advised"),
    [
        ("2", "2.5", "double"),
        ("2", "99999999999999999999", "decimal128(38, 0)"),
        ("2", "-inf", "double"),
        ("2.5", "1.00000000000000000001", "decimal128(38, 20)"),
        ("12345678901234567890.5", "1.55", "decimal128(38, 2)"),
        ("2024-03-10T01:30:00", "2024-03-10T01:30:00.25", "timestamp[ms]"),
        ("2024-03-10T01:30:00Z", "2024-03-10T01:30:00.123456Z", "timestamp[us, tz=UTC]"),
        ("2024-03-10T01:30:00Z", "2024-03-10T01:30:00-05:00", "string"),
        ("12345", "01234", "string"),
        ("true", "2", "string"),
        ("2024-03-10", "2024-03-10T01:30:00", "string"),
    ],
)
def test_the_type_that_is_advised_takes_the_values_of_both_files(fill, first, late, advised):
    paths = [fill(f"k,a\n1,{first}\n", "a.csv"), fill(f"k,a\n1,{late}\n", "b.csv")]
    with pytest.raises(DataError) as caught:
        read("csv", paths)
    assert re.findall(r"columns: \{a: '?(.*?)'?\}; the first file decides", caught.value.hint) == [advised]
    column = read("csv", paths, columns={"a": advised})["a"]
    assert (str(column.type), column.null_count) == (advised, 0)


def test_a_given_type_that_is_too_narrow_names_one_that_is_not(fill):
    cases = [("int8", "300", "int64"), ("int64", "2.5", "double"), ("date32[day]", "x", "string")]
    for type_name, text, advised in cases:
        with pytest.raises(DataError) as caught:
            csv_column(fill, text, columns={"a": type_name})
        assert f"{{a: {advised}}} takes this value" in caught.value.hint
        assert csv_column(fill, text, columns={"a": advised})


def test_a_name_in_columns_that_is_not_there_is_told_with_the_one_that_was_meant(fill, caplog):
    options = {"columns": {"amont": "int64"}}
    with pytest.raises(DataError, match="no column 'amont'") as caught:
        read("csv", fill("date,amount\n1,2\n"), **options)
    assert caught.value.hint == "did you mean 'amount'? there are amount, date"
    # In JSON a field may be in some files only, and is null in the others.
    path = fill('{"date":1,"amount":2}\n')
    assert read("jsonl", path, **options).to_pylist() == [{"date": 1, "amount": 2, "amont": None}]
    assert "no row has a value for column 'amont'" in caplog.text and "did you mean 'amount'?" in caplog.text
    source = source_of("jsonl", path, columns={"amont": "int64", "amount": "int8"})
    assert [column.note for column in source.found.columns] == ["", "", "it has no values"]
    source.close()


def test_a_whole_number_beyond_64_bits_is_written_to_json_with_all_digits(fill, tmp_path):
    number = 2**64
    path = fill(f'{{"a":{number}}}\n{{"a":-1}}\n')
    for name, connector, read_as in (("out.jsonl", "jsonl", "decimal128(38, 0)"), ("out.csv", "csv", None)):
        out = tmp_path / name
        nodes = {
            "in": {"connector": "jsonl", "read": str(path)},
            "out": {"connector": connector, "input": "in", "write": str(out)},
        }
        run({"name": "copy", "nodes": nodes})
        options = {"columns": {"a": read_as}} if read_as else {}
        assert read(connector, out, **options)["a"].to_pylist() == [Decimal(number), Decimal(-1)]
    # A program that reads numbers as doubles would round it: decimals of more than 15 digits are texts in JSON.
    assert (tmp_path / "out.jsonl").read_text() == f'{{"a":"{number}"}}\n{{"a":"-1"}}\n'
