"""What comes after the sample: each remedy that an error names works, and what is broken is never blamed on a type."""

from __future__ import annotations

import re
from decimal import Decimal

import pyarrow as pa
import pytest
import yaml

from dataflare.pipeline.reading import json_parts
from dataflare.pipeline.run_errors import DataError
from reading_kit import read, source_of

GIVEN = re.compile(r"columns`?: (\{.*?\})(?=$|;| takes| reads)")
FIRST = ["1", "1.5", "true", '"x"', "null", "[1]", '{"a":1}', '[{"a":1}]']
LATE = [
    *(
        "12345678901234567890",
        "1" * 40,
        "1" * 80,
        "0.1",
        "0.12345678901234567890123",
        "1e-400",
        "1e400",
        "-0",
        '"zz"',
        "[]",
    ),
    *('["a"]', "[1.5]", '[{"b":1}]', '{"a":1.5}', '{"b":1}', '{"a":"x"}', '{"a":12345678901234567890}', '{"a":1e400}'),
]


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    monkeypatch.setattr(json_parts, "PART_BYTES", 64)


def fill(tmp_path, first: str, late: str):
    path = tmp_path / "in.jsonl"
    path.write_text(f'{{"v":{first}}}\n' * 30 + f'{{"v":{late}}}\n')
    return path


@pytest.mark.parametrize("late", LATE)
@pytest.mark.parametrize("first", FIRST)
def test_a_late_value_is_read_or_every_remedy_of_its_error_works(tmp_path, first, late):
    path = fill(tmp_path, first, late)
    try:
        assert read("jsonl", path, sample="1B").num_rows == 31
    except DataError as error:
        assert error.line == 31 or "from here on" in str(error)
        given = GIVEN.search(error.hint)
        assert given, error.hint
        assert read("jsonl", path, columns=yaml.safe_load(given.group(1))).num_rows == 31
        if "sample: all" in error.hint:
            assert read("jsonl", path, sample="all").num_rows == 31


def test_numbers_of_doubles_and_long_integers_are_counted_in_the_whole_file(tmp_path):
    values = read("jsonl", fill(tmp_path, "1.5", "12345678901234567890"), sample="all")["v"]
    assert values.type == pa.decimal128(38, 1)
    assert values.to_pylist() == [Decimal("1.5")] * 30 + [Decimal("12345678901234567890")]


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        ('{"v":1', "an object does not end on its line"),
        ('{"v":1},', "a comma follows the object"),
        ("{'v':1}", "Missing a name for object member"),
        ("# remark", "not a JSON object"),
        ("[1]", "not a JSON object"),
        ('{"v":"a\0b"}', "a NUL character stands in the line"),
        ("\0\0\0", "a NUL character stands in the line"),
        ('{"v":1,"v":1}', "'v' stands twice in one object"),
        ('{"v":"\\ud800"}', "half of a surrogate pair"),
    ],
)
def test_a_broken_line_has_one_message_wherever_it_is(tmp_path, broken, says):
    path = tmp_path / "in.jsonl"
    found = []
    for rows in (1, 30):
        path.write_text('{"v":1}\n' * rows + broken + "\n")
        with pytest.raises(DataError, match=re.escape(says)) as caught:
            read("jsonl", path, sample="1B")
        assert caught.value.line == rows + 1
        assert "columns:" not in caught.value.hint
        found.append((caught.value.message.partition(f":{rows + 1}: ")[2], caught.value.hint))
    assert found[0] == found[1]


def test_a_change_is_told_and_not_what_was_found_behind_it(tmp_path):
    path = tmp_path / "in.jsonl"
    path.write_text('{"v":1}\n' * 100_000)
    source = source_of("jsonl", path, sample="1B")
    rows = source.batches()
    next(rows)
    path.write_text("{")
    with pytest.raises(DataError, match="changed while it was read: it had 800000 bytes"):
        list(rows)
    source.close()
