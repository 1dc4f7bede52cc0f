"""Functions on dates, times and zones."""

from __future__ import annotations

import re
import zoneinfo
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from dataflare.data.expressions.function import (
    SLOW,
    Function,
    Option,
    arrow,
    choice,
    flag,
    integer,
    own,
    signatures,
    text,
)
from dataflare.data.expressions.types import DATE, TEXT, TIME, TIMESTAMP, one_of
from dataflare.data.zones import arrow_has_zone

__all__ = ["FUNCTIONS", "is_zone", "zones"]

_DAY: Final = signatures((one_of(DATE, TIMESTAMP),))
_CLOCK: Final = signatures((one_of(TIME, TIMESTAMP),))
_STAMP: Final = signatures((TIMESTAMP,))
_SPAN: Final = signatures((TIMESTAMP, TIMESTAMP), (DATE, DATE))
_CLOCK_SPAN: Final = signatures((TIMESTAMP, TIMESTAMP), (TIME, TIME))
_MOMENT: Final = datetime(2024, 3, 10, 1, 30, 15, 123456)
_EARLIER: Final = datetime(2024, 3, 9, 1, 30, 15, 123456)
_OFFSET: Final = re.compile(r"[+-](?:0[0-9]|1[0-9]|2[0-3]):?[0-5][0-9]")
_UNITS: Final = (
    "year",
    "quarter",
    "month",
    "week",
    "day",
    "hour",
    "minute",
    "second",
    "millisecond",
    "microsecond",
    "nanosecond",
)


@cache
def zones() -> frozenset[str]:
    """Return the zone names in this machine's IANA databases; Arrow may not have all of them."""
    return frozenset(zoneinfo.available_timezones() - {"Factory"})  # means that no zone was chosen


def is_zone(name: str) -> bool:
    """Whether this is a zone name of the IANA database, or an offset such as `+05:30`."""
    return _OFFSET.fullmatch(name) is not None or (name in zones() and arrow_has_zone(name))


def _zone_option() -> Option:
    def read(value: Any) -> str:
        if not isinstance(value, str) or not is_zone(value):
            raise ValueError("a zone such as Europe/Berlin or +05:30")
        return value

    return Option(name="timezone", says="a zone of the IANA database, or an offset", read=read, required=True)


def _field(name: str, says: str, result: Any, forms: Any = _DAY) -> Function:
    return arrow(name, says, forms, ((_MOMENT,), result))


def _between(unit: str, result: int, forms: Any = _SPAN) -> Function:
    name = f"{unit}s_between"
    return arrow(name, f"How many {unit}s begin after `x`, up to `y`", forms, ((_EARLIER, _MOMENT), result))


def _rounded(name: str, says: str, result: datetime) -> Function:
    def make(options: Mapping[str, Any]) -> pc.RoundTemporalOptions:
        return pc.RoundTemporalOptions(options["multiple"], options["unit"], week_starts_monday=True)

    return arrow(
        name,
        says,
        signatures((one_of(DATE, TIMESTAMP, TIME),)),
        ((_MOMENT,), result),
        make=make,
        given={"unit": "hour"},
        options=(
            choice("unit", "of what", *_UNITS, default="day"),
            integer("multiple", "of how many", 1, 1000, default=1),
        ),
        errors="the unit does not fit the type, or the result does not fit",
    )


def _strptime(arguments: Sequence[Any], options: Mapping[str, Any]) -> Any:
    return pc.strptime(
        arguments[0], format=options["format"], unit=options["unit"], error_is_null=options["error_is_null"]
    )


_FORMAT: Final = text("format", "the form, such as %Y-%m-%d", 200, required=True, least=1)
_AMBIGUOUS: Final = choice("ambiguous", "a time that is there twice", "raise", "earliest", "latest", default="raise")
_MISSING: Final = choice("nonexistent", "a time that is not there", "raise", "earliest", "latest", default="raise")

FUNCTIONS: Final[tuple[Function, ...]] = (
    _field("year", "The year", 2024),
    _field("quarter", "The quarter, 1 to 4", 1),
    _field("month", "The month, 1 to 12", 3),
    _field("day", "The day of the month, 1 to 31", 10),
    _field("day_of_year", "The day of the year, 1 to 366", 70),
    arrow(
        "day_of_week",
        "The day of the week",
        _DAY,
        ((_MOMENT,), 6),
        make=lambda options: pc.DayOfWeekOptions(
            count_from_zero=options["count_from_zero"], week_start=options["week_start"]
        ),
        options=(
            flag("count_from_zero", "count from 0 rather than 1", default=True),
            integer("week_start", "the day that is first: 1 for Monday, 7 for Sunday", 1, 7, default=1),
        ),
    ),
    _field("iso_year", "The year of ISO 8601, whose weeks are whole", 2024),
    _field("iso_week", "The week of ISO 8601, 1 to 53", 10),
    _field("us_week", "The week, which begins on Sunday, 1 to 53", 11),
    _field("us_year", "The year whose weeks begin on Sunday", 2024),
    _field("is_leap_year", "Whether the year has 366 days", True),
    _field("hour", "The hour, 0 to 23", 1, _CLOCK),
    _field("minute", "The minute, 0 to 59", 30, _CLOCK),
    _field("second", "The second, 0 to 59", 15, _CLOCK),
    _field("millisecond", "The millisecond within the second", 123, _CLOCK),
    _field("microsecond", "The microsecond within the millisecond", 456, _CLOCK),
    _field("nanosecond", "The nanosecond within the microsecond", 0, _CLOCK),
    _field("subsecond", "The part of a second, 0 to 1", 0.123456, _CLOCK),
    _between("year", 0),
    _between("quarter", 0),
    _between("week", 0),
    _between("day", 1),
    _between("hour", 24, _CLOCK_SPAN),
    _between("minute", 1440, _CLOCK_SPAN),
    _between("second", 86_400, _CLOCK_SPAN),
    _between("millisecond", 86_400_000, _CLOCK_SPAN),
    _between("microsecond", 86_400_000_000, _CLOCK_SPAN),
    _between("nanosecond", 86_400_000_000_000, _CLOCK_SPAN),
    _rounded("floor_temporal", "The last begin of a unit before it", datetime(2024, 3, 10, 1)),
    _rounded("ceil_temporal", "The next begin of a unit after it", datetime(2024, 3, 10, 2)),
    _rounded("round_temporal", "The nearest begin of a unit", datetime(2024, 3, 10, 2)),
    arrow(
        "strftime",
        "As text, in a form of `strftime`",
        signatures((one_of(DATE, TIMESTAMP, TIME),)),
        ((_MOMENT,), "2024-03-10"),
        make=lambda options: pc.StrftimeOptions(options["format"], locale="C"),
        given={"format": "%Y-%m-%d"},
        options=(_FORMAT,),
        errors="the form asks for what the type has not",
        rows=SLOW,
        growth=lambda _, options, rows: rows * (16.0 + 32.0 * len(options["format"])),
    ),
    own(
        "strptime",
        "As a timestamp, read from text by a form of `strptime`",
        signatures((TEXT,)),
        (("2024-03-10",), datetime(2024, 3, 10)),
        _strptime,
        given={"format": "%Y-%m-%d", "unit": "us"},
        options=(
            _FORMAT,
            choice("unit", "the timestamp's unit", "s", "ms", "us", "ns", default="us"),
            flag("error_is_null", "null for a text that cannot be read", default=False),
        ),
        errors="a text is not of this form",
        rows=SLOW,
    ),
    arrow(
        "assume_timezone",
        "The moment at which a zone's clocks show this time",
        _STAMP,
        ((datetime(2024, 3, 10, 12),), pa.scalar(datetime(2024, 3, 10, 11), pa.timestamp("us", "Europe/Berlin"))),
        make=lambda options: pc.AssumeTimezoneOptions(
            options["timezone"], ambiguous=options["ambiguous"], nonexistent=options["nonexistent"]
        ),
        given={"timezone": "Europe/Berlin"},
        options=(_zone_option(), _AMBIGUOUS, _MISSING),
        errors="the timestamp has a zone; the time is there twice, or not at all",
    ),
    arrow(
        "local_timestamp",
        "What the clocks of the timestamp's zone show",
        _STAMP,
        ((pa.scalar(datetime(2024, 3, 10, 11), pa.timestamp("us", "Europe/Berlin")),), datetime(2024, 3, 10, 12)),
    ),
    arrow(
        "is_dst",
        "Whether it is daylight saving time",
        _STAMP,
        ((pa.scalar(datetime(2024, 7, 1), pa.timestamp("us", "Europe/Berlin")),), True),
        errors="the timestamp has no zone",
    ),
)
