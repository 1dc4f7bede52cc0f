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
        """The columns that come of these: those of a batch without rows, transformed."""
        return self.transform(Batch.from_records([], schema)).schema
