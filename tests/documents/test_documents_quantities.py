from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflare.documents.quantities import parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [("0B", 0), ("64KiB", 65_536), ("256 MiB", 268_435_456), ("2GiB", 2_147_483_648), ("5kB", 5_000), ("1GB", 10**9)],
)
def test_a_size_is_a_number_of_bytes(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("text", "seconds"), [("30s", 30.0), ("250ms", 0.25), ("1.5 min", 90.0), ("1h", 3600.0), ("0.5s", 0.5)]
)
def test_a_duration_is_a_number_of_seconds(text, seconds):
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text", ["", "256", "MiB", "-1MiB", "1.5MiB", "1mib", "1M", " 1B", "1B\n", "٣B", "9" * 16 + "B"]
)
def test_what_is_no_size_is_refused(text):
    with pytest.raises(ValueError, match="is not a size"):
        parse_size(text)


@pytest.mark.parametrize("text", ["", "30", "s", "-1s", "1e3s", "1d", "1:30", "1s\n", "٣s", ".5s", "9" * 16 + "s"])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration(text)


@given(st.text(max_size=30))
def test_any_text_is_a_quantity_or_refused(text):
    for parse in (parse_size, parse_duration):
        try:
            assert parse(text) >= 0
        except ValueError as error:
            assert "is not a " in str(error)
