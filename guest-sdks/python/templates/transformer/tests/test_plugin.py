"""Unit tests, which run natively and without a build: `dataflare test`, or `pytest`."""

from __future__ import annotations

import pyarrow as pa
import pytest
from plugin import SamplePlugin

from dataflare import PluginError
from dataflare.testing import native


def test_ratio_is_added() -> None:
    batch = pa.RecordBatch.from_pylist([{"amount": 3, "quantity": 2}])
    with native(SamplePlugin, config={"of": "amount", "to": "quantity"}) as plugin:
        assert plugin.transform(batch).to_pylist() == [{"amount": 3, "quantity": 2, "ratio": 1.5}]


def test_column_that_is_not_there_is_told() -> None:
    batch = pa.RecordBatch.from_pylist([{"amount": 3}])
    with (
        native(SamplePlugin, config={"of": "amount", "to": "missing"}) as plugin,
        pytest.raises(PluginError, match="missing"),
    ):
        plugin.transform(batch)
