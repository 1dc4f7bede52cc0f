"""Functions on texts and bytes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dataflare.data.expressions.function import (
    SLOW,
    Function,
    Growth,
    arrow,
    as_array,
    character,
    choice,
    flag,
    integer,
    own,
    signatures,
    text,
    text_bytes,
)
from dataflare.data.expressions.types import BINARY, INTEGER, TEXT

__all__ = ["FUNCTIONS"]

_TEXT: Final = signatures((TEXT,))
_EITHER: Final = signatures((TEXT,), (BINARY,))
_MOST_PATTERN: Final = 1000
_MOST_WIDTH: Final = 100_000
_PATTERN: Final = text("pattern", "what to look for", _MOST_PATTERN, required=True)
_SPLIT: Final = text("pattern", "what is between the parts", _MOST_PATTERN, required=True, least=1)
_REGEX: Final = text("pattern", "a regular expression of RE2", _MOST_PATTERN, required=True)
_CASE: Final = flag("ignore_case", "take upper and lower case for the same", default=False)
_BAD_REGEX: Final = "the pattern is not a regular expression, or too large"
_WIDTH: Final = integer("width", "characters of the result, at least", 0, _MOST_WIDTH, required=True)
_PADDING: Final = character("padding", "what it is filled up with", default=" ")
_CHARACTERS: Final = text("characters", "the characters to take away", _MOST_PATTERN, required=True)


def _padded(_: Sequence[Any], options: Mapping[str, Any], rows: int) -> float:
    return float(rows * (4.0 * options["width"] + 8))


def _longer(size_of: str) -> Growth:
    """Bound results in which each byte may be replaced by an option's text."""

    def bound(arguments: Sequence[Any], options: Mapping[str, Any], rows: int) -> float:
        return float((text_bytes(arguments[0]) + rows) * (1 + len(options[size_of].encode())) + 8 * rows)

    return bound


def _groups(arguments: Sequence[Any], options: Mapping[str, Any], rows: int) -> float:
    return float((1 + options["pattern"].count("(")) * (text_bytes(arguments[0]) + 16 * rows))


def _repeated(arguments: Sequence[Any], _: Mapping[str, Any], rows: int) -> float:
    value, times = arguments
    most = times.as_py() if isinstance(times, pa.Scalar) else pc.max(times).as_py()
    return float(text_bytes(value)) * max(0, most or 0) + 8.0 * rows


def _repeat(arguments: Sequence[Any], _: Mapping[str, Any]) -> Any:
    # Arrow's own function reads numbers under nulls, and its sum of lengths can overflow.
    value, times = arguments
    times = pc.cast(times, pa.int64())
    if pc.any(pc.less(times, 0)).as_py():
        raise ValueError("a number of times is negative")
    valid = pc.and_(pc.is_valid(value), pc.is_valid(times))
    used = pc.if_else(pc.and_kleene(valid, pc.greater(pc.binary_length(value), 0)), times, 0)
    empty = pa.scalar(b"", pa.binary()).cast(value.type)
    repeated = pc.binary_repeat(pc.fill_null(value, empty), pc.fill_null(used, 0))
    return pc.if_else(valid, repeated, pa.scalar(None, value.type))


_REPEATED: Final = re.compile(r"(.?)\{(\d*),?(\d*)\}")
_ENDLESS: Final = re.compile(r"[*+]|\{\d*,\}")
_ESCAPED: Final = re.compile(r"\\[pP]\{[^}]*\}|\\.|\[\]?[^\]]*\]", re.DOTALL)
_FEW_PLACES: Final = 16


def _places(pattern: str) -> int:
    """Bound the number of states of a pattern, with repetitions written out, in which a match can be at the same time.

    If RE2 has no memory for all sets of states, it takes a step for each state at each byte.
    """
    places = len(pattern)
    for before, low, high in _REPEATED.findall(pattern):
        times = min(1000, int(high or low or 1))
        places = places * max(1, times) if before == ")" else places + 4 * times
    return places if places > _FEW_PLACES else 1


def _looks_ahead(pattern: str) -> bool:
    """Whether a match may need text far behind its end: true unless only the end of the pattern repeats without
    limit."""
    plain = _ESCAPED.sub("x", pattern)
    found = _ENDLESS.search(plain)
    return found is not None and (found.end() < len(plain.rstrip("?")) or "(" in plain or "|" in plain)


def _searching(arguments: Sequence[Any], options: Mapping[str, Any], rows: int) -> float:
    return float(text_bytes(arguments[0]) + rows) * _places(options["pattern"])


def _finding_all(arguments: Sequence[Any], options: Mapping[str, Any], rows: int) -> float:
    pattern = options["pattern"]
    if not _looks_ahead(pattern):
        return _searching(arguments, options, rows)
    # After each match, the matcher may read the rest of the text without a result.
    value = arguments[0]
    array = as_array(value)
    lengths = np.asarray(pc.fill_null(pc.binary_length(array).cast(pa.float64()), 0.0)) + 1.0
    return float((lengths * lengths).sum()) * _places(pattern)


def _matches(name: str, says: str, example: tuple[tuple[Any, ...], Any], **rest: Any) -> Function:
    return arrow(
        name,
        says,
        _EITHER,
        example,
        make=lambda options: pc.MatchSubstringOptions(options["pattern"], ignore_case=options["ignore_case"]),
        options=(rest.pop("pattern", _PATTERN), _CASE),
        rows=SLOW,
        **rest,
    )


def _pads(name: str, says: str, result: str) -> Function:
    return arrow(
        name,
        says,
        _TEXT,
        (("ab",), result),
        make=lambda options: pc.PadOptions(options["width"], options["padding"]),
        given={"width": 4, "padding": "."},
        options=(_WIDTH, _PADDING),
        rows=SLOW,
        growth=_padded,
    )


def _trims(name: str, says: str, result: str) -> Function:
    return arrow(
        name,
        says,
        _TEXT,
        (("..ab..",), result),
        make=lambda options: pc.TrimOptions(options["characters"]),
        given={"characters": "."},
        options=(_CHARACTERS,),
        rows=SLOW,
    )


def _replaces(name: str, says: str, example: tuple[tuple[Any, ...], Any], given: Any, **rest: Any) -> Function:
    # Without a maximum of replacements: with one, Arrow's loop does not end if the match is empty.
    return arrow(
        name,
        says,
        _EITHER,
        example,
        make=lambda options: pc.ReplaceSubstringOptions(options["pattern"], options["replacement"]),
        given=given,
        options=(
            rest.pop("pattern", _SPLIT),
            text("replacement", "what is put in its place", _MOST_PATTERN, required=True),
        ),
        rows=SLOW,
        growth=_longer("replacement"),
        **rest,
    )


def _slice(arguments: Sequence[Any], options: Mapping[str, Any]) -> Any:
    return pc.utf8_slice_codeunits(arguments[0], options["start"], options["stop"], options["step"])


def _join(arguments: Sequence[Any], options: Mapping[str, Any]) -> Any:
    if options["null_handling"] == "skip":  # Arrow drops the rows in which all are null
        empty = pa.scalar("", pa.string()).cast(arguments[0].type)
        nothing = pc.is_null(pc.coalesce(*arguments))
        arguments = [pc.if_else(nothing, empty, arguments[0]), *arguments[1:]]
    if len(arguments) == 1:
        return arguments[0]
    separator = pa.scalar(options["separator"], arguments[0].type)
    joining = pc.JoinOptions(null_handling=options["null_handling"])
    return pc.call_function("binary_join_element_wise", [*arguments, separator], joining)


def _is(name: str, says: str, example: str) -> Function:
    return arrow(name, says, _TEXT, ((example,), True), rows=SLOW)


_AT: Final = (
    integer("start", "the first character, from 0; negative from the end", -(2**31), 2**31 - 1, default=0),
    integer("stop", "the character after the last; none for the end", -(2**31), 2**31 - 1),
)
FUNCTIONS: Final[tuple[Function, ...]] = (
    arrow("utf8_upper", "In upper case", _TEXT, (("äb",), "ÄB"), rows=SLOW),
    arrow("utf8_lower", "In lower case", _TEXT, (("ÄB",), "äb"), rows=SLOW),
    arrow(
        "utf8_capitalize", "The first character in upper case, the others in lower", _TEXT, (("aB",), "Ab"), rows=SLOW
    ),
    arrow("utf8_title", "Each word's first character in upper case", _TEXT, (("a b",), "A B"), rows=SLOW),
    arrow("utf8_swapcase", "Upper case for lower and the other way", _TEXT, (("aB",), "Ab"), rows=SLOW),
    arrow("utf8_reverse", "The characters from the last to the first", _TEXT, (("abc",), "cba"), rows=SLOW),
    arrow("utf8_length", "The number of characters", _TEXT, (("äb",), 2), rows=SLOW),
    arrow("binary_length", "The number of bytes", _EITHER, (("äb",), 3)),
    arrow(
        "binary_reverse", "The bytes from the last to the first", signatures((BINARY,)), ((b"abc",), b"cba"), rows=SLOW
    ),
    arrow("utf8_trim_whitespace", "Without white space at both ends", _TEXT, ((" a ",), "a"), rows=SLOW),
    arrow("utf8_ltrim_whitespace", "Without white space at the beginning", _TEXT, ((" a ",), "a "), rows=SLOW),
    arrow("utf8_rtrim_whitespace", "Without white space at the end", _TEXT, ((" a ",), " a"), rows=SLOW),
    _trims("utf8_trim", "Without these characters at both ends", "ab"),
    _trims("utf8_ltrim", "Without these characters at the beginning", "ab.."),
    _trims("utf8_rtrim", "Without these characters at the end", "..ab"),
    _pads("utf8_lpad", "Filled up at the beginning", "..ab"),
    _pads("utf8_rpad", "Filled up at the end", "ab.."),
    _pads("utf8_center", "Filled up at both ends", ".ab."),
    arrow(
        "utf8_normalize",
        "In one of Unicode's normal forms",
        _TEXT,
        (("a\u0308",), "ä"),
        make=lambda options: pc.Utf8NormalizeOptions(options["form"]),
        given={"form": "NFC"},
        options=(choice("form", "the normal form", "NFC", "NFKC", "NFD", "NFKD", required=True),),
        rows=SLOW,
        growth=lambda arguments, _, rows: 20.0 * text_bytes(arguments[0]) + 8.0 * rows,
    ),
    own(
        "utf8_slice_codeunits",
        "The characters from `start` to before `stop`",
        _TEXT,
        (("abcdef",), "bc"),
        _slice,
        given={"start": 1, "stop": 3},
        options=(*_AT, integer("step", "every so many characters", 1, 2**31 - 1, default=1)),
        rows=SLOW,
    ),
    arrow(
        "utf8_replace_slice",
        "With a text in the place of the characters from `start` to before `stop`",
        _TEXT,
        (("abcdef",), "a-def"),
        make=lambda options: pc.ReplaceSliceOptions(options["start"], options["stop"], options["replacement"]),
        given={"start": 1, "stop": 3, "replacement": "-"},
        options=(
            integer("start", "the first character, from 0; negative from the end", -(2**31), 2**31 - 1, required=True),
            integer("stop", "the character after the last", -(2**31), 2**31 - 1, required=True),
            text("replacement", "what is put there", _MOST_PATTERN, required=True),
        ),
        rows=SLOW,
        growth=lambda arguments, options, rows: (
            text_bytes(arguments[0]) + rows * (8.0 + len(options["replacement"]) * 4)
        ),
    ),
    _matches("starts_with", "Whether it begins with the pattern", (("abc",), True), given={"pattern": "ab"}),
    _matches("ends_with", "Whether it ends with the pattern", (("abc",), True), given={"pattern": "bc"}),
    _matches("match_substring", "Whether the pattern is in it", (("abc",), True), given={"pattern": "b"}),
    _matches("match_like", "Whether it is like SQL's pattern, `%` and `_`", (("abc",), True), given={"pattern": "a%"}),
    _matches(
        "find_substring",
        "The byte at which the pattern begins, from 0; -1 for none",
        (("abc",), 1),
        given={"pattern": "b"},
    ),
    _matches(
        "count_substring",
        "How often the pattern is in it, without overlaps",
        (("abab",), 2),
        given={"pattern": "ab"},
    ),
    _matches(
        "match_substring_regex",
        "Whether the regular expression matches somewhere in it",
        (("abc",), True),
        given={"pattern": "^a.c$"},
        pattern=_REGEX,
        errors=_BAD_REGEX,
        work=_searching,
    ),
    _matches(
        "find_substring_regex",
        "The byte at which the regular expression first matches; -1 for none",
        (("abc",), 1),
        given={"pattern": "[bc]"},
        pattern=_REGEX,
        errors=_BAD_REGEX,
        work=_searching,
    ),
    _matches(
        "count_substring_regex",
        "How often the regular expression matches, without overlaps",
        (("abc",), 2),
        given={"pattern": "[bc]"},
        pattern=_REGEX,
        errors=_BAD_REGEX,
        work=_finding_all,
    ),
    _replaces(
        "replace_substring", "With the pattern replaced", (("abab",), "cbcb"), {"pattern": "a", "replacement": "c"}
    ),
    _replaces(
        "replace_substring_regex",
        r"With what matches replaced; `\1` stands for a group",
        (("ab",), "ba"),
        {"pattern": "(a)(b)", "replacement": r"\2\1"},
        pattern=_REGEX,
        errors=_BAD_REGEX,
        work=_finding_all,
    ),
    arrow(
        "extract_regex",
        "The named groups of what matches, as a struct",
        _EITHER,
        (("a1",), {"letter": "a", "digit": "1"}),
        make=lambda options: pc.ExtractRegexOptions(options["pattern"]),
        given={"pattern": "(?P<letter>[a-z])(?P<digit>[0-9])"},
        options=(_REGEX,),
        nulls="null where the argument is, or nothing matches",
        errors=f"{_BAD_REGEX}, or a group has no name",
        rows=SLOW,
        work=_searching,
        growth=_groups,
    ),
    arrow(
        "split_pattern",
        "The parts between the pattern, as a list",
        _EITHER,
        (("a,b",), ["a", "b"]),
        make=lambda options: pc.SplitPatternOptions(options["pattern"], max_splits=options["max_splits"]),
        given={"pattern": ","},
        options=(_SPLIT, integer("max_splits", "split this often at most; -1 for always", -1, 2**31 - 1, default=-1)),
        rows=SLOW,
        growth=lambda arguments, _, rows: 6.0 * text_bytes(arguments[0]) + 16.0 * rows,
    ),
    arrow(
        "utf8_split_whitespace",
        "The words, as a list",
        _TEXT,
        (("a b",), ["a", "b"]),
        rows=SLOW,
        growth=lambda arguments, _, rows: 6.0 * text_bytes(arguments[0]) + 16.0 * rows,
    ),
    own(
        "binary_join_element_wise",
        "The arguments, one after another, with a separator between them",
        (*signatures((TEXT,), variadic=True), *signatures((BINARY,), variadic=True)),
        (("a", "b"), "a-b"),
        _join,
        given={"separator": "-"},
        options=(
            text("separator", "what is put between them", _MOST_PATTERN, default=""),
            choice("null_handling", "what nulls do", "emit_null", "skip", default="emit_null"),
        ),
        nulls="null where an argument is, or left out: see `null_handling`",
        rows=SLOW,
        growth=lambda arguments, options, rows: (
            sum(text_bytes(each) * (rows if isinstance(each, pa.Scalar) else 1.0) for each in arguments)
            + rows * (8.0 + len(arguments) * len(options["separator"].encode()))
        ),
    ),
    own(
        "binary_repeat",
        "The text, so many times",
        signatures((TEXT, INTEGER), (BINARY, INTEGER)),
        (("ab", 2), "abab"),
        _repeat,
        errors="the number is negative",
        rows=SLOW,
        growth=_repeated,
    ),
    arrow("string_is_ascii", "Whether all characters are ASCII", _TEXT, (("ab",), True), rows=SLOW),
    _is("utf8_is_alnum", "Whether all characters are letters or digits, and there is one", "ab1"),
    _is("utf8_is_alpha", "Whether all characters are letters, and there is one", "ab"),
    _is("utf8_is_decimal", "Whether all characters are decimal digits, and there is one", "12"),
    _is("utf8_is_digit", "Whether all characters are digits, and there is one", "12"),
    _is("utf8_is_lower", "Whether all letters are in lower case, and there is one", "ab"),
    _is("utf8_is_numeric", "Whether all characters are numeric, and there is one", "1½"),
    _is("utf8_is_printable", "Whether all characters can be printed", "ab"),
    _is("utf8_is_space", "Whether all characters are white space, and there is one", " "),
    _is("utf8_is_title", "Whether each word begins in upper case", "A B"),
    _is("utf8_is_upper", "Whether all letters are in upper case, and there is one", "AB"),
)
