"""CSV and JSON Lines on generated files, beside DuckDB and polars.

Every value has to be what the file says, to the last digit. The others have to agree, except where
docs/reference/inference.md says that they differ.
"""

from __future__ import annotations

import datetime
import json
import math
import re
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dataflare.errors import DataflareError
from reading_kit import read

duckdb = pytest.importorskip("duckdb")
polars = pytest.importorskip("polars")

SLOW = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))

whole = st.integers(-(10**22), 10**22).map(str) | st.integers(-1000, 1000).map(str)
real = st.floats(allow_nan=False, allow_infinity=False).map(repr) | st.decimals(
    -(10**12), 10**12, places=4, allow_nan=False, allow_infinity=False
).map(str)
long_real = st.tuples(st.integers(0, 10**18), st.integers(10**18, 10**20)).map(lambda pair: f"{pair[0]}.{pair[1]}")
codes = st.sampled_from(
    ["007", "+49301234", "-01", "00.5", "1_0", " 1", "0x1F", "1e400", "-0", "NA", "null", "nan", "T"]
)
days = st.dates(datetime.date(1, 1, 1)).map(str)
moments = st.datetimes(datetime.datetime(1700, 1, 1), datetime.datetime(2200, 1, 1)).map(
    lambda moment: moment.replace(microsecond=0).isoformat()
)
booleans = st.sampled_from(["true", "false"])
words = st.text(st.characters(codec="utf-8", exclude_characters="\0", exclude_categories=["Cc", "Cs"]), max_size=6)
columns = st.sampled_from([whole, real, long_real, codes, days, moments, booleans, words, whole | real, whole | words])


@st.composite
def tables(draw):
    """Some columns of texts, each of a kind, with `None` for the empty field."""
    kinds = draw(st.lists(columns, min_size=2, max_size=4))
    rows = draw(st.integers(1, 6))
    return [draw(st.lists(st.none() | kind, min_size=rows, max_size=rows)) for kind in kinds]


def csv_text(table) -> str:
    def field(text):
        if text is None:
            return ""
        # In quotes wherever somebody could take it for something other than its characters.
        plain = text and text.isascii() and all(byte.isalnum() or byte in "+-.:_" for byte in text)
        return text if plain else '"' + text.replace('"', '""') + '"'

    names = [f"c{n}" for n in range(len(table))]
    return "".join(
        ",".join(row) + "\n" for row in [names, *([field(v) for v in row] for row in zip(*table, strict=True))]
    )


def says(value, text: str | None) -> bool:
    """Whether a value that was read is what the file says."""
    if value is None or text is None or isinstance(value, str):
        return value == text
    if isinstance(value, bool):
        return str(value).lower() == text.lower()
    if isinstance(value, int | Decimal):
        return Decimal(value) == Decimal(text)
    if isinstance(value, float) and text in ("nan", "inf", "-inf"):
        return str(value) == text
    if isinstance(value, float):
        digits = Decimal(text).normalize().as_tuple().digits
        return value == float(text) and (not digits or Decimal(f"{value:.{len(digits) - 1}e}") == Decimal(text))
    if isinstance(value, datetime.datetime):
        return value.isoformat() == text
    return isinstance(value, datetime.date) and str(value) == text


@SLOW
@given(tables())
def test_texts_of_csv_are_those_that_duckdb_and_polars_read(tmp_path_factory, table):
    path = tmp_path_factory.mktemp("csv") / "in.csv"
    path.write_text(csv_text(table), encoding="utf-8")
    ours = read("csv", path, columns={f"c{n}": "string" for n in range(len(table))}).to_pydict()
    assert list(ours.values()) == table
    assert polars.read_csv(path, infer_schema=False).to_dict(as_series=False) == ours
    relation = duckdb.read_csv(
        str(path),
        all_varchar=True,
        header=True,
        delimiter=",",
        quotechar='"',
        escapechar='"',
        na_values=[""],
        strict_mode=True,
        sample_size=-1,
        skiprows=0,
        auto_detect=False,
        columns={f"c{n}": "VARCHAR" for n in range(len(table))},
    )
    theirs = dict(zip(relation.columns, map(list, zip(*relation.fetchall(), strict=True)), strict=True))
    # DuckDB takes an empty text in quotes for null.
    assert theirs == {name: [value or None for value in values] for name, values in ours.items()}


@SLOW
@given(tables())
def test_values_of_csv_are_what_the_file_says(tmp_path_factory, table):
    path = tmp_path_factory.mktemp("csv") / "in.csv"
    path.write_text(csv_text(table), encoding="utf-8")
    ours = list(read("csv", path).to_pydict().values())
    for values, texts in zip(ours, table, strict=True):
        for value, text in zip(values, texts, strict=True):
            assert says(value, text), (value, text)
    try:
        theirs = polars.read_csv(path, infer_schema_length=None, try_parse_dates=False).to_dict(as_series=False)
    except polars.exceptions.PolarsError:
        return  # a number beyond what it has
    for values, others in zip(ours, theirs.values(), strict=True):
        for value, other in zip(values, others, strict=True):
            if type(value) is type(other) and not isinstance(value, str):
                assert value == other
            elif isinstance(value, float | Decimal) and isinstance(other, float | int):
                assert float(value) == pytest.approx(float(other))


json_columns = st.sampled_from(
    [
        st.booleans(),
        st.integers(-(10**22), 10**22),
        st.integers(-1000, 1000),
        st.floats(allow_nan=False, allow_infinity=False),
        st.integers(-1000, 1000) | st.floats(-1e6, 1e6),
        st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8),
        st.sampled_from(["2024-03-10T01:30:00-05:00", "2024-03-10", "01234", "", "NaN"]),
        st.lists(st.integers(-(10**20), 10**20), max_size=3),
    ]
)


@st.composite
def objects(draw):
    kinds = draw(st.lists(json_columns, min_size=1, max_size=4))
    return [{f"c{n}": draw(st.none() | kind) for n, kind in enumerate(kinds)} for _ in range(draw(st.integers(1, 6)))]


def same(value, expected) -> bool:
    if isinstance(value, list):
        return len(value) == len(expected) and all(map(same, value, expected))
    if isinstance(expected, bool) or expected is None or isinstance(expected, str):
        return value is expected or value == expected
    return Decimal(value) == Decimal(expected)


@SLOW
@given(objects(), st.booleans())
def test_values_of_json_are_what_the_file_says(tmp_path_factory, rows, array):
    path: Path = tmp_path_factory.mktemp("json") / "in.jsonl"
    lines = [json.dumps(row) for row in rows]
    path.write_text("[" + ",\n".join(lines) + "]" if array else "\n".join(lines), encoding="utf-8")
    ours = read("jsonl", path).to_pylist()
    for row, expected in zip(ours, rows, strict=True):
        assert row.keys() == expected.keys()
        assert all(same(row[name], expected[name]) for name in row), (row, expected)
    if array:
        return
    try:
        theirs = polars.read_ndjson(path, infer_schema_length=None).to_dicts()
    except (polars.exceptions.PolarsError, polars.exceptions.PanicException):
        return  # a number beyond what it has
    for row, other in zip(ours, theirs, strict=True):
        for name, value in row.items():
            if isinstance(value, str | bool) or value is None:
                assert other[name] == value
            elif isinstance(value, int | float) and isinstance(other[name], int | float):
                assert math.isclose(value, other[name], rel_tol=1e-15)


PAGE = Path(__file__).parents[2] / "docs/reference/inference.md"
TABLE = PAGE.read_text(encoding="utf-8").partition("## Where others differ")[2].partition("## Files")[0]
DIFFERENCES = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in TABLE.splitlines()
    if line.startswith(("| CSV", "| JSON"))
]


def file_of(kind: str, text: str, note: str) -> str:
    """A file with the value of a row of the table in its column `a`."""
    if kind == "CSV":
        return f"k,a\n1,{text}\n"
    if note == "and then":
        return f'{{"a":{text}}}\n{{"a":"x"}}\n'
    return f'{{"a":{text},"a":{text}}}\n' if "twice" in note else f'{{"a":{text}}}\n'


def word_for(value, text: str) -> str:
    """What became of a text, in the words of the table."""
    match value:
        case None:
            return "null"
        case "":
            return "empty text"
        case str():
            return "text"
        case datetime.datetime():
            assert value.astimezone(datetime.UTC).isoformat() == "2024-03-10T06:30:00+00:00"
            return "moment in UTC"
        case datetime.date():
            return "date"
        case Decimal():
            return "decimal" if value == Decimal(text) else "rounded"
        case float() if math.isinf(value):
            return "infinite"
        case 0:
            return "-0.0" if math.copysign(1, value) < 0 else "0"
        case float() if Decimal(value) != Decimal(text):
            return "rounded"
    return "whole number" if isinstance(value, int) and value >= 2**63 else "number"


def outcome(text: str, read_value) -> str:
    try:
        return word_for(read_value(), text)
    except (DataflareError, duckdb.Error, polars.exceptions.PolarsError):
        return "error"


@pytest.mark.parametrize("row", DIFFERENCES, ids=[row[0] for row in DIFFERENCES])
def test_each_row_of_the_table_of_differences_is_true(tmp_path, row):
    kind, text, note = re.fullmatch(r"(CSV|JSON) `(.*?)`,? ?(and then|with.*)?.*", row[0]).groups("")
    path = tmp_path / "in"
    path.write_text(file_of(kind, text, note))
    csv = kind == "CSV"
    ours = outcome(text, lambda: read("csv" if csv else "jsonl", path)["a"][0].as_py())
    reader = f"read_csv('{path}', header=true, delim=',')" if csv else f"read_json('{path}')"
    theirs = outcome(text, lambda: duckdb.sql(f"select a from {reader}").fetchall()[0][0])
    others = outcome(text, lambda: (polars.read_csv if csv else polars.read_ndjson)(path)["a"][0])
    assert [ours, theirs, others] == row[1:]


def test_the_table_of_differences_has_rows_of_both_formats():
    assert {row[0].split()[0] for row in DIFFERENCES} == {"CSV", "JSON"}
    assert all(len(set(row[1:])) > 1 for row in DIFFERENCES)


def test_empty_lines_of_one_column_are_kept_by_all(tmp_path):
    path = tmp_path / "in.csv"
    path.write_text("a\n1\n\n2\n")
    assert read("csv", path)["a"].to_pylist() == [1, None, 2]
    assert polars.read_csv(path)["a"].to_list() == [1, None, 2]


def test_an_offset_is_kept_where_duckdb_turns_it_into_utc(tmp_path):
    path = tmp_path / "in.jsonl"
    path.write_text('{"t":"2024-03-10T01:30:00-05:00"}\n')
    assert read("jsonl", path)["t"].to_pylist() == ["2024-03-10T01:30:00-05:00"]
    assert polars.read_ndjson(path)["t"].to_list() == ["2024-03-10T01:30:00-05:00"]
