"""Transformers: a batch in, a batch out."""

from __future__ import annotations

from typing import ClassVar

from dataflare_plugin.batch import Batch
from dataflare_plugin.datasets import Field
from dataflare_plugin.plugin import Plugin

__all__ = ["Transformer"]


class Transformer(Plugin):
    """Changes batches. Override `transform`."""

    kind: ClassVar[str] = "transformer"

    def transform(self, batch: Batch) -> Batch:
        """Return the batch, changed."""
        raise NotImplementedError

    def output_schema(self, schema: list[Field]) -> list[Field]:
        """The columns of the result for these columns; found by transforming a batch without rows."""
        return self.transform(Batch.from_records([], schema)).schema
