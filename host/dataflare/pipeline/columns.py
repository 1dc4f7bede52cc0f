"""Columns in each file format: which types it holds, and how it writes values of the other types plainly.

A value reads back equal, or the run fails and the error names the column. Arrow's own writers do not promise that: CSV
gets `<value out of range>` for times that have no text, and the time of a `date64` is cut off without a word.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types

from dataflare.pipeline.run_errors import DataError
from dataflare.texts import first_repeated

__all__ = ["ColumnWriter", "DictionaryGrowth", "check_texts", "has_odd_offsets"]

_Convert: TypeAlias = Callable[[pa.Array, str], pa.Array]
_Prepare: TypeAlias = Callable[[pa.DataType], _Convert | None]

_DAY_MS: Final = 86_400_000
_PER_SECOND: Final = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_YEAR_1: Final = -62_135_596_800  # in seconds since 1970
_YEAR_10000: Final = 253_402_300_800
_YEAR_1973: Final = 94_694_400


class ColumnWriter:
    """Turns batches of one schema into what a format can hold.

    Args:
        schema: That of the rows.
        format_name: `CSV`, `JSON Lines`, `Parquet` or `Arrow`.
        file: The file, for errors.

    Attributes:
        schema: That of the batches that `convert` returns; of CSV, a batch may have UTC in place of a zone.

    Raises:
        DataError: The format cannot hold a column.
    """

    def __init__(self, schema: pa.Schema, format_name: str, file: str) -> None:
        self._format = format_name
        self._file = file
        self._converts: list[tuple[int, str, _Convert]] = []
        if not len(schema) and format_name in ("CSV", "Parquet"):
            hint = "keep a column, or write JSON Lines or Arrow"
            raise DataError(f"{format_name} cannot hold rows without columns", file=file, hint=hint)
        if format_name in ("CSV", "JSON Lines") and (twice := first_repeated(schema.names)) is not None:
            what = f"two columns are named {twice!r}, and a reader of {format_name} would lose one"
            raise DataError(what, file=file, hint="rename one of them with a plugin, or write Parquet or Arrow")
        fields = []
        for position, name in enumerate(schema.names):
            try:
                field = schema.field(position)
                data_type = field.type
            except KeyError as error:  # a type that pyarrow has no class for, such as an interval of months
                raise self._refused(name, f"is of a type that pyarrow does not know (number {error})", []) from error
            if not _holds(format_name, data_type):
                others = [each for each in _PREPARE if _holds(each, data_type)]
                raise self._refused(name, f"is {data_type}", others)
            if (convert := _PREPARE[format_name](data_type)) is not None:
                self._converts.append((position, name, convert))
                if not isinstance(convert, DictionaryGrowth):  # which keeps the type, and what it was given
                    field = field.with_type(convert(pa.nulls(0, data_type), name).type)
            fields.append(field)
        self.schema = pa.schema(fields, schema.metadata)

    def convert(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        """Make a batch that the format can hold.

        Raises:
            DataError: A value has no form in it.
        """
        if not self._converts:
            return rows
        columns, fields = rows.columns, list(self.schema)
        for position, name, convert in self._converts:
            try:
                columns[position] = convert(columns[position], name)
                fields[position] = fields[position].with_type(columns[position].type)
            except _NoForm as error:
                raise self._refused(name, f"holds {error}", error.held_by) from None
        return pa.RecordBatch.from_arrays(columns, schema=pa.schema(fields, self.schema.metadata))

    def dictionary_length(self) -> int:
        """How many values the longest dictionary has that grows; 0 if there is none."""
        return max(
            (len(convert) for _, _, convert in self._converts if isinstance(convert, DictionaryGrowth)), default=0
        )

    def _refused(self, name: str, what: str, held_by: Sequence[str]) -> DataError:
        """Make the error for a column, with a hint of the formats that hold it."""
        formats = " or ".join(filter(None, [", ".join(held_by[:-1]), *held_by[-1:]]))
        hint = f"write {formats}, or leave the column out" if formats else "leave the column out"
        what = f"column {name!r} {what}, which {self._format} cannot hold"
        return DataError(what, file=self._file, hint=hint)


def check_texts(array: pa.Array, column: str, hint: str) -> None:
    """Make sure that a text of each value, as Arrow writes it, is read as the same value again.

    Raises:
        DataError: One has no such text: a date outside the years 1 to 9999, or a `date64` with a time of day.
    """
    if (convert := _for_csv(array.type)) is not None:
        try:
            convert(array, column)
        except _NoForm as error:
            raise DataError(f"column {column!r} holds {error}, which a text cannot hold", hint=hint) from None


class DictionaryGrowth:
    """Gives the batches of a column one dictionary that only grows, as an Arrow file demands; one thread at a time."""

    def __init__(self) -> None:
        self._values: Any = None
        self._is_placeholder = False

    def __len__(self) -> int:
        return 0 if self._values is None else len(self._values)

    def __call__(self, array: pa.DictionaryArray, column: str) -> pa.DictionaryArray:
        """Encode an array by the dictionary of all arrays so far.

        Raises:
            DataError: It does not fit the type of the indices, or has an order of its own.
        """
        # Arrow does not compare half floats: their bits are as good.
        is_half = types.is_float16(array.type.value_type)
        found = array.dictionary.view(pa.uint16()) if is_half else array.dictionary
        if self._values is None:
            # Arrow takes no dictionary for an extension of an empty one; a null that no row uses does no harm.
            self._is_placeholder = len(found) == 0
            self._values = pa.nulls(1, found.type) if self._is_placeholder else found
        if len(found) <= len(self._values) and found.equals(self._values.slice(0, len(found))):
            numbers = array.indices
        else:
            numbers = self._take_in(array, found, column)
        values = self._values.view(pa.float16()) if is_half else self._values
        return pa.DictionaryArray.from_arrays(numbers, values, ordered=array.type.ordered, safe=False)

    def _take_in(self, array: pa.DictionaryArray, found: pa.Array, column: str) -> pa.Array:
        """Add what is new in a dictionary, and translate the indices."""
        values, index_type = self._values, array.type.index_type
        extends = self._is_placeholder or values.equals(found.slice(0, len(values)))
        if array.type.ordered and not extends:
            raise _mixed(column, "their order differs")
        places = pc.index_in(found, value_set=values)
        new = found.filter(places.is_null()).unique()
        if len(new):
            added = pc.add(pc.index_in(found, value_set=new), len(values))
            values, places = pa.concat_arrays([values, new]), pc.coalesce(places, added)
        if len(values) > 2 ** (index_type.bit_width - types.is_signed_integer(index_type)):
            raise _mixed(column, f"together they have {len(values)} values, too many for indices of {index_type}")
        self._values, self._is_placeholder = values, False
        return places.take(array.indices).cast(index_type)


def _mixed(column: str, why: str) -> DataError:
    return DataError(
        f"the dictionaries of column {column!r} differ between batches, and {why}",
        hint="write the column as plain values, or write Parquet",
    )


class _NoForm(Exception):
    """A value that a format cannot hold; the text says which, `held_by` which formats can."""

    def __init__(self, what: str, *held_by: str) -> None:
        super().__init__(what)
        self.held_by = held_by


def _holds(format_name: str, data_type: pa.DataType) -> bool:
    """Whether a format can hold a type, and what is within it."""
    if isinstance(data_type, pa.BaseExtensionType):
        return _holds(format_name, data_type.storage_type)
    if types.is_dictionary(data_type) or types.is_run_end_encoded(data_type):
        return _holds(format_name, data_type.value_type)
    if types.is_nested(data_type):
        inner = (data_type.field(position).type for position in range(data_type.num_fields))
        return _NESTED[format_name](data_type) and all(_holds(format_name, each) for each in inner)
    if types.is_decimal(data_type) and data_type.scale < 0 and format_name == "Parquet":
        return False
    return _is_flat(data_type) and (format_name == "Arrow" or not types.is_interval(data_type))


_LISTS: Final = (
    types.is_list,
    types.is_large_list,
    types.is_fixed_size_list,
    types.is_list_view,
    types.is_large_list_view,
)
_FLAT: Final = (
    *(types.is_null, types.is_boolean, types.is_integer, types.is_floating, types.is_decimal, types.is_temporal),
    *(types.is_string, types.is_large_string, types.is_string_view, types.is_binary, types.is_large_binary),
    *(types.is_binary_view, types.is_fixed_size_binary),
)


def _is_flat(data_type: pa.DataType) -> bool:
    return any(check(data_type) for check in _FLAT)


def _is_tree(data_type: pa.DataType) -> bool:
    return any(check(data_type) for check in (*_LISTS, types.is_struct, types.is_map))


_NESTED: Final[Mapping[str, Callable[[Any], bool]]] = {
    "CSV": lambda _: False,
    "JSON Lines": _is_tree,
    "Parquet": lambda data_type: _is_tree(data_type) and data_type.num_fields > 0,
    "Arrow": lambda data_type: _is_tree(data_type) or types.is_union(data_type),
}


def _for_csv(data_type: pa.DataType) -> _Convert | None:
    plain = _plain(data_type)
    if plain is not None:
        inner = _for_csv(plain(pa.nulls(0, data_type), "").type)
        return plain if inner is None else lambda array, name: inner(plain(array, name), name)
    if types.is_date64(data_type):
        return lambda array, _: _in_years(_whole_days(array))
    if types.is_timestamp(data_type) and data_type.tz:
        return lambda array, _: _with_whole_minutes(_in_years(array))
    if types.is_date(data_type) or types.is_timestamp(data_type):
        return lambda array, _: _in_years(array)
    if types.is_time(data_type):
        return lambda array, _: _within_a_day(array)
    if _is_bytes(data_type):
        return lambda array, _: _as_text(array)
    return None


def _for_json_lines(data_type: pa.DataType) -> _Convert | None:
    plain = _plain(data_type)
    if plain is not None:
        inner = _for_json_lines(plain(pa.nulls(0, data_type), "").type)
        return plain if inner is None else lambda array, name: inner(plain(array, name), name)
    if types.is_list_view(data_type) or types.is_large_list_view(data_type):
        return lambda array, _: _as_lists(array)
    if types.is_date64(data_type):
        return lambda array, _: _whole_days(array)
    if types.is_time(data_type):
        return lambda array, _: _within_a_day(array)
    return None


def _for_parquet(data_type: pa.DataType) -> _Convert | None:
    if types.is_run_end_encoded(data_type):
        return lambda array, _: pc.run_end_decode(array)
    if types.is_dictionary(data_type):
        return lambda array, _: _without_null_values(array)
    if types.is_date64(data_type):
        return lambda array, _: _whole_days(array)
    if types.is_timestamp(data_type) and data_type.unit == "s":
        return lambda array, _: _in_milliseconds(array)
    return None


def _for_arrow(data_type: pa.DataType) -> _Convert | None:
    return DictionaryGrowth() if types.is_dictionary(data_type) else None


_PREPARE: Final[Mapping[str, _Prepare]] = {
    "CSV": _for_csv,
    "JSON Lines": _for_json_lines,
    "Parquet": _for_parquet,
    "Arrow": _for_arrow,
}


def _plain(data_type: pa.DataType) -> _Convert | None:
    """What takes one layer of encoding off a column; `None` where there is none."""
    if isinstance(data_type, pa.BaseExtensionType):
        return lambda array, _: array.storage
    if types.is_dictionary(data_type):
        return lambda array, _: array.dictionary_decode()
    if types.is_run_end_encoded(data_type):
        return lambda array, _: pc.run_end_decode(array)
    if types.is_string_view(data_type):
        return lambda array, _: array.cast(pa.large_string())
    if types.is_binary_view(data_type):
        return lambda array, _: array.cast(pa.large_binary())
    return None


def _without_null_values(array: pa.DictionaryArray) -> pa.DictionaryArray:
    if array.dictionary.null_count == 0:
        return array
    return array.dictionary_decode().dictionary_encode().cast(array.type)


def _is_bytes(data_type: pa.DataType) -> bool:
    return bool(types.is_binary(data_type) or types.is_large_binary(data_type) or types.is_fixed_size_binary(data_type))


def _as_text(array: pa.Array) -> pa.Array:
    try:
        return array.cast(pa.large_binary()).cast(pa.large_string())
    except pa.ArrowInvalid:
        raise _NoForm("bytes that are not UTF-8", "JSON Lines", "Parquet", "Arrow") from None


def _ends(array: pa.Array) -> tuple[int, int]:
    bits = pa.int64() if array.type.bit_width == 64 else pa.int32()
    found = pc.min_max(array.view(bits))
    return (found["min"].as_py(), found["max"].as_py()) if found["min"].is_valid else (0, 0)


def _as_lists(views: Any) -> pa.LargeListArray:
    """Lists of the same items; a cast by Arrow breaks where a view is null."""
    lengths = pc.fill_null(pc.list_value_length(views), 0).cast(pa.int64())
    ends = pc.cumulative_sum(lengths).to_numpy(zero_copy_only=False)
    offsets = np.concatenate([np.zeros(1, np.int64), ends])
    nulls = np.append(views.is_null().to_numpy(zero_copy_only=False), False)
    kind = pa.large_list(views.type.value_field)
    return pa.LargeListArray.from_arrays(pa.array(offsets, mask=nulls), views.flatten(), type=kind)


def _whole_days(array: pa.Array) -> pa.Array:
    numbers = array.view(pa.int64())
    # Whole days survive the way to days and back.
    days = pc.multiply(pc.divide(numbers, _DAY_MS), _DAY_MS)
    if pc.all(pc.equal(days, numbers)).as_py() is False:
        raise _NoForm("a date64 with a time of day", "Arrow")
    return array


def _in_milliseconds(array: pa.Array) -> pa.Array:
    """Widen seconds, which Parquet does not have."""
    try:
        return array.cast(pa.timestamp("ms", array.type.tz))
    except pa.ArrowInvalid:
        raise _NoForm("a time that is too far away for milliseconds", "Arrow") from None


def _in_years(array: pa.Array) -> pa.Array:
    if types.is_date32(array.type):
        unit = 1 / 86_400
    else:
        unit = 1_000 if types.is_date64(array.type) else _PER_SECOND[array.type.unit]
    least, most = _ends(array)
    # A zone moves a time by a day at most, and could take it out of the years that have four digits.
    margin = 86_400 if types.is_timestamp(array.type) and array.type.tz else 0
    if least < (_YEAR_1 + margin) * unit or most >= (_YEAR_10000 - margin) * unit:
        # Parquet has no seconds, and may not reach as far.
        others = () if types.is_timestamp(array.type) and array.type.unit == "s" else ("Parquet",)
        raise _NoForm("a date outside the years 1 to 9999", *others, "Arrow")
    return array


def has_odd_offsets(array: pa.Array) -> pa.Array | None:
    """Find the timestamps of a zone whose offset from UTC is not a whole number of minutes, as local mean time is.

    Arrow cuts the seconds off an offset where it writes one, so that another time would be read.

    Returns:
        A boolean for each value; `None` where no value is of that kind.
    """
    unit = _PER_SECOND[array.type.unit]
    # The last zone that had such an offset, Africa/Monrovia, gave it up in January 1972.
    if array.null_count == len(array) or _ends(array)[0] >= _YEAR_1973 * unit:
        return None
    numbers = array.view(pa.int64())
    offsets = pc.subtract(pc.local_timestamp(array).view(pa.int64()), numbers)
    minute = 60 * unit
    odd = pc.not_equal(pc.multiply(pc.divide(offsets, minute), minute), offsets)
    return odd if pc.any(odd).as_py() else None


def _with_whole_minutes(array: pa.Array) -> pa.Array:
    """Leave the zone of a batch out where an offset has seconds: UTC is what every reader understands."""
    return array if has_odd_offsets(array) is None else array.cast(pa.timestamp(array.type.unit, "UTC"))


def _within_a_day(array: pa.Array) -> pa.Array:
    least, most = _ends(array)
    if least < 0 or most >= 86_400 * _PER_SECOND[array.type.unit]:
        raise _NoForm("a time outside a day", "Parquet", "Arrow")
    return array
