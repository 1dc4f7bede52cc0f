"""The annotations of values beside Python's own: arrays, bytes, and the shapes of `dataflare.values`.

Types that `dataflare bindgen` writes build upon it where they hold arrays; others need `dataflare.values` alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dataflare.values import Err, Ok, Some, Variant

__all__ = [
    "ArrayBool",
    "ArrayF32",
    "ArrayF64",
    "ArrayLikeBool",
    "ArrayLikeF32",
    "ArrayLikeF64",
    "ArrayLikeS8",
    "ArrayLikeS16",
    "ArrayLikeS32",
    "ArrayLikeS64",
    "ArrayLikeU16",
    "ArrayLikeU32",
    "ArrayLikeU64",
    "ArrayS8",
    "ArrayS16",
    "ArrayS32",
    "ArrayS64",
    "ArrayU16",
    "ArrayU32",
    "ArrayU64",
    "BytesLike",
    "Err",
    "Ok",
    "Some",
    "Value",
    "Variant",
]

ArrayBool: TypeAlias = NDArray[np.bool_]
ArrayS8: TypeAlias = NDArray[np.int8]
ArrayS16: TypeAlias = NDArray[np.int16]
ArrayS32: TypeAlias = NDArray[np.int32]
ArrayS64: TypeAlias = NDArray[np.int64]
ArrayU16: TypeAlias = NDArray[np.uint16]
ArrayU32: TypeAlias = NDArray[np.uint32]
ArrayU64: TypeAlias = NDArray[np.uint64]
ArrayF32: TypeAlias = NDArray[np.float32]
ArrayF64: TypeAlias = NDArray[np.float64]

# What is taken where a list of numbers is: a pyarrow array without nulls too, which type checkers know as `Any`.
ArrayLikeBool: TypeAlias = ArrayBool | Sequence[bool]
ArrayLikeS8: TypeAlias = NDArray[np.integer[Any]] | Sequence[int]
ArrayLikeS16: TypeAlias = ArrayLikeS8
ArrayLikeS32: TypeAlias = ArrayLikeS8
ArrayLikeS64: TypeAlias = ArrayLikeS8
ArrayLikeU16: TypeAlias = ArrayLikeS8
ArrayLikeU32: TypeAlias = ArrayLikeS8
ArrayLikeU64: TypeAlias = ArrayLikeS8
ArrayLikeF32: TypeAlias = NDArray[np.floating[Any]] | NDArray[np.integer[Any]] | Sequence[float]
ArrayLikeF64: TypeAlias = ArrayLikeF32

BytesLike: TypeAlias = bytes | bytearray | memoryview | ArrayLikeS8
"""What is taken where a `list<u8>` is."""


class Value:
    """A record or a case that holds arrays: equal where all its fields are, element by element."""

    __slots__ = ()
    __match_args__: tuple[str, ...] = ()

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(_same(getattr(self, name), getattr(other, name)) for name in self.__match_args__)

    __hash__ = None  # type: ignore[assignment]  # arrays have no hash either


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        return bool(np.array_equal(one, other))
    if isinstance(one, list | tuple) and type(one) is type(other):
        return len(one) == len(other) and all(map(_same, one, other))
    if type(one) is type(other) and isinstance(one, Ok | Some):
        return _same(one.value, other.value)
    if type(one) is type(other) and isinstance(one, Err):
        return _same(one.error, other.error)
    return bool(one == other)
