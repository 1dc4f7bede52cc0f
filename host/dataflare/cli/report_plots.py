"""Plots of a run as SVG: no script, no font and no picture from elsewhere. Colours are classes of the page's style."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from dataflare.printable import printable

__all__ = ["Bar", "Line", "Span", "bars", "escaped", "lines", "spans"]

_WIDTH: Final = 720
_NAMES: Final = 150
"""The part on the left where names are."""
_ROW: Final = 26
_MOST_CHARS: Final = 20
_ROUND: Final = (1, 1.2, 1.6, 2, 2.4, 3.2, 4, 6, 8, 10)

Format = Callable[[float], str]


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a plot over time; `colour` is one of the page's classes."""

    name: str
    colour: str
    values: Sequence[float]


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar of parts: each a colour, what it is, and how much."""

    name: str
    parts: Sequence[tuple[str, str, float]]


@dataclass(frozen=True, slots=True)
class Span:
    """Values from the least to the most, each with its name."""

    name: str
    values: Sequence[tuple[str, float]]


def escaped(text: str) -> str:
    """A text of a plugin or a file, as HTML that shows it and does nothing else."""
    return html.escape(printable(text))


def lines(seconds: Sequence[float], shown: Sequence[Line], format_value: Format, format_time: Format) -> str:
    """Plot values over time."""
    left, right, top, bottom = 60, 12, 10, 24
    height = 190
    most_x, most_y = max(seconds[-1], 1e-9), _nice(max((max(each.values) for each in shown), default=0.0))

    def x(value: float) -> float:
        return left + (value / most_x) * (_WIDTH - left - right)

    def y(value: float) -> float:
        return height - bottom - (value / most_y) * (height - top - bottom)

    out = [f'<svg viewBox="0 0 {_WIDTH} {height}" role="img">']
    for part in range(5):
        value = most_y * part / 4
        out.append(f'<path class="grid" d="M{left} {y(value):.1f}H{_WIDTH - right}"/>')
        out.append(f'<text x="{left - 8}" y="{y(value) + 4:.1f}" class="end">{escaped(format_value(value))}</text>')
        at, anchor = most_x * part / 4, ("start", "mid", "mid", "mid", "end")[part]
        out.append(f'<text x="{x(at):.1f}" y="{height - 6}" class="{anchor}">{escaped(format_time(at))}</text>')
    for each in shown:
        points = " ".join(f"{x(at):.1f},{y(value):.1f}" for at, value in zip(seconds, each.values, strict=True))
        area = f"{left},{height - bottom} {points} {x(seconds[-1]):.1f},{height - bottom}"
        out.append(f'<polygon class="area {each.colour}" points="{area}"/>')
        out.append(
            f'<polyline class="line {each.colour}" points="{points}"><title>{escaped(each.name)}</title></polyline>'
        )
    return "".join([*out, "</svg>"])


def bars(shown: Sequence[Bar], format_value: Format) -> str:
    """Plot bars, one below the other, on one scale."""
    most = max((sum(value for _, _, value in each.parts) for each in shown), default=0.0) or 1.0
    room = _WIDTH - _NAMES - 70
    out = [_svg(len(shown) * _ROW)]
    for number, each in enumerate(shown):
        top = number * _ROW
        out.append(_name(each.name, top))
        at = float(_NAMES)
        for colour, what, value in each.parts:
            width = value / most * room
            if width > 0.2:
                title = escaped(f"{each.name}: {what} {format_value(value)}")
                out.append(
                    f'<rect class="{colour}" x="{at:.1f}" y="{top + 5}" width="{width:.1f}" height="{_ROW - 10}">'
                    f"<title>{title}</title></rect>"
                )
            at += width
        total = sum(value for _, _, value in each.parts)
        out.append(f'<text x="{at + 6:.1f}" y="{top + 17}">{escaped(format_value(total))}</text>')
    return "".join([*out, "</svg>"])


def spans(shown: Sequence[Span], format_value: Format) -> str:
    """Plot ranges of values above 0 on a logarithmic scale."""
    found = [value for each in shown for _, value in each.values if value > 0]
    low = math.floor(math.log10(min(found, default=0.001)))
    high = max(low + 1, math.ceil(math.log10(max(found, default=1.0))))
    left, right = _NAMES + 10, 30

    def x(value: float) -> float:
        return left + (math.log10(max(value, 10.0**low)) - low) / (high - low) * (_WIDTH - left - right)

    bottom = len(shown) * _ROW
    out = [_svg(bottom + 20)]
    for power in range(low, high + 1):
        at = x(10.0**power)
        out.append(f'<path class="grid" d="M{at:.1f} 0V{bottom}"/>')
        out.append(f'<text class="mid" x="{at:.1f}" y="{bottom + 15}">{escaped(format_value(10.0**power))}</text>')
    for number, each in enumerate(shown):
        middle = number * _ROW + 13
        out.append(_name(each.name, number * _ROW))
        if not each.values:
            continue
        first, last = x(each.values[0][1]), x(each.values[-1][1])
        out.append(f'<path class="span" d="M{first:.1f} {middle}H{last:.1f}"/>')
        for place, (what, value) in enumerate(each.values):
            title = escaped(f"{each.name}: {what} {format_value(value)}")
            out.append(
                f'<circle class="dot{place}" cx="{x(value):.1f}" cy="{middle}" r="5"><title>{title}</title></circle>'
            )
    return "".join([*out, "</svg>"])


def _svg(height: int) -> str:
    return f'<svg viewBox="0 0 {_WIDTH} {max(height, 1)}" role="img">'


def _name(name: str, top: int) -> str:
    short = name if len(name) <= _MOST_CHARS else f"{name[: _MOST_CHARS - 1]}…"
    return (
        f'<text class="end name" x="{_NAMES - 8}" y="{top + 17}">{escaped(short)}<title>{escaped(name)}</title></text>'
    )


def _nice(value: float) -> float:
    """The next number whose quarters are short, such as 2, 2.4 or 6 times a power of ten."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(each * power for each in _ROUND if each * power >= value * 0.9999)
