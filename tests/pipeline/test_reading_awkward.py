"""Awkward files: a value that cannot be kept is an error with a remedy, never another value, a traceback or a hang."""

from __future__ import annotations

import bz2
import gzip
import io
import itertools
import lzma
import re
import signal
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from dataflare.pipeline.reading.csv_quotes import Quotes
from dataflare.pipeline.reading.csv_records import CsvForm
from dataflare.pipeline.run_errors import DataError
from reading_kit import read, source_of


@pytest.fixture
def fill(tmp_path):
    def make(data, name="in"):
        path = tmp_path / name
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        return path

    return make


@pytest.fixture(autouse=True)
def no_hang():
    signal.alarm(60)
    yield
    signal.alarm(0)


def refused(connector, path, **options):
    with pytest.raises(DataError) as caught:
        read(connector, path, **options)
    assert caught.value.hint
    return caught.value


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
def test_zeros_after_compressed_data_are_padding(fill, compress):
    whole = compress(b"k,a\n1,2\n")
    for padded in (whole + bytes(20), whole + bytes(2**19), whole + bytes(4) + compress(b"3,4\n") + bytes(4)):
        rows = read("csv", fill(padded)).to_pydict()
        assert rows in ({"k": [1], "a": [2]}, {"k": [1, 3], "a": [2, 4]})
    refused("csv", fill(whole + b"other"))


def spreadsheet() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.csv", "k,a\n1,2\n")
    return file.getvalue()


def parquet() -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table({"a": [1]}), file)
    return file.getvalue()


@pytest.mark.parametrize("connector", ["csv", "jsonl"])
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
@pytest.mark.parametrize(
    ("data", "what", "hint"),
    [
        (spreadsheet(), "ZIP", "excel"),
        (parquet(), "Parquet", "connector: parquet"),
        (gzip.compress(gzip.compress(b"a\n1\n"), mtime=0), "gzip", "twice"),
        (lzma.compress(b"a\n1\n", format=lzma.FORMAT_ALONE), "lzma", "expand"),
        (b"SQLite format 3\0" + bytes(84), "SQLite", "export"),
        (b"%PDF-1.7\n", "PDF", "export"),
    ],
    ids=["zip", "parquet", "gzip", "lzma", "sqlite", "pdf"],
)
def test_files_that_are_not_text_are_named(fill, connector, encoding, data, what, hint):
    error = refused(connector, fill(data), encoding=encoding)
    assert what in str(error)
    assert hint in error.hint


@pytest.mark.parametrize("order", ["le", "be"])
def test_utf_16_without_a_mark_is_not_taken_for_utf_8(fill, order):
    path = fill("k,a\n1,\u00e9\n".encode(f"utf-16-{order}"))
    assert f"encoding: utf-16-{order}" in refused("csv", path).hint
    assert read("csv", path, encoding=f"utf-16-{order}")["a"].to_pylist() == ["\u00e9"]


def test_a_nul_in_a_name_is_a_character(fill):
    assert read("csv", fill("k\0,a\n1,\0\n")).to_pydict() == {"k\0": [1], "a": ["\0"]}


@pytest.mark.parametrize("encoding", ["idna", "punycode", "undefined", "unicode_escape", "rot13", "base64"])
def test_encodings_that_no_text_file_has_are_refused(fill, encoding):
    with pytest.raises(ValidationError, match="no encoding of text"):
        source_of("csv", fill("a\n1\n"), encoding=encoding)


@pytest.mark.parametrize(
    "text", ['k,a\n1,"x"y\n', 'k,a\n1,"x" \n', 'k,a\n1,""y\n', 'k,a\n1,"x""" y\n', 'k,a\n"1"2,x\n']
)
def test_text_after_a_closing_quote_is_an_error(fill, text):
    error = refused("csv", fill(text))
    assert (error.line, "closing quote" in str(error)) == (2, True)
    refused("csv", fill(text.split("\n")[1] + "\n1,2\n"))


def test_quotes_within_other_fields_are_characters(fill):
    text = 'k,a\n12" pipe,5"\n"he said ""hi"", then","a,""b"""\n2"",3\n'
    rows = read("csv", fill(text)).to_pydict()
    assert rows == {"k": ['12" pipe', 'he said "hi", then', '2""'], "a": ['5"', 'a,"b"', "3"]}


def test_comments_are_told_from_rows_whatever_quotes_stand_before_them(fill):
    text = 'k,a\n12" pipe,1\n#x,y\n"two\n#lines",2\n#z,3\n'
    rows = read("csv", fill(text), comment="#").to_pydict()
    assert rows == {"k": ['12" pipe', "two\n#lines"], "a": [1, 2]}


def state_by_character(text: str, quote: str, delimiter: str) -> tuple[bool, bool]:
    """What `Quotes` finds out, one character after the other."""
    opened = misplaced = False
    place, begins = 0, True
    while place < len(text):
        one = text[place]
        if opened:
            if one == quote and text[place + 1 : place + 2] == quote:
                place += 1
            elif one == quote:
                opened = False
                misplaced |= text[place + 1 : place + 2] not in ("", delimiter, "\r", "\n")
        elif one == quote and begins:
            opened = True
        begins = one in (delimiter, "\r", "\n")
        place += 1
    return opened, misplaced


@settings(max_examples=500, deadline=None)
@given(st.text("a\"',;\n\r", max_size=30), st.lists(st.integers(0, 30)), st.sampled_from("\"'"), st.sampled_from(",;"))
def test_quotes_are_followed_in_whatever_parts_a_file_comes(text, cuts, quote, delimiter):
    quotes = Quotes(delimiter, quote, "")
    places = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    for begin, end in itertools.pairwise(places):
        quotes.take(text[begin:end].encode())
    quotes.take(b"", last=True)
    assert (quotes.opened, quotes.misplaced) == state_by_character(text, quote, delimiter)


def test_an_escaped_quote_opens_nothing():
    quotes = CsvForm(escape="\\").quotes()
    for part in (b'a,"x\\', b'"y\\\\', b'"\n', b""):
        quotes.take(part, last=not part)
    assert (quotes.opened, quotes.misplaced) == (False, False)


@pytest.mark.parametrize("text", ["0000-01-01", "0000-01-01T00:00:00", "0000-01-01 00:00:00Z"])
def test_a_year_0_stays_text_for_nothing_else_reads_it(fill, text):
    assert read("csv", fill(f"a\n{text}\n"))["a"].to_pylist() == [text]


@pytest.mark.parametrize("beside", ["9223372036854775808", "0.1000000000000000055"])
def test_a_negative_zero_keeps_its_sign(fill, beside):
    assert str(read("csv", fill("a\n-0\n0\n"))["a"].to_pylist()) == "[-0.0, 0.0]"
    assert str(read("jsonl", fill('{"a":-0}\n{"a":0}\n'))["a"].to_pylist()) == "[-0.0, 0.0]"
    assert read("csv", fill(f"a\n-0\n{beside}\n"))["a"].to_pylist() == ["-0", beside]
    assert refused("jsonl", fill(f'{{"a":[-0]}}\n{{"a":[{beside}]}}\n')).line


def test_a_late_negative_zero_is_an_error(fill):
    rows = "\n".join(['{"a":1,"t":"2024-01-05"}'] * 300_000)
    assert refused("jsonl", fill(rows + '\n{"a":-0}\n'), sample="1KiB").line == 300_001
    assert refused("csv", fill("k,a\n" + "1,9223372036854775808\n" * 500_000 + "1,-0\n"), sample="1KiB").line == 500_002


@pytest.mark.parametrize("text", ["1e-400", "1E-400", "-3.5e-0400", "4e-324000"])
def test_a_number_that_would_become_0_is_an_error(fill, text):
    error = refused("jsonl", fill(f'{{"a":1.5,"id":"0e-4123"}}\n{{"a":{text},"id":"e-900"}}\n'))
    assert (error.line, text in str(error)) == (2, True)
    assert read("jsonl", fill('{"a":5e-324}\n{"a":1e-300}\n'))["a"].to_pylist() == [5e-324, 1e-300]


def test_infinite_words_do_not_hide_that_an_integer_is_lost(fill):
    error = refused("jsonl", fill('{"a":NaN}\n{"a":9007199254740993}\n'))
    assert (error.line, "9007199254740993" in str(error)) == (2, True)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("float", "1e39"),
        ("halffloat", "70000"),
        ("list<item: float>", "[1, -1e39]"),
        ("struct<b: float>", '{"b":1e39}'),
    ],
)
def test_a_number_beyond_the_range_of_a_float_is_not_infinite(fill, kind, text):
    first = {"float": "Infinity", "halffloat": "Infinity"}.get(kind, "null")
    error = refused("jsonl", fill(f'{{"a":{first}}}\n{{"a":{text}}}\n'), columns={"a": kind})
    assert (error.line, "beyond the range of" in str(error)) == (2, True)
    if "<" not in kind:
        assert "beyond the range of" in str(refused("csv", fill(f"a\n{text}\n"), columns={"a": kind}))


@pytest.mark.parametrize("line", ["null", "  null ", "1", "[]", '"x"'])
def test_a_line_that_is_not_an_object_is_an_error(fill, line):
    assert refused("jsonl", fill(f'{{"a":1}}\n{line}\n{{"a":2}}\n')).line == 2


@pytest.mark.parametrize(
    "text",
    [
        '{"a":1e400}',
        '{"a":"\\ud800"}',
        '{"a":"x\ty"}',
        '{"a":1}\r{"a":2}\r',
        "{'a':1}",
        "[1]",
        '[{"a":1}',
        '[{"a":1}] x',
    ],
)
def test_broken_json_has_a_remedy(fill, text):
    assert refused("jsonl", fill(text)).line == 1


@pytest.mark.parametrize(
    ("value", "place", "hint"),
    [
        *((value, f": {value}", "JSON numbers have no") for value in ("01", "+1", ".5", "1.", "0x10", "1_000")),
        *(
            (value, f": {value}", "JSON has null, true and false")
            for value in ("None", "True", "nan", "-inf", "Inf", "-NaN")
        ),
        ("'x'", ": 'x'", "JSON has names and texts in double quotes"),
        ("x", ": x", "JSON has names and texts in double quotes"),
        ("1,", "", "each line has one JSON object"),
        ('1 "b"', "", "each line has one JSON object"),
    ],
)
def test_what_json_does_not_have_is_told_with_its_place(fill, value, place, hint):
    error = refused("jsonl", fill(f'{{"a":1}}\n{{"a":{value}}}\n'))
    assert error.line == 2 and re.search(f", at character [0-9]+{re.escape(place)}$", error.message), error.message
    assert error.hint.startswith(hint)


@pytest.mark.parametrize("text", ["12:30:15.5", "24:00:00", "12:30:15Z", "1970-01-01T00:00:00"])
def test_a_text_that_is_not_a_time_is_told_as_it_is_written(fill, text):
    error = refused("jsonl", fill(f'{{"a":"{text}"}}\n'), columns={"a": "time32[s]"})
    assert error.message.endswith(f"in:1: column 'a': {text!r} is not a value of time32[s]")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("integer", "int64"),
        ("text", "string"),
        ("datetime", "timestamp[us]"),
        ("timestamp[s, tz=Mars/X]", "Europe/Berlin"),
    ],
)
def test_an_unknown_type_says_what_was_meant(fill, name, hint):
    with pytest.raises(ValidationError) as caught:
        source_of("csv", fill("a\n1\n"), columns={"a": name})
    assert hint in caught.value.errors()[0]["ctx"]["hint"]


def test_names_that_repeat_are_refused_before_a_file_is_read(fill):
    with pytest.raises(ValidationError, match="two columns are named 'x'"):
        source_of("csv", fill("1,2\n"), header=False, names=["x", "x"])
