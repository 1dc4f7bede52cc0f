from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflare.capabilities import clock as clocks
from dataflare.capabilities import config as configs
from dataflare.capabilities import random as randoms
from dataflare.capabilities.clock import ManualClock, SystemClock
from dataflare.capabilities.config import PluginConfig
from dataflare.capabilities.random import MAX_BYTES, SeededRandom, SystemRandom
from dataflare.errors import ConfigError, UsageError

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize("clock", [SystemClock(), ManualClock(1_700_000_000_123_456_789)])
class TestEveryClock:
    def test_instant_has_nanoseconds_below_a_second(self, clock):
        instant = clocks.imports(clock)["now"]()
        assert instant.seconds >= 1_700_000_000
        assert 0 <= instant.nanoseconds < 10**9

    def test_monotonic_reading_never_goes_back(self, clock):
        read = clocks.imports(clock)["monotonic-now"]
        readings = [read().nanoseconds for _ in range(5)]
        assert readings == sorted(readings)


def test_system_clock_is_the_machines():
    assert abs(clocks.imports(SystemClock())["now"]().seconds - time.time()) < 5


def test_manual_clock_moves_when_it_is_told():
    clock = ManualClock(5)
    clock.advance(10**9)
    assert (clock.now_ns(), clock.monotonic_ns()) == (10**9 + 5, 10**9)


def test_setting_a_clock_back_does_not_touch_the_monotonic_reading():
    clock = ManualClock(10)
    clock.advance(5)
    clock.set_now(1)
    assert (clock.now_ns(), clock.monotonic_ns()) == (1, 5)


@pytest.mark.parametrize(
    "call", [lambda: ManualClock(-1), lambda: ManualClock().advance(-1), lambda: ManualClock().set_now(-1)]
)
def test_time_before_1970_is_refused(call):
    with pytest.raises(UsageError):
        call()


@pytest.mark.parametrize("make", [SystemRandom, lambda: SeededRandom(1)])
class TestEveryRandom:
    @pytest.mark.parametrize("length", [0, 1, 4096, 4097, MAX_BYTES])
    def test_as_many_bytes_come_as_are_asked_for(self, make, length):
        assert len(randoms.imports(make())["get-random-bytes"](length)) == length

    def test_too_many_are_cut(self, make):
        assert len(randoms.imports(make())["get-random-bytes"](2**32 - 1)) == MAX_BYTES

    def test_bytes_do_not_repeat(self, make):
        take = randoms.imports(make())["get-random-bytes"]
        assert len({take(16) for _ in range(100)}) == 100


@given(st.integers(0, 2**64 - 1), st.lists(st.integers(0, 9000), max_size=5))
def test_seeded_bytes_do_not_depend_on_how_they_are_cut(seed, lengths):
    random = SeededRandom(seed)
    assert b"".join(random.take(length) for length in lengths) == SeededRandom(seed).take(sum(lengths))


def test_seeds_give_different_bytes():
    assert SeededRandom(1).take(32) != SeededRandom(2).take(32)


def test_seeded_bytes_never_change_between_versions():
    assert SeededRandom(0).take(8).hex() == "639e575d19fc3518"


@given(st.dictionaries(st.text(), JSON, max_size=4))
def test_configuration_is_the_json_of_what_was_given(values):
    functions = configs.imports(PluginConfig(values))
    assert json.loads(functions["get-all"]()) == values
    assert {key: json.loads(functions["get"](key)) for key in values} == values


def test_absent_key_has_no_value():
    assert configs.imports(PluginConfig({"a": None}))["get"]("b") is None
    assert configs.imports(PluginConfig({"a": None}))["get"]("a") == "null"


def test_no_configuration_is_an_empty_object():
    assert PluginConfig().get_all() == "{}"


def test_later_changes_do_not_reach_the_plugin():
    values = {"a": [1]}
    config = PluginConfig(values)
    values["a"].append(2)
    assert config.get("a") == "[1]"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1: 2}, {"x": 1j}, b"x", {"x"}, "\ud800"], ids=repr)
def test_what_json_cannot_hold_is_refused_with_its_key(value):
    with pytest.raises(ConfigError, match=r"config\.key"):
        PluginConfig({"key": value})


def test_top_key_that_is_no_text_is_refused():
    with pytest.raises(ConfigError, match="the key 1 is not a text"):
        PluginConfig({1: 2})


def test_configuration_that_holds_itself_is_refused():
    values: dict[str, object] = {}
    values["self"] = values
    with pytest.raises(ConfigError, match="nested deeper than 128"):
        PluginConfig(values)


def test_configuration_of_many_megabytes_is_refused():
    with pytest.raises(ConfigError, match="more than"):
        PluginConfig({"a": "x" * 20_000_000})
