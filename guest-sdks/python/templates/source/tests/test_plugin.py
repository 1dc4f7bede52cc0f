"""Unit tests, which run natively and without a build: `dataflare test`, or `pytest`."""

from __future__ import annotations

import pytest
from plugin import SamplePlugin

from dataflare.testing import native


@pytest.mark.parametrize("most", [1, 2, 100])
def test_all_rows_are_read_in_chunks_of_any_size(most: int) -> None:
    with native(SamplePlugin, config={"rows": 2}) as plugin:
        chunks = list(plugin.chunks(max_rows=most))
    assert [row for each in chunks for row in each.rows.to_pylist()] == [{"id": 0, "square": 0}, {"id": 1, "square": 1}]


def test_read_goes_on_from_a_state() -> None:
    with native(SamplePlugin, config={"rows": 3}) as plugin:
        plugin.open()
        state = plugin.read(2).state
        plugin.stop()
        plugin.open(state=state)
        assert plugin.read(100).rows.to_pylist() == [{"id": 2, "square": 4}]
