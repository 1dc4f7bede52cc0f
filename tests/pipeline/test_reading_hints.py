"""What a newcomer's first files run into: each message says what to do, and each remedy that it names works."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflare.data.guard.types import MAX_COLUMNS
from dataflare.errors import ConfigError
from dataflare.pipeline.readers import describe, guess_connector
from dataflare.pipeline.reading.json_texts import as_texts
from dataflare.pipeline.run_errors import DataError
from reading_kit import read, source_of


@pytest.fixture
def fill(tmp_path):
    def make(text, name="in"):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return make


def refused(connector, paths, **options):
    with pytest.raises(DataError) as caught:
        read(connector, paths, **options)
    assert caught.value.hint
    return caught.value


@pytest.mark.parametrize(("mark", "shown"), [(";", ";"), ("|", "|"), ("\t", r"\t")])
def test_a_header_that_is_one_column_by_mistake_is_an_error(fill, mark, shown):
    path = fill(f"a{mark}b\n1{mark}2\n")
    error = refused("csv", path)
    assert (error.line, f"delimiter: '{shown}'" in error.hint) == (1, True)
    assert read("csv", path, delimiter=shown).to_pydict() == {"a": [1], "b": [2]}
    assert read("csv", path, delimiter=",").to_pydict() == {f"a{mark}b": [f"1{mark}2"]}


def test_a_header_of_one_name_may_hold_the_delimiter_in_quotes(fill):
    assert read("csv", fill('"a, b"\n1\n')).to_pydict() == {"a, b": [1]}
    assert read("csv", fill('\ufeff"a;b"\n1\n')).to_pydict() == {"a;b": [1]}
    assert read("csv", fill("'a|b'\n1\n"), quote="'").to_pydict() == {"a|b": [1]}
    assert refused("csv", fill('a;"b"\n1;2\n')).line == 1


@pytest.mark.parametrize(("mark", "shown"), [(";", ";"), ("|", "|"), ("\t", r"\t")])
def test_names_in_quotes_with_another_delimiter_between_them_name_it(fill, mark, shown):
    path = fill(f'"a"{mark}"b"\n"1"{mark}2\n')
    error = refused("csv", path)
    assert (error.line, error.hint) == (1, f"is the delimiter another one? delimiter: '{shown}'")
    assert read("csv", path, delimiter=shown).to_pydict() == {"a": [1], "b": [2]}


def test_what_follows_a_quote_and_is_no_delimiter_gets_the_hint_about_quotes(fill):
    assert "a quote is written twice" in refused("csv", fill('"a"x,b\n1,2\n')).hint


def test_the_line_of_excel_that_names_the_delimiter_is_left_out(fill):
    path = fill("sep=;\na;b\n1;2\n")
    assert "skip_lines: 1, delimiter: ';'" in refused("csv", path).hint
    assert read("csv", path, skip_lines=1, delimiter=";").to_pydict() == {"a": [1], "b": [2]}


@pytest.mark.parametrize(
    ("values", "why"),
    [
        (["01234"], "leading zeros"),
        (["2024-03-10T01:30:00-05:00"], "a zone of their own"),
        (["01/02/2024", "13/02/2024"], "dates in another form"),
        (["1.2.2024"], "dates in another form"),
        (["12:30"], "times in another form"),
        (["2024-03-10 01:30"], "times in another form"),
        (['"1.234,50"', "99"], "decimal commas"),
        (["$5.00"], "signs"),
        (["1", "n/a", "x"], "'n/a' is not a number"),
        (["true", "yes"], "'yes' is not a boolean"),
        (["2024-03-10", "today"], "'today' is not a date"),
        (["nan", "inf"], "words such as nan"),
        (["", ""], "no values"),
        (["Ada", "Bela"], ""),
        (["a", "1"], ""),
    ],
)
def test_a_note_says_why_a_column_stays_text(fill, values, why):
    source = source_of("csv", fill("k,a\n" + "".join(f"1,{value}\n" for value in values)))
    source.close()
    column = source.found.columns[1]
    assert (column.type, bool(why)) == (pa.string(), bool(column.note))
    assert why in column.note


def test_a_note_tells_of_odd_names(fill):
    source = source_of("csv", fill("a, b,\n1,2,\n"))
    source.close()
    notes = [column.note for column in source.found.columns]
    assert (notes[0], "space" in notes[1], "no name" in notes[2]) == ("", True, True)


@pytest.mark.parametrize(
    ("connector", "first", "second"), [("csv", "v\n1\n", "v\n2.5\n"), ("jsonl", '{"v":1}\n', '{"v":2.5}\n')]
)
def test_a_later_file_is_held_to_the_first_and_the_hint_does_not_send_to_it(fill, connector, first, second):
    paths = [fill(first, "a"), fill(second, "b")]
    error = refused(connector, paths)
    assert (error.file, "sample: all" in error.hint, "columns: {v: " in error.hint) == (str(paths[1]), False, True)
    assert read(connector, paths, columns={"v": "double"})["v"].to_pylist() == [1.0, 2.5]


@pytest.mark.parametrize(
    ("value", "kind"), [("1", "int64"), ("1.5", "double"), ("true", "bool"), ("[1]", "list<item: int64>")]
)
@pytest.mark.parametrize("several", [True, False])
def test_a_column_that_was_null_so_far_has_no_kind_yet(fill, value, kind, several):
    first, second = '{"k":1,"a":null}\n', f'{{"k":2,"a":{value}}}\n'
    paths = [fill(first, "a"), fill(second, "b")] if several else fill(first * 300_000 + second)
    options = {} if several else {"sample": "1KiB"}
    error = refused("jsonl", paths, **options)
    assert kind in error.hint and "values of one kind" not in error.hint
    assert ("the first file decides the types, and has no value of this column" in error.hint) == several
    rows = read("jsonl", paths, columns={"a": kind}, **options)["a"].to_pylist()
    assert (rows[0], rows[-1]) == (None, json.loads(value))


@pytest.mark.parametrize(
    ("value", "column"),
    [("1e400", "a"), ('{"b":1e400}', "a.b"), ('{"b":[%s]}' % ("1" * 80), "a.b.[]"), ("1" * 80, "a"), ("1" * 5000, "a")],
)
def test_a_number_that_no_type_keeps_is_read_as_written(fill, value, column):
    path = fill(f'{{"a":{value}}}\n')
    error = refused("jsonl", path)
    assert f"column {column!r}: " in str(error) and "columns: {a: string}" in error.hint
    assert read("jsonl", path, columns={"a": "string"})["a"].to_pylist() == [value]
    assert ("{a: double} rounds" in error.hint) == (value == "1" * 80)


@pytest.mark.parametrize(
    ("text", "options", "says"),
    [
        ('"a,b\n1,2\n', {}, "the header cannot be read"),
        ('"a"b,c\n1,2\n', {}, "something other than a delimiter follows the closing quote"),
        ("x" * 2**18 + ",b\n1,2\n", {"max_record": "64KiB"}, "the first record is longer than max_record = 64KiB"),
        (",".join(f"c{n}" for n in range(MAX_COLUMNS + 1)) + "\n", {}, f"more than {MAX_COLUMNS}"),
        ("", {"header": False}, "there are no rows to count columns in"),
    ],
)
def test_a_first_record_that_names_no_columns_is_an_error(fill, text, options, says):
    assert says in str(refused("csv", fill(text), **options))


def test_an_empty_file_has_the_columns_that_are_named(fill):
    assert read("csv", fill(""), header=False, names=["a", "b"]).to_pydict() == {"a": [], "b": []}


@pytest.mark.parametrize("text", ["1,2.5\n3,4\n", "2024-01-01,-1\n2024-01-02,2\n", "1\n2\n", "5,1e3\n"])
def test_a_first_row_of_values_is_not_taken_for_names(fill, text):
    path = fill(text)
    error = refused("csv", path)
    assert (error.line, "values where names are expected" in str(error)) == (1, True)
    rows = len(text.splitlines())
    assert read("csv", path, header=False).num_rows == rows
    assert read("csv", path, header=True).num_rows == rows - 1


@pytest.mark.parametrize("text", ["id,2024\n1,2\n", '"1","2"\n3,4\n', "v1,v2\n1,2\n", "a,\n1,2\n"])
def test_names_that_are_partly_numbers_or_in_quotes_are_names(fill, text):
    assert read("csv", fill(text)).num_rows == 1


def test_a_quote_that_is_never_closed_is_named_whatever_its_record_counts(fill):
    error = refused("csv", fill('a,b\n1,2\n"3,4\n5,6\n'))
    assert (error.line, "never closed" in str(error)) == (3, True)
    error = refused("csv", fill('a,b\n1\n"3,4\n5,6\n'))
    assert (error.line, "Expected 2 columns, got 1" in str(error)) == (2, True)


@pytest.mark.parametrize("text", ["# made by x\na,b\n1,2\n", "a,b\n1,2\n# the end\n"])
def test_lines_that_may_be_comments_have_a_remedy(fill, text):
    path = fill(text)
    assert "comment: '#'" in refused("csv", path).hint
    assert read("csv", path, comment="#").to_pydict() == {"a": [1], "b": [2]}


def test_messages_stay_short_however_many_columns_there_are(fill):
    names = [f"column {n:>05} " + "x" * 60 for n in range(2000)]
    path = fill(",".join(names) + "\n", "a")
    error = refused("csv", path, columns={names[-1][:-2]: "string"})
    assert len(error.hint) < 1000 and names[-1] in error.hint and "2,000 in all" in error.hint
    error = refused("csv", [fill("b\n", "b"), path])
    assert "lacks 'b' and also has 'column 00000 " in str(error) and len(str(error)) < 1500


def test_a_column_of_several_kinds_is_read_as_written_where_it_is_text(fill):
    values = ["1", '"x"', "1.50", "null", "true", '{"b": [1e400]}', "[ ]", '""', "123456789012345678901234567890"]
    path = fill("".join(f'{{"k": {n}, "a": {value}}}\n' for n, value in enumerate(values)))
    assert "columns: {a: string}" in refused("jsonl", path).hint
    rows = read("jsonl", path, columns={"a": "string"})
    assert rows["a"].to_pylist() == [
        *("1", "x", "1.50", None, "true", '{"b": [1e400]}', "[ ]", "", "123456789012345678901234567890")
    ]
    assert rows["k"].to_pylist() == list(range(len(values)))


@pytest.mark.parametrize("values", [["1.5", '"NaN"'], ['"-Infinity"', "1"]])
def test_numbers_that_are_not_finite_have_a_remedy(fill, values):
    path = fill("".join(f'{{"a":{value}}}\n' for value in values))
    assert '{a: double} numbers with "NaN"' in refused("jsonl", path).hint
    assert read("jsonl", path, columns={"a": "double"}).num_rows == 2


def test_a_late_value_of_another_kind_is_read_as_written(fill):
    path = fill('{"a":"x","b":1}\n' * 40 + '{"a":7,"b":2}\n')
    assert read("jsonl", path, columns={"a": "string"}, sample="64B")["a"][-1].as_py() == "7"
    later = [fill('{"a":"x"}\n', "one"), fill('{"a":{"b":1}}\n', "two")]
    assert read("jsonl", later, columns={"a": "string"})["a"].to_pylist() == ["x", '{"b":1}']


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=4,
)


@given(st.lists(st.dictionaries(st.sampled_from(["a", "b", "é\n"]), JSON), max_size=3), st.sampled_from([None, 1]))
def test_only_the_columns_that_are_text_are_put_in_quotes(rows, spaces):
    lines = [json.dumps(row, separators=(" , ", " : ") if spaces else None) for row in rows]
    made = as_texts("\n".join(lines).encode(), {"a", "é\n"}).decode().split("\n") if lines else []
    for row, line in zip(rows, made, strict=True):
        for name, value in json.loads(line).items():
            if name == "b" or row[name] is None or isinstance(row[name], str):
                assert value == row[name]
            else:
                assert json.loads(value) == row[name]


@pytest.mark.parametrize("line", ["", "[1]", '{"a":1', '{"a" 1}', '{"a":1} x}', "{1:2}", '{"a":1,,}', "{" * 9000])
def test_a_line_that_is_not_an_object_is_left_to_the_reader(line):
    made = as_texts(line.encode(), {"a"}).decode()
    assert made in (line, line.replace("1}", '"1"}', 1))


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ('{"a":1},\n{"a":2},\n', "remove the commas"),
        ('{\n "a": 1\n}\n', "jq -c ."),
        ('{"data": [\n {"a":1}\n]}\n', "jq -c '.NAME[]'"),
    ],
)
def test_json_in_other_layouts_has_a_remedy(fill, text, hint):
    assert hint in refused("jsonl", fill(text)).hint


def test_folders_and_files_that_are_not_there_have_a_remedy(tmp_path):
    assert "in/*.csv" in refused("csv", make_folder(tmp_path)).hint
    assert "relative to the pipeline's file" in refused("csv", tmp_path / "none.csv").hint
    with pytest.raises(ConfigError, match="is a folder"):
        guess_connector(tmp_path / "in")


@pytest.mark.parametrize(("name", "hint"), [("p.yaml", "dataflare run --check"), ("p.wasm", "dataflare inspect")])
def test_a_file_that_holds_no_rows_names_the_command_for_it(tmp_path, name, hint):
    with pytest.raises(ConfigError, match="its name does not say what it is") as caught:
        guess_connector(tmp_path / name)
    assert hint in caught.value.hint


def make_folder(tmp_path):
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


@pytest.mark.parametrize("mark", ["", "ab", "\n", "é"])
def test_a_delimiter_that_is_not_one_character_says_how_a_tab_is_written(fill, mark):
    with pytest.raises(ConfigError, match=r"one ASCII character .* a tab is \\t"):
        describe("csv", [fill("a\n1\n")], {"delimiter": mark})


@pytest.mark.parametrize("before", ["", '{"k":2,"a":[]}\n'])
def test_a_value_that_nests_too_deeply_is_named_with_what_reads_it(fill, before):
    deep = "[" * 40 + "]" * 40
    path = fill(before + f'{{"k":1,"a":{deep}}}\n')
    error = refused("jsonl", path)
    assert (error.line, "column 'a': nested deeper than 32 levels" in str(error)) == (1 + before.count("\n"), True)
    assert error.hint == "columns: {a: string} reads all of them as they are written"
    assert read("jsonl", path, columns={"a": "string"})["a"].to_pylist()[-1] == deep


@pytest.mark.parametrize("line", ['{"a":' + "[" * 5000 + "]" * 5000 + "}", '{"a":' + "[" * 5000, "[" * 40 + "]" * 40])
def test_a_line_that_nests_beyond_every_parser_is_an_error_with_a_remedy(fill, line):
    error = refused("jsonl", fill('{"a":1}\n' + line + "\n"))
    assert error.line == 2 and error.hint
