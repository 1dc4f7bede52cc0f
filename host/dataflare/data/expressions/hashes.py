"""Functions that hash values."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from dataflare.budgets import current
from dataflare.data.expressions.function import SLOW, Function, as_array, own, signatures, text_bytes
from dataflare.data.expressions.types import BINARY, NUMBER, TEXT, TEXT_OR_BINARY, TIMESTAMP, one_of

__all__ = ["FUNCTIONS"]

_HASHES_BETWEEN_LOOKS: Final = 4096
_U64: Final = np.uint64
_PRIME: Final = 0x00000100000001B3
_MIX: Final = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))


def _hash_64(arguments: Sequence[Any], _: Mapping[str, Any]) -> Any:
    """Apply SplitMix64's last step to a polynomial of the bytes (texts) or to the bits (numbers).

    https://prng.di.unimi.it/splitmix64.c
    """
    array = as_array(arguments[0])
    if TEXT_OR_BINARY.holds(array.type):
        raw = _polynomials(array)
    else:
        if pa.types.is_timestamp(array.type):
            array = array.cast(pa.int64())
        # Equal numbers of all types have equal hashes: 2 and 2.0, 0.0 and -0.0.
        values = array.cast(pa.float64(), safe=False) if not pa.types.is_integer(array.type) else array
        numbers = values.fill_null(0).to_numpy(zero_copy_only=False)
        if numbers.dtype.kind == "f":
            whole = (numbers == np.floor(numbers)) & (np.abs(numbers) < 2.0**63)
            as_integers = np.where(whole, numbers, 0).astype(np.int64).view(_U64)
            raw = np.where(whole, as_integers, (numbers + 0.0).view(_U64))
        else:
            raw = numbers.astype(np.int64 if numbers.dtype.kind == "i" else _U64).view(_U64)
    mixed = _mix(raw)
    validity = None if array.null_count == 0 else np.asarray(array.is_null())
    result = pa.array(mixed.view(np.int64), pa.int64(), mask=validity)
    return result[0] if isinstance(arguments[0], pa.Scalar) else result


def _mix(raw: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    mixed = raw + _U64(0x9E3779B97F4A7C15)
    for shift, factor in _MIX:
        mixed = (mixed ^ (mixed >> _U64(shift))) * _U64(factor)
    result: npt.NDArray[np.uint64] = mixed ^ (mixed >> _U64(31))
    return result


def _polynomials(array: pa.Array) -> npt.NDArray[np.uint64]:
    """Compute `length + sum(byte[i] * PRIME^(i + 1))` of each text, modulo 2^64."""
    lengths = np.asarray(pc.binary_length(array).cast(pa.int64()).fill_null(0))
    result = lengths.astype(_U64)
    if lengths.sum() == 0:
        return result
    whole = pa.concat_arrays([array.fill_null(pa.scalar(b"", pa.binary()).cast(array.type))])
    width = np.int64 if pa.types.is_large_string(array.type) or pa.types.is_large_binary(array.type) else np.int32
    offsets = np.frombuffer(whole.buffers()[1], width)[whole.offset : whole.offset + len(whole) + 1].astype(np.int64)
    data = np.frombuffer(whole.buffers()[2], np.uint8)[offsets[0] : offsets[-1]].astype(_U64)
    starts = offsets[:-1] - offsets[0]
    within = np.arange(len(data)) - np.repeat(starts, lengths)
    data *= _powers(int(lengths.max()))[within]
    some = lengths > 0
    result[some] += np.add.reduceat(data, starts[some])
    return result


def _powers(count: int) -> npt.NDArray[np.uint64]:
    with np.errstate(over="ignore"):
        return np.cumprod(np.full(count, _PRIME, _U64), dtype=_U64)


def _digest(name: str) -> Callable[[Sequence[Any], Mapping[str, Any]], Any]:
    def run(arguments: Sequence[Any], _: Mapping[str, Any]) -> Any:
        array = as_array(arguments[0])
        binary = array.cast(pa.large_binary() if str(array.type).startswith("large") else pa.binary())
        made: list[str | None] = []
        for at, value in enumerate(binary.to_pylist()):
            if at % _HASHES_BETWEEN_LOOKS == 0:
                current().check_time()
            made.append(None if value is None else hashlib.new(name, value).hexdigest())
        result = pa.array(made, pa.string())
        return result[0] if isinstance(arguments[0], pa.Scalar) else result

    return run


FUNCTIONS: Final[tuple[Function, ...]] = (
    own(
        "hash_64",
        "A hash of 64 bits, the same in every run and for equal numbers of any type; not for secrets",
        signatures((one_of(NUMBER, TEXT, BINARY, TIMESTAMP),)),
        (("abc",), 8289423038512345574),
        _hash_64,
        rows=SLOW * 4,
        growth=lambda arguments, _, rows: 40.0 * text_bytes(arguments[0]) + 64.0 * rows,
    ),
    own(
        "sha256",
        "The SHA-256 of the text's bytes, in hexadecimal digits",
        signatures((TEXT,), (BINARY,)),
        (("abc",), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        _digest("sha256"),
        rows=SLOW,
        growth=lambda _, __, rows: 72.0 * rows,
    ),
    own(
        "md5",
        "The MD5 of the text's bytes, in hexadecimal digits; only to match what others made",
        signatures((TEXT,), (BINARY,)),
        (("abc",), "900150983cd24fb0d6963f7d28e17f72"),
        _digest("md5"),
        rows=SLOW,
        growth=lambda _, __, rows: 40.0 * rows,
    ),
)
