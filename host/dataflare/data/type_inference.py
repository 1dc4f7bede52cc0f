"""The types that a column of texts can be read as without loss.

A column is a number, a time or a boolean only where every value of it is, in the one form that is written again in the
same way; else it stays text. The rules are in docs/reference/inference.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types

from dataflare.data.decimal_texts import read_decimals

__all__ = [
    "ColumnGuess",
    "convert",
    "exact_as_double",
    "first_misfit",
    "fitting_type",
    "misfit_reason",
    "read_exactly",
]

_INTEGER = r"^(?:0|-?[1-9][0-9]*)$"
_NUMBER = r"^-?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?$"
_NOT_FINITE = r"^(?:nan|NaN|-?inf)$"
_REAL = f"{_NUMBER}|{_NOT_FINITE}"
_NEGATIVE_ZERO = r"^-0(?:\.0*)?$"
_FIXED = r"^-?(?:0|[1-9][0-9]*)(?:\.[0-9]*)?$"
_LOOKS_NUMERIC = r"^[+-]?[0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]+)?$"
_SEPARATED = r"^[^0-9A-Za-z]*[0-9][0-9., ']*[^0-9A-Za-z]*$"  # 1.234,50 or $5.00 or 50%
_BOOLEAN = r"^(?:true|false|True|False|TRUE|FALSE)$"
_YEAR = "(?:[1-9][0-9]{3}|0[1-9][0-9]{2}|00[1-9][0-9]|000[1-9])"  # others know no year 0
_DATE = rf"^{_YEAR}-[0-9]{{2}}-[0-9]{{2}}$"
_TIME = r"^(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]$"
_MOMENT = rf"^{_YEAR}" + r"-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?"
_LOCAL = _MOMENT + "$"
_ZONED = _MOMENT + r"(?:Z|[+-][0-9]{2}(?::?[0-9]{2})?)$"
_UTC = _MOMENT + r"(?:Z|\+00:?00)$"
_LOOKS = {
    _LOOKS_NUMERIC: "leading zeros, plus signs or other forms that a number does not keep",
    _MOMENT: "times with a zone of their own, or of several forms",
    r"^(?:[-./0-9]{8,10}[T ])?[0-9]{1,2}:[0-9]{2}(?::[0-9]{2})?$": "times in another form than 01:30:00",
    r"^[0-9]{1,4}[-./][0-9]{1,2}[-./][0-9]{1,4}$": "dates in another form than 2024-03-10",
    _SEPARATED: "numbers with decimal commas, separators, spaces or signs",
}
"""What all texts of a column may look like without being it, and why they are not."""
_WORDS = {
    **{"real": "number", "boolean": "boolean", "date": "date", "time": "time of day"},
    **{"local": "time without a zone", "utc": "time in UTC"},
}
_PATTERNS = {
    "integer": _INTEGER,
    "real": _REAL,
    "boolean": _BOOLEAN,
    "date": _DATE,
    "time": _TIME,
    "local": _LOCAL,
    "utc": _UTC,
}

_LONG_DIGITS = 19
"""Those of the longest integers of 64 bits, which make a column with a fraction a decimal."""
_SAFE_DIGITS = 15
"""Any decimal number of this many digits is what a double of it is written as."""

_GREATEST = {16: 65504.0, 32: float(np.finfo(np.float32).max), 64: float(np.finfo(np.float64).max)}


def _padded(texts: pa.Array) -> bool:
    """Whether a text begins with a zero and another digit, or is `-0`, or `0x1F`: an integer would not keep that."""
    offsets = np.frombuffer(texts.buffers()[1], np.int32, len(texts) + 1, texts.offset * 4)
    if offsets[-1] == offsets[0]:
        return False
    data = np.frombuffer(texts.buffers()[2], np.uint8)
    begins, last = offsets[:-1], len(data) - 1
    firsts = data[np.minimum(begins, last)]
    suspects = np.flatnonzero((firsts == ord("0")) | (firsts == ord("-")))
    begins, lengths = begins[suspects], np.diff(offsets)[suspects]
    signed = (firsts[suspects] == ord("-")) & (lengths > 1)
    zero = (data[np.minimum(begins + signed, last)] == ord("0")) & (lengths > 0)
    following = data[np.minimum(begins + signed + 1, last)] | 0x20
    alone = lengths - signed == 1
    fraction = (following == ord(".")) | (following == ord("e"))
    return bool((zero & np.where(alone, signed, ~fraction)).any())


def _all(mask: pa.Array) -> bool:
    return bool(pc.all(mask, min_count=0).as_py())


def _any(mask: pa.Array) -> bool:
    return bool(pc.any(mask, min_count=0).as_py())


def _matches(texts: pa.Array, pattern: str) -> pa.Array:
    return pc.match_substring_regex(texts, pattern)


def _all_match(texts: pa.Array, pattern: str) -> bool:
    """Whether all texts match; of most that do not, the first few show it."""
    return _all(_matches(texts[:64], pattern)) and _all(_matches(texts, pattern))


@dataclass(slots=True)
class ColumnGuess:
    """Finds out a column's type from its texts, part by part: `add` each part, then ask for `type`."""

    _kind: str = ""
    _whole: bool = True
    _exact: bool = True
    _fits_64_bits: bool = True
    _fixed: bool = True
    _finite: bool = True
    _signed_zero: bool = False
    _digits_before: int = 0
    _digits_after: int = 0
    _note: str = ""

    @property
    def note(self) -> str:
        """Why the column stays text, or became decimal, though it looks like something else; else empty."""
        if self._kind == "real" and not self._exact:
            return "more digits than a double keeps"
        if self._kind == "real" and self._whole and not self._fits_64_bits:
            return "beyond 64 bits"
        if self._kind == "real" and not self._whole and not self._digits_before:
            return "nothing but words such as nan"
        return self._note if self.valued else "it has no values"

    @property
    def valued(self) -> bool:
        """Whether there was a value."""
        return bool(self._kind)

    def add(self, texts: pa.Array) -> pa.Array | None:
        """Take one more part; nulls say nothing.

        Returns:
            Its values, where they are integers of 64 bits: no need to read them again if the column is of these.
        """
        if self._kind == "text" or texts.null_count == len(texts):
            return None
        if not self._kind:
            self._kind = self._kind_of(texts.drop_null()[0].as_py())
        if self._kind == "real" and self._whole and (integers := _read_integers(texts)) is not None:
            self._digits_before = max(self._digits_before, pc.max(pc.binary_length(texts)).as_py())
            return integers
        texts = texts.drop_null()
        if self._kind == "text" or not _all_match(texts, _PATTERNS[self._kind]) or not self._convertible(texts):
            self._note = _why_text(texts, self._kind)
            self._kind = "text"
        return None

    def type(self) -> pa.DataType:
        """The type of all that was added; a column of nulls alone is text."""
        match self._kind:
            case "real":
                return self._number()
            case "boolean":
                return pa.bool_()
            case "date":
                return pa.date32()
            case "time":
                return pa.time32("s")
            case "local" | "utc":
                unit = ("s", "ms", "us", "ns")[(self._digits_after + 2) // 3]
                return pa.timestamp(unit, "UTC" if self._kind == "utc" else None)
        return pa.string()

    def _kind_of(self, first: str) -> str:
        one = pa.array([first])
        for kind in ("real", "boolean", "date", "time", "local", "utc"):
            if _all(_matches(one, _PATTERNS[kind])):
                return kind
        return "text"

    def _number(self) -> pa.DataType:
        if self._exact and self._whole and self._fits_64_bits:
            return pa.int64()
        if self._exact and not self._whole:
            # Words such as `inf` alone are words.
            return pa.float64() if self._digits_before else pa.string()
        digits = self._digits_before + self._digits_after
        if not self._fixed or not self._finite or self._signed_zero or digits > 76:
            return pa.string()
        scale = self._digits_after
        return pa.decimal128(38, scale) if digits <= 38 else pa.decimal256(76, scale)

    def _convertible(self, texts: pa.Array) -> bool:
        """Look closer at what has the form of its kind; returns whether it has values too."""
        if self._kind == "real":
            self._look_at_numbers(texts)
            return True
        if self._kind in ("boolean", "time"):
            return True
        if self._kind == "date":
            return _converts(texts, pa.date32())
        if _any(pc.match_substring(texts, ".")):
            fractions = pc.extract_regex(texts, r"(?:\.(?P<d>[0-9]+))?(?:Z|\+00:?00)?$").field(0)
            self._digits_after = max(self._digits_after, pc.max(pc.utf8_length(fractions)).as_py() or 0)
        return _converts(texts, self.type())

    def _look_at_numbers(self, texts: pa.Array) -> None:
        whole = _all(_matches(texts, _INTEGER))
        if whole:
            longest = pc.max(pc.binary_length(texts)).as_py()
            self._digits_before = max(self._digits_before, longest)
            if longest > 18:
                self._fits_64_bits = self._fits_64_bits and _converts(texts, pa.int64())
            if not self._whole:
                self._exact = self._exact and _all(exact_as_double(texts))
            return
        if self._whole and self._digits_before > _SAFE_DIGITS:
            # Whole numbers came before that a double may not hold.
            self._exact = False
        self._whole = False
        self._exact = self._exact and _all(exact_as_double(texts))
        finite = texts.filter(pc.invert(_matches(texts, _NOT_FINITE)))
        self._finite = self._finite and len(finite) == len(texts)
        self._fixed = self._fixed and _all(_matches(finite, _FIXED))
        self._signed_zero = self._signed_zero or _any(_matches(finite, _NEGATIVE_ZERO))
        if len(finite):
            parts = pc.extract_regex(finite, r"^-?(?P<before>[0-9]*)(?:\.(?P<after>[0-9]*))?")
            before, after = (pc.max(pc.binary_length(parts.field(place))).as_py() or 0 for place in (0, 1))
            self._digits_before = max(self._digits_before, before, 1)
            self._digits_after = max(self._digits_after, after)


def _why_text(texts: pa.Array, kind: str) -> str:
    """Say why texts stay text, of which the first one was of a kind; empty if they look like nothing else."""
    for pattern, why in _LOOKS.items():
        if _all_match(texts, pattern):
            return why
    if kind == "text":
        return ""
    others = texts.filter(pc.invert(_matches(texts, _PATTERNS[kind])))
    if not len(others):
        return f"not every value is a {_WORDS[kind]}"
    text = repr(others[0].as_py())
    return f"{text if len(text) <= 30 else text[:27] + '...'} is not a {_WORDS[kind]}"


def _converts(texts: pa.Array, data_type: pa.DataType) -> bool:
    try:
        convert(texts, data_type)
    except (pa.ArrowException, ValueError):
        return False
    return True


def exact_as_double(texts: pa.Array) -> pa.Array:
    """Whether a double of each text, written out with as many digits, is the same number; the texts have no nulls."""
    fine = pc.and_(pc.less_equal(pc.binary_length(texts), _SAFE_DIGITS), pc.invert(_matches(texts, "[eE]")))
    if _all(fine):
        return fine
    numbers = texts.cast(pa.float64())
    fine = pc.or_(fine, pc.or_(pc.equal(texts, numbers.cast(texts.type)), _matches(texts, _NOT_FINITE)))
    if _all(fine):
        return fine
    places = pc.indices_nonzero(pc.invert(fine))
    verdict = fine.to_numpy(zero_copy_only=False).copy()
    pairs = zip(texts.take(places).to_pylist(), numbers.take(places).to_pylist(), strict=True)
    verdict[places.to_numpy()] = [_is_exact(text, number) for text, number in pairs]
    return pa.array(verdict)


def _is_exact(text: str, number: float) -> bool:
    mantissa, _, _ = text.lower().lstrip("-").partition("e")
    digits = mantissa.replace(".", "").lstrip("0").rstrip("0")
    if not digits or number in (0.0, float("inf"), float("-inf")):
        return not digits
    if len(digits) > 17:
        return False
    # Rounded to as many digits, the double must be the text; where it is tiny, it has fewer digits of its own.
    return f"{abs(number):.{len(digits) - 1}e}".partition("e")[0].replace(".", "") == digits


def _read_integers(texts: pa.Array) -> pa.Array | None:
    """Read integers of 64 bits; `None` where a text is not one, or is padded with zeros."""
    try:
        values = texts.cast(pa.int64())
    except pa.ArrowInvalid:
        return None
    return None if _padded(texts) else values


def convert(texts: pa.Array, data_type: pa.DataType) -> pa.Array:
    """Read texts as values of a type.

    Raises:
        pa.ArrowException: One cannot be; `first_misfit` finds it.
        ValueError: The same.
    """
    if texts.type.equals(data_type):
        return texts
    if types.is_time(data_type):
        # Arrow has no cast from a text to a time, but one from a text to a moment of the first day.
        moments = pc.binary_join_element_wise(pa.scalar("1970-01-01T"), texts, pa.scalar(""))
        return moments.cast(pa.timestamp(data_type.unit)).cast(data_type)
    if types.is_duration(data_type):
        return texts.cast(pa.int64()).cast(data_type)
    if types.is_date64(data_type):
        return texts.cast(pa.date32()).cast(data_type)
    if types.is_null(data_type):
        if texts.null_count < len(texts):
            raise ValueError("it is not null")
        return pa.nulls(len(texts))
    if types.is_dictionary(data_type):
        return convert(texts, data_type.value_type).dictionary_encode().cast(data_type)
    if types.is_integer(data_type) and _padded(texts) and pc.any(_matches(texts, "[xX]")).as_py():
        raise ValueError("not a decimal number")  # Arrow would take it as hexadecimal
    if types.is_decimal(data_type):
        return read_decimals(texts, data_type)
    values = texts.cast(data_type if not types.is_float16(data_type) else pa.float32()).cast(data_type)
    if types.is_floating(data_type):
        infinite = pc.and_(pc.is_inf(values), pc.match_substring_regex(texts, "[0-9]"))
        if pc.any(infinite).as_py():
            raise ValueError("beyond the range of the type")
    return values


def read_exactly(texts: pa.Array, data_type: pa.DataType) -> pa.Array:
    """Read texts as values of a type that was found out, unless something would be lost.

    Raises:
        pa.ArrowException: One cannot be read; `first_misfit` finds it.
        ValueError: One is not in the form that the type writes, or has more digits than the type keeps.
    """
    if types.is_string(data_type):
        return texts
    if types.is_integer(data_type) and (integers := _read_integers(texts)) is not None:
        return integers
    if not _all(_matches(texts, _pattern_of(data_type))):
        raise ValueError("of another form")
    if types.is_float64(data_type) and not _all(exact_as_double(texts.drop_null())):
        raise ValueError("more digits than a double keeps")
    if types.is_decimal(data_type) and _any(_matches(texts, _NEGATIVE_ZERO)):
        raise ValueError("a decimal has no negative zero")
    return convert(texts, data_type)


def first_misfit(texts: pa.Array, data_type: pa.DataType, read: Callable[[pa.Array, pa.DataType], pa.Array]) -> int:
    """Find the first text that `read` fails on, by halves; there must be one."""
    low, high = 0, len(texts)
    while high - low > 1:
        middle = (low + high) // 2
        try:
            read(texts.slice(low, middle - low), data_type)
            low = middle
        except (pa.ArrowException, ValueError):
            high = middle
    return low


def _pattern_of(data_type: pa.DataType) -> str:
    if types.is_integer(data_type):
        return _INTEGER
    if types.is_float64(data_type):
        return _REAL
    if types.is_decimal(data_type):
        return _FIXED
    if types.is_boolean(data_type):
        return _BOOLEAN
    if types.is_date(data_type):
        return _DATE
    if types.is_time(data_type):
        return _TIME
    return _UTC if data_type.tz else _LOCAL


def misfit_reason(text: Any, data_type: pa.DataType) -> str:
    """Say why one text does not fit a type."""
    if types.is_integer(data_type) and _all(_matches(pa.array([text]), _INTEGER)):
        return f"does not fit {data_type}"
    if types.is_floating(data_type) and _all(_matches(pa.array([text]), _NUMBER)):
        if abs(float(text)) > _GREATEST[data_type.bit_width]:
            return f"is beyond the range of {data_type}"
        return f"has more digits than {data_type} keeps"
    if types.is_timestamp(data_type) and _all(_matches(pa.array([text]), _ZONED if data_type.tz is None else _LOCAL)):
        return f"has a zone, and {data_type} has none" if data_type.tz is None else f"has no zone, as {data_type} needs"
    return f"is not a value of {data_type}"


def fitting_type(text: Any, data_type: pa.DataType) -> str:
    """Find a type that takes the values of a type, and one more text.

    Returns:
        The type, as a value in YAML; `string`, which takes every text as it is written, where no other type does.
    """
    values = {
        **{str(each): "0" for each in (pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16())},
        **{"uint32": "0", "uint64": "0", "float": "0.5", "double": "0.5", "bool": "true"},
    }
    value = values.get(str(data_type), "")
    if types.is_decimal(data_type):
        value = f"{'1' * _LONG_DIGITS}.{'0' * data_type.scale}"
    elif types.is_timestamp(data_type):
        digits = 3 * ("s", "ms", "us", "ns").index(data_type.unit)
        value = "2000-01-01T00:00:00" + f".{'0' * digits}".rstrip(".") + ("" if data_type.tz is None else "Z")
    if not value or not isinstance(text, str):
        return "string"
    guess = ColumnGuess()
    for each in (value, text):
        guess.add(pa.array([each]))
    found = str(guess.type())
    return f"'{found}'" if found.endswith((")", "]")) else found
