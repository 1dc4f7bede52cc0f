"""Thresholds of host calls and copied bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from dataflare.engine.call_budget import CallBudget
from dataflare.errors import HostCallLimitExceeded, HostCallRateExceeded, LimitExceeded
from dataflare.limits import Limits


@dataclass
class Counts:
    host_calls: int = 0
    bytes_in: int = 0
    bytes_out: int = 0


class Meter:
    """Counts calls as an instance does, with a clock of its own."""

    def __init__(self, **limits: Any) -> None:
        self.now_s = 0.0
        self.counts = Counts()
        self.looks = 0
        self.call_budget = CallBudget(Limits(**limits), self.counts, lambda: self.now_s)

    def call(self, host_calls: int) -> None:
        self.call_budget.begin()
        for _ in range(host_calls):
            self.counts.host_calls += 1
            if self.counts.host_calls > self.call_budget.calls_most:
                self.looks += 1
                self.call_budget.check_calls(lambda kind, text, hint: kind(text, hint=hint))


def test_calls_are_counted_for_each_call_anew() -> None:
    meter = Meter(host_calls=10)
    for _ in range(5):
        meter.call(10)
    with pytest.raises(HostCallLimitExceeded):
        meter.call(11)


def test_rate_lets_a_second_worth_through_at_once() -> None:
    meter = Meter(host_calls_per_s=100)
    meter.call(100)
    with pytest.raises(HostCallRateExceeded):
        meter.call(1)


@pytest.mark.parametrize("size", [1, 7, 50, 100])
def test_rate_refills_with_time_and_loses_nothing_between_calls(size: int) -> None:
    meter = Meter(host_calls_per_s=100)
    for _ in range(1000 // size):
        meter.call(size)
        meter.now_s += size / 100 + 1e-9


@pytest.mark.parametrize("size", [1, 7, 50])
def test_rate_lets_no_more_through_than_it_says(size: int) -> None:
    meter = Meter(host_calls_per_s=100)
    with pytest.raises(HostCallRateExceeded):
        for _ in range(100_000 // size):
            meter.call(size)
            meter.now_s += size / 130
    # One second's worth at once, and 100 a second from then on.
    assert meter.counts.host_calls <= 100 + 100 * meter.now_s + 1


def test_unused_calls_are_not_saved_beyond_a_second() -> None:
    meter = Meter(host_calls_per_s=100)
    meter.call(10)
    meter.now_s += 3600
    with pytest.raises(HostCallRateExceeded):
        meter.call(202)


def test_limit_of_a_call_holds_beside_the_rate() -> None:
    meter = Meter(host_calls=10, host_calls_per_s=1000)
    meter.call(10)
    with pytest.raises(HostCallLimitExceeded):
        meter.call(11)


def test_counting_looks_at_the_clock_rarely() -> None:
    meter = Meter(host_calls_per_s=1_000_000)
    meter.call(1000)
    assert meter.looks == 1


def test_copied_bytes_are_counted_for_each_call_anew() -> None:
    meter = Meter(copied_bytes=100)
    meter.counts.bytes_in, meter.counts.bytes_out = 60, 30
    meter.call(0)
    assert meter.call_budget.bytes_most == 190


def test_every_limit_error_names_a_limit() -> None:
    classes = [LimitExceeded]
    for each in classes:
        classes += each.__subclasses__()
    names = [each.limit for each in classes[1:]]
    assert len(set(names)) == len(names) == 13 and all(names)
