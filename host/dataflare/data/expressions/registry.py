"""The closed list of functions, by name. Functions are only added: the meaning of a name never changes."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from dataflare.data.expressions import conversions, hashes, logic, nested, numbers, texts, times
from dataflare.data.expressions.function import Function

__all__ = ["FUNCTIONS", "TOPICS"]

TOPICS: Final[Mapping[str, tuple[Function, ...]]] = MappingProxyType(
    {
        "Numbers": numbers.FUNCTIONS,
        "Comparison, logic, nulls": logic.FUNCTIONS,
        "Texts and bytes": texts.FUNCTIONS,
        "Dates and times": times.FUNCTIONS,
        "Conversion": conversions.FUNCTIONS,
        "Hashes": hashes.FUNCTIONS,
        "Lists and structs": nested.FUNCTIONS,
    }
)
"""The functions, in the order of the reference."""

FUNCTIONS: Final[Mapping[str, Function]] = MappingProxyType(
    {each.name: each for topic in TOPICS.values() for each in topic}
)
