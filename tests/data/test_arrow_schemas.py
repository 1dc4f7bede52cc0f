from __future__ import annotations

import io

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arrow_strategies import NESTED_NAMES, any_types
from dataflare.data.guard.types import MAX_DEPTH
from dataflare.data.schemas import SchemaError, from_wit, parse_type, to_wit
from dataflare.wit_types.schemas import Field, Schema

NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
PAIRS = st.dictionaries(NAMES, NAMES, max_size=3)


def same(left: pa.DataType, right: pa.DataType) -> bool:
    # The notation does not say whether a map's values may be null.
    return left.equals(right) or str(left) == str(right)


@settings(max_examples=300)
@given(any_types())
def test_notation_of_a_type_gives_the_type_back(data_type):
    assert same(parse_type(str(data_type)), data_type)


@pytest.mark.parametrize(
    "text",
    [
        "map<string, int64 ('v')>",
        "map<string ('k'), list<item: int64> ('it's'), keys_sorted>",
        "map<string, map<int8, double ('a, b')> ('x')>",
        "struct<a:b: int64, x, y: string not null, : bool>",
        "list<element: struct<q'>: int8>>",
    ],
)
def test_names_within_a_type_stay(text):
    assert str(parse_type(text)) == text


def test_the_names_of_a_map_that_parquet_gives_are_read():
    file = io.BytesIO()
    table = pa.table({"m": pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64()))})
    parquet.write_table(table, file, store_schema=False)
    read = parquet.read_schema(file)
    assert str(read.field("m").type) == "map<string, int64 ('m')>"
    assert from_wit(to_wit(read)).equals(read)


LISTED = """bool|int8|int64|uint8|uint64|halffloat|float|double|string|large_string
    binary|large_binary|date32[day]|date64[ms]
    timestamp[us]|timestamp[us, tz=UTC]|time32[ms]|time64[us]|duration[us]|decimal128(10, 2)|list<item: int64>
    struct<a: int64, b: string>|dictionary<values=string, indices=int32, ordered=0>|null"""


@pytest.mark.parametrize("text", [name for line in LISTED.splitlines() for name in line.strip().split("|")])
def test_every_notation_that_the_wit_lists_is_read(text):
    assert str(parse_type(text)) == text


def test_nested_field_that_is_not_null_stays_so():
    assert parse_type("list<x: struct<a: int8 not null>>").value_type.field("a").nullable is False


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "a type was expected at character 0, not the end"),
        ("int64 ", "the end was expected at character 5"),
        ("list<int64>", "a field"),
        ("struct<a: int8", "`, ` was expected"),
        ("decimal128(99, 1)", "cannot be"),
        ("fixed_size_binary[9999999999]", "cannot be"),
        ("dictionary<values=string, indices=string, ordered=0>", "cannot be"),
        ("time32[us]", "a type was expected"),
    ],
)
def test_what_is_no_notation_is_refused_with_its_place(text, part):
    with pytest.raises(SchemaError, match="type") as caught:
        parse_type(text)
    assert part in caught.value.message


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("utf8", "string"),
        ("float64", "double"),
        ("list<item: int>", "list<item: int64>"),
        ("date32", "date32[day]"),
        ("DATE", "date32[day]"),
        ("Int64", "int64"),
        ("decimal(10,2)", "decimal128(10, 2)"),
        ("NUMERIC(40)", "decimal256(40, 0)"),
        ("decimal128(40,2)", "decimal256(40, 2)"),
        ("varchar(20)", "string"),
        ("timestamp(ms)", "timestamp[ms]"),
        ("datetime64[ns]", "timestamp[ns]"),
        ("timestamp[ms, Europe/Berlin]", "timestamp[ms, tz=Europe/Berlin]"),
        ("timestamp with time zone", "timestamp[us, tz=UTC]"),
        ("time64", "time64[us]"),
        ("list[int64]", "list<item: int64>"),
        ("list<string>", "list<item: string>"),
        ("struct<date: date, int: text>", "struct<date: date32[day], int: string>"),
        ("map<str, int>", "map<string, int64>"),
        ("dictionary<values=string, indices=int32>", "dictionary<values=string, indices=int32, ordered=0>"),
    ],
)
def test_notation_of_another_system_gets_a_hint(text, meant):
    with pytest.raises(SchemaError) as caught:
        parse_type(text)
    assert caught.value.hint == f"Arrow writes this type as {meant}"
    assert str(parse_type(meant)) == meant


@pytest.mark.parametrize("text", ["foo", "", "decimal(99, 1)", "list<list<", "timestamp[fortnight]", "int " * 100])
def test_what_no_system_calls_a_type_gets_no_hint(text):
    with pytest.raises(SchemaError) as caught:
        parse_type(text)
    assert caught.value.hint == ""


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("decimal128(5,2)", "decimal128(5, 2)"),
        ("decimal128 ( 5 ,2 )", "decimal128(5, 2)"),
        ("timestamp[us,tz=UTC]", "timestamp[us, tz=UTC]"),
        ("struct<a:int8,b:list<item:string>>", "struct<a: int8, b: list<item: string>>"),
        (" int64 ", "int64"),
    ],
)
def test_notation_with_other_spaces_gets_a_hint(text, meant):
    with pytest.raises(SchemaError) as caught:
        parse_type(text)
    assert caught.value.hint == f"Arrow writes this type as {meant}"
    assert str(parse_type(meant)) == meant


def test_type_nested_as_deep_as_allowed_is_read():
    text = "list<item: " * (MAX_DEPTH - 1) + "int8" + ">" * (MAX_DEPTH - 1)
    assert str(parse_type(text)) == text


@pytest.mark.parametrize("levels", [MAX_DEPTH, 100_000])
def test_type_nested_too_deeply_is_refused(levels):
    with pytest.raises(SchemaError, match=r"deeper|characters"):
        parse_type("list<item: " * levels + "int8" + ">" * levels)


def test_megabytes_of_text_are_refused_at_once():
    with pytest.raises(SchemaError, match="more than 65536"):
        parse_type("x" * 5_000_000)


@given(st.text(alphabet="listructmap<>:, []()=0123456789int_dictionaryvalues", max_size=60))
def test_any_text_gives_a_type_or_a_schema_error(text):
    try:
        assert same(parse_type(text), parse_type(str(parse_type(text))))
    except SchemaError as error:
        assert error.message


@given(st.lists(st.tuples(any_types(), st.booleans(), PAIRS), max_size=4), PAIRS)
def test_schema_survives_the_way_there_and_back(columns, metadata):
    schema = pa.schema(
        [
            pa.field(f"c{i}", kind, nullable=nullable or kind == pa.null(), metadata=pairs)
            for i, (kind, nullable, pairs) in enumerate(columns)
        ],
        metadata=metadata,
    )
    back = from_wit(to_wit(schema))
    assert [str(field) for field in back] == [str(field) for field in schema]
    assert [field.metadata or {} for field in back] == [field.metadata or {} for field in schema]
    assert (back.metadata or {}) == (schema.metadata or {})


@given(NESTED_NAMES)
def test_column_may_have_any_name(name):
    assert from_wit(Schema((Field(name, "int8", True, ()),), ())).names == [name]


def test_column_named_twice_is_refused():
    with pytest.raises(SchemaError, match="'a' is named twice"):
        from_wit(Schema((Field("a", "int8", True, ()), Field("a", "bool", True, ())), ()))


def test_metadata_key_that_repeats_is_refused():
    with pytest.raises(SchemaError, match="metadata key 'k' twice"):
        from_wit(Schema((), (("k", "1"), ("k", "2"))))


def test_error_in_a_column_names_the_column():
    with pytest.raises(SchemaError, match="column 'price': the type 'money'"):
        from_wit(Schema((Field("price", "money", True, ()),), ()))


def test_column_of_nulls_must_be_nullable():
    with pytest.raises(SchemaError, match="'n' is of nulls"):
        from_wit(Schema((Field("n", "null", False, ()),), ()))


def test_too_many_columns_are_refused():
    with pytest.raises(SchemaError, match="20000 columns"):
        from_wit(Schema((Field("a", "int8", True, ()),) * 20_000, ()))


def test_extension_type_is_named_by_its_storage():
    (field,) = to_wit(pa.schema([("id", pa.uuid())])).fields
    assert (field.type_name, field.metadata) == ("fixed_size_binary[16]", (("ARROW:extension:name", "arrow.uuid"),))


def test_metadata_that_is_no_text_is_left_out():
    assert to_wit(pa.schema([], metadata={b"\xff": b"1", b"a": b"2"})).metadata == (("a", "2"),)


@pytest.mark.parametrize(
    "name", ["decimal128(\u0663\u0668, \u0662)", "fixed_size_binary[\uff11]", "fixed_size_list<item: int8>[\u0663]"]
)
def test_numbers_in_the_name_of_a_type_are_in_ascii(name: str) -> None:
    with pytest.raises(SchemaError):
        parse_type(name)
