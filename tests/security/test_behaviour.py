from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflare.errors import ConfigError, PermissionDenied
from dataflare.security.behaviour import (
    Action,
    BatchSample,
    BehaviourMonitor,
    BehaviourSettings,
    Profile,
    features,
)


class SimulatedGuest:
    """A plugin of 1000 rows a batch, whose times, memory, output and calls are noisy as those of real ones are."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._batch = 0

    def batch(self, **changed) -> BatchSample:
        noise = self._random
        self._batch += 1
        latency_s = 0.010 * noise.lognormvariate(0, 0.25)
        if noise.random() < 0.01:
            latency_s *= 12  # a pause, of a collector or of the machine
        kept = sum(noise.random() < 0.8 for _ in range(100)) * 10
        sample = BatchSample(
            rows_in=1000,
            rows_out=kept,
            latency_s=latency_s,
            memory_bytes=20_000_000 + 65_536 * (self._batch % 50),
            fuel=int(3e6 * noise.lognormvariate(0, 0.03)),
            errors=int(noise.random() < 0.02),
            bytes_out=int(kept * 80 * noise.lognormvariate(0, 0.05)),
            host_calls={"state": 2 + (noise.random() < 0.1), "metrics": 5},
        )
        return replace(sample, **changed)


def observe(monitor, guest, batches, change=lambda sample: sample):
    alerts = []
    for _ in range(batches):
        alerts += monitor.observe(change(guest.batch()))
    return alerts


@pytest.mark.parametrize("seed", range(3))
def test_steady_guest_with_noise_raises_no_alert_in_10_000_batches(seed):
    monitor = BehaviourMonitor("steady", "1.0.0")
    assert observe(monitor, SimulatedGuest(seed), 10_300) == []
    assert monitor.profile.batches == 300
    assert monitor.state is None


CHANGES = {
    "latency": lambda sample: replace(sample, latency_s=sample.latency_s * 2.5),
    "fuel": lambda sample: replace(sample, fuel=sample.fuel * 2),
    "memory": lambda sample: replace(sample, memory_bytes=sample.memory_bytes * 2),
    "errors": lambda sample: replace(sample, errors=100),
    "output_rows": lambda sample: replace(sample, rows_out=sample.rows_out // 3),
    "output_bytes": lambda sample: replace(sample, bytes_out=sample.bytes_out * 3),
    "calls.state": lambda sample: replace(sample, host_calls={**sample.host_calls, "state": 40}),
    "calls.metrics": lambda sample: replace(sample, host_calls={"state": 2}),
}


@pytest.mark.parametrize("feature", CHANGES)
def test_change_after_5_000_batches_is_found_within_100(feature):
    monitor, guest = BehaviourMonitor("turncoat", "1.0.0"), SimulatedGuest(7)
    assert observe(monitor, guest, 5_000) == []
    alerts = observe(monitor, guest, 100, CHANGES[feature])
    assert feature in {alert.feature for alert in alerts}
    alert = next(each for each in alerts if each.feature == feature)
    assert (alert.kind, alert.plugin, alert.version) == ("shift", "turncoat", "1.0.0")
    assert 4_700 < alert.batch <= 4_800


def test_interface_that_was_never_used_is_found_in_the_first_batch():
    monitor, guest = BehaviourMonitor("turncoat", "1.0.0"), SimulatedGuest(1)
    observe(monitor, guest, 2_000)
    (alert,) = monitor.observe(guest.batch(host_calls={"state": 2, "metrics": 5, "http": 1}))
    assert (alert.kind, alert.feature) == ("new-interface", "calls.http")
    assert str(alert) == "turncoat 1.0.0 calls http, which it never did before"


def test_new_version_is_compared_with_the_profile_of_the_one_before():
    old = BehaviourMonitor("p", "1.0.0")
    observe(old, SimulatedGuest(2), 300)
    profile = Profile.from_json(old.profile.to_json())
    same = BehaviourMonitor("p", "1.0.1", profile=profile)
    slower = BehaviourMonitor("p", "1.1.0", profile=profile)
    assert observe(same, SimulatedGuest(3), 2_000) == []
    alerts = observe(slower, SimulatedGuest(3), 100, CHANGES["latency"])
    assert [(alert.feature, alert.version) for alert in alerts] == [("latency", "1.1.0")]


def test_slow_creep_is_measured_against_the_profile_not_against_yesterday():
    monitor, guest = BehaviourMonitor("creeper", "1.0.0"), SimulatedGuest(4)
    observe(monitor, guest, 300)
    alerts = []
    for batch in range(5_000):
        sample = guest.batch()
        alerts += monitor.observe(replace(sample, fuel=int(sample.fuel * (1 + batch / 2_500))))
    assert "fuel" in {alert.feature for alert in alerts}


def test_one_strange_batch_is_no_alert():
    monitor, guest = BehaviourMonitor("p", "1.0.0"), SimulatedGuest(5)
    observe(monitor, guest, 1_000)
    assert monitor.observe(guest.batch(latency_s=500.0, errors=1000, rows_out=0)) == ()
    assert observe(monitor, guest, 1_000) == []


def test_departure_is_told_once_as_long_as_it_lasts():
    monitor, guest = BehaviourMonitor("p", "1.0.0"), SimulatedGuest(6)
    observe(monitor, guest, 1_000)
    alerts = observe(monitor, guest, 3_000, CHANGES["memory"])
    assert [alert.feature for alert in alerts] == ["memory"]


@pytest.mark.parametrize(("action", "wait_s"), [(Action.LOG, 0.0), (Action.THROTTLE, 2.5)])
def test_action_decides_how_long_batches_wait(action, wait_s):
    monitor = BehaviourMonitor("p", "1.0.0", settings=BehaviourSettings(action=action, throttle_s=2.5))
    guest = SimulatedGuest(8)
    observe(monitor, guest, 500)
    assert monitor.before_batch() == 0.0
    observe(monitor, guest, 200, CHANGES["fuel"])
    assert monitor.state is action
    assert monitor.before_batch() == wait_s


def test_quarantine_refuses_batches_until_the_behaviour_is_accepted():
    seen = []
    settings = BehaviourSettings(action=Action.QUARANTINE)
    monitor = BehaviourMonitor("p", "1.0.0", settings=settings, on_alert=seen.append)
    guest = SimulatedGuest(9)
    observe(monitor, guest, 500)
    alerts = observe(monitor, guest, 200, CHANGES["fuel"])
    assert seen == alerts
    with pytest.raises(PermissionDenied, match="quarantine") as caught:
        monitor.before_batch()
    assert caught.value.plugin == "p"
    monitor.accept()
    assert (monitor.before_batch(), monitor.profile) == (0.0, None)
    assert observe(monitor, guest, 3_000, CHANGES["fuel"]) == []
    usual = monitor.profile.features["fuel"].mean
    assert usual == pytest.approx(math.log(6_000), abs=0.02)


@pytest.mark.parametrize("values", [{"learn_batches": 5}, {"confidence": 0.5}, {"throttle_s": -1.0}])
def test_settings_out_of_range_are_refused(values):
    with pytest.raises(ConfigError, match=next(iter(values))):
        BehaviourSettings(**values)


@given(st.text(max_size=200) | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(str))
def test_any_text_is_a_profile_or_a_config_error(text):
    try:
        Profile.from_json(text)
    except ConfigError as error:
        assert "not a profile" in str(error)


@given(st.integers(0, 10**9), st.integers(0, 10**9), st.floats(0, 1e6), st.integers(0, 2**40), st.integers(0, 10**9))
def test_features_are_always_finite(rows_in, rows_out, latency_s, memory_bytes, errors):
    sample = BatchSample(
        rows_in=rows_in, rows_out=rows_out, latency_s=latency_s, memory_bytes=memory_bytes, errors=errors, fuel=0
    )
    assert all(math.isfinite(value) for value in features(sample).values())
