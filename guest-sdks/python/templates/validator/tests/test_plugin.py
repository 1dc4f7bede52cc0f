"""Unit tests, which run natively and without a build: `dataflare test`, or `pytest`."""

from __future__ import annotations

import pyarrow as pa
import pytest
from plugin import SamplePlugin

from dataflare import PluginError
from dataflare.testing import native


def test_rows_out_of_bounds_are_found_and_nulls_are_not() -> None:
    batch = pa.RecordBatch.from_pylist([{"age": 36}, {"age": -1}, {"age": None}])
    with native(SamplePlugin, config={"column": "age"}) as plugin:
        assert [each.row for each in plugin.validate(batch).violations] == [1]


def test_bounds_that_nothing_is_within_are_refused() -> None:
    config = {"column": "age", "least": 2, "greatest": 1}
    with pytest.raises(PluginError, match="least: it is above greatest"), native(SamplePlugin, config=config):
        pass
