"""A long text is read with the columns of its first lines, if it can be: the outcome is the same, found out sooner."""

from __future__ import annotations

import json

import pytest

from dataflare.data import json_keys, json_reader
from dataflare.data.json_reader import decode_json_lines
from dataflare.data.shapes import DataFailure

ROW = {"a": 1, "b": "x", "t": "2024-01-01T00:00:00", "f": 1.5, "n": None, "l": [1, 2], "s": {"u": 1, "v": "2024-01-01"}}
MANY = 3_000


def text_of(*last: object) -> bytes:
    return b"".join(json.dumps(each).encode() + b"\n" for each in [*[ROW] * MANY, *last])


@pytest.fixture
def whole(monkeypatch):
    """Reads without looking at the first lines first."""

    def read(text):
        with monkeypatch.context() as patch:
            patch.setattr(json_reader, "first_lines", lambda lines: b"")
            return decode_json_lines(text, None, 2**30)

    return read


@pytest.mark.parametrize(
    "last",
    [
        {},
        {"b": None},
        {"a": 2**62, "f": 1e300},
        {"f": 2},
        {"a": 1.5},
        {"n": 5},
        {"n": "2024-01-01T00:00:00"},
        {"t": "no time"},
        {"z": 1},
        {"s": {"w": 1}},
        {"s": {"v": "text"}},
        {"l": []},
        {"l": [1.5]},
        {"l": [None]},
        {"z": {"y": [[]]}},
    ],
)
def test_lines_after_the_first_give_the_same_rows(whole, last):
    text = text_of(last)
    found = decode_json_lines(text, None, 2**30)
    assert found.equals(whole(text)) and found.num_rows == MANY + 1
    assert found.schema.field("t").type == "string"
    found.validate(full=True)


@pytest.mark.parametrize("last", [{"a": "x"}, {"l": 1}, {"s": [1]}, 5, None, [{"a": 1}], {"b": {"c": 1}}])
def test_lines_after_the_first_give_the_same_error(whole, last):
    text = text_of(last)
    with pytest.raises(DataFailure) as expected:
        whole(text)
    with pytest.raises(DataFailure) as caught:
        decode_json_lines(text, None, 2**30)
    assert str(caught.value) == str(expected.value)


def test_nothing_is_counted_where_all_lines_are_like_the_first(monkeypatch):
    counted = []
    check_keys = json_keys.check_keys

    def count(lines, rows, max_bytes):
        counted.append(len(lines))
        check_keys(lines, rows, max_bytes)

    monkeypatch.setattr(json_reader, "check_keys", count)
    decode_json_lines(text_of({}), None, 2**30)
    assert sum(counted) < 2**16 + 1_000
