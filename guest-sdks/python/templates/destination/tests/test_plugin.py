"""Unit tests, which run natively and without a build: `dataflare test`, or `pytest`."""

from __future__ import annotations

import pyarrow as pa
from plugin import SamplePlugin

from dataflare import Target
from dataflare.testing import native


def test_row_without_a_key_is_sent_back() -> None:
    batch = pa.RecordBatch.from_pylist([{"id": 1, "name": "Ada"}, {"id": None, "name": "Bo"}])
    with native(SamplePlugin, needs=("state",)) as plugin:
        plugin.open(Target("people", batch.schema))
        assert [(each.row, each.reason) for each in plugin.write(batch)] == [(1, "id is null")]
        plugin.finish()
