"""Profiles of a plugin's usual behaviour, learned from its batches, and alerts when it changes.

Each batch becomes a few numbers (`features`). The first batches give a profile: mean and deviation of each number.
Afterwards two things are watched: host interfaces that were never used before, and each number's mean since its last
change. ADWIN (Bifet and Gavalda, 2007, in river's implementation) finds that change without a fixed window length. A
mean raises an alert only outside the profile's tolerance, so that a warmer cache does not. The profile itself does not
change until an operator accepts the new behaviour: a profile that adapted by itself would also follow a slow attacker.
"""

from __future__ import annotations

import enum
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Final, Literal

from pydantic import Field, ValidationError
from river.drift import ADWIN
from river.stats import Var

from dataflare.documents.models import Frozen, StrictModel, first_problem
from dataflare.errors import ConfigError, PermissionDenied
from dataflare.locks import Lock

__all__ = [
    "Action",
    "Alert",
    "BatchSample",
    "BehaviourMonitor",
    "BehaviourSettings",
    "FeatureProfile",
    "Profile",
    "features",
]

_CLIP: Final = 8.0
_MAX_INTERFACES: Final = 64
_CALLS: Final = "calls."
_SETTLED: Final = 32
_CHECK: Final = 8


class Action(enum.StrEnum):
    """The reaction to a plugin that deviates from its profile, in ascending order of severity."""

    LOG = "log"
    THROTTLE = "throttle"
    QUARANTINE = "quarantine"


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchSample:
    """Measurements of one batch.

    Args:
        rows_in: Rows given to the plugin (0 for a source).
        rows_out: Rows that it returned.
        latency_s: Wall seconds of the call.
        memory_bytes: The plugin's linear memory after it.
        fuel: Fuel used; `None` if it is not counted.
        errors: Rows that it refused or failed, or 1 for a call that failed as a whole.
        bytes_out: Bytes that it returned.
        host_calls: Calls by the short name of the host interface.
    """

    rows_in: int
    rows_out: int
    latency_s: float
    memory_bytes: int
    fuel: int | None = None
    errors: int = 0
    bytes_out: int = 0
    host_calls: Mapping[str, int] = field(default_factory=dict)


def features(sample: BatchSample) -> dict[str, float]:
    """Return the watched numbers by name: times and amounts per row, as logarithms, so that only ratios matter."""
    rows = max(sample.rows_in, sample.rows_out, 1)
    numbers = {
        "latency": math.log(max(sample.latency_s, 1e-9) / rows),
        "memory": math.log(max(sample.memory_bytes, 1)),
        "errors": min(sample.errors / rows, 1.0),
        "output_rows": sample.rows_out / max(sample.rows_in, 1) if sample.rows_in else math.log1p(sample.rows_out),
        "output_bytes": math.log1p(sample.bytes_out / rows),
    }
    if sample.fuel is not None:
        numbers["fuel"] = math.log(max(sample.fuel, 1) / rows)
    for interface, calls in sample.host_calls.items():
        numbers[_CALLS + interface] = math.log1p(calls)
    return numbers


_Number = Annotated[float, Field(allow_inf_nan=False, strict=False)]
_NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False, strict=False)]


class FeatureProfile(StrictModel):
    """The usual values of one number: mean and standard deviation."""

    mean: _Number
    deviation: _NotNegative


class Profile(StrictModel):
    """The usual behaviour of a plugin.

    Attributes:
        plugin: Its name.
        version: The version that it was learned from.
        batches: How many batches it was learned from.
        features: By name, as `features` has them.
    """

    plugin: str
    version: str
    batches: Annotated[int, Field(ge=2)]
    features: Frozen[str, FeatureProfile]

    def to_json(self) -> str:
        """Write the profile as JSON for `from_json`."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Profile:
        """Read a profile.

        Raises:
            ConfigError: It is not a profile.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise ConfigError(f"is not a profile: {first_problem(error)}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class BehaviourSettings:
    """The settings for watching plugins, and the reaction to deviations.

    Args:
        learn_batches: Batches from which a profile is learned, at least 30.
        confidence: ADWIN's bound on the chance of a false alarm, for all numbers together, in (0, 0.1].
        tolerance_deviations: How far a mean may shift, as a multiple of the profile's deviation.
        tolerance_absolute: How far a mean may shift in any case: 0.2 is about 20 percent for times and amounts, which
            are logarithms, and 20 rows in a hundred for rates of rows. An alert needs a shift beyond both.
        tolerance_errors: How far the rate of errors may rise; replaces `tolerance_absolute` for errors.
        action: The reaction to a deviation.
        throttle_s: Seconds to wait before each batch of a throttled plugin.
        ignore: Names of `features` that are not watched, such as `latency` if other programs share the machine.

    Raises:
        ConfigError: A value is out of its range.
    """

    learn_batches: int = 300
    confidence: float = 1e-5
    tolerance_deviations: float = 1.0
    tolerance_absolute: float = 0.2
    tolerance_errors: float = 0.02
    action: Action = Action.LOG
    throttle_s: float = 1.0
    ignore: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        for name, value, low, high in (
            ("learn_batches", self.learn_batches, 30, 1_000_000),
            ("confidence", self.confidence, 1e-12, 0.1),
            ("tolerance_deviations", self.tolerance_deviations, 0, 100),
            ("tolerance_absolute", self.tolerance_absolute, 0, 100),
            ("tolerance_errors", self.tolerance_errors, 0, 1),
            ("throttle_s", self.throttle_s, 0, 3600),
        ):
            if not low <= value <= high:
                raise ConfigError(f"{value!r} is not in [{low}, {high}]", where=f"behaviour.{name}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """An alert: a plugin deviates from its profile.

    Attributes:
        plugin: Its name.
        version: The version that deviates.
        feature: The number that deviates, such as `latency` or `calls.http`.
        kind: `new-interface` for a host interface that was never used while learning, otherwise `shift`.
        usual: The profile's mean.
        now: The current mean; both in the units of `features`.
        batch: The number of batches after learning.
        action: The reaction.
    """

    plugin: str
    version: str
    feature: str
    kind: Literal["shift", "new-interface"]
    usual: float
    now: float
    batch: int
    action: Action

    def __str__(self) -> str:
        if self.kind == "new-interface":
            return f"{self.plugin} {self.version} calls {self.feature.removeprefix(_CALLS)}, which it never did before"
        return f"{self.plugin} {self.version}: {self.feature} went from {self.usual:.4g} to {self.now:.4g}"


class BehaviourMonitor:
    """Watches one version of a plugin. Any thread may use it.

    Args:
        plugin: Its name.
        version: The running version.
        settings: How it is watched; `None` for the defaults.
        profile: The profile of an earlier version or run; `None` to learn one first.
        on_alert: Called with each alert, without a lock held.
    """

    def __init__(
        self,
        plugin: str,
        version: str,
        *,
        settings: BehaviourSettings | None = None,
        profile: Profile | None = None,
        on_alert: Callable[[Alert], None] | None = None,
    ) -> None:
        self.plugin = plugin
        self.version = version
        self._settings = settings or BehaviourSettings()
        self._on_alert = on_alert
        self._lock = Lock()
        self._profile = profile
        self._moments: dict[str, Var] = {}
        self._learned = 0
        self._watched: dict[str, _Watched] = {}
        self._batches = 0
        self._state: Action | None = None
        self._departures: tuple[Alert, ...] = ()

    @property
    def profile(self) -> Profile | None:
        """The profile; `None` while it is being learned."""
        with self._lock:
            return self._profile

    @property
    def state(self) -> Action | None:
        """The current reaction to the plugin; `None` without a deviation."""
        with self._lock:
            return self._state

    def observe(self, sample: BatchSample) -> tuple[Alert, ...]:
        """Add one batch; return the deviations that begin with it."""
        numbers = {name: value for name, value in features(sample).items() if name not in self._settings.ignore}
        with self._lock:
            if self._profile is None:
                self._learn(numbers)
                return ()
            self._batches += 1
            alerts = tuple(self._watch(self._profile, numbers))
            if alerts:
                self._state = self._settings.action
                self._departures = self._departures or alerts
        if self._on_alert is not None:
            for alert in alerts:
                self._on_alert(alert)
        return alerts

    def before_batch(self) -> float:
        """Return the seconds to wait before a batch: 0 except for a throttled plugin.

        Raises:
            PermissionDenied: The plugin is in quarantine.
        """
        with self._lock:
            state, departures = self._state, self._departures
        if state is Action.QUARANTINE:
            raise PermissionDenied(
                f"is in quarantine: {'; '.join(map(str, departures))}",
                plugin=self.plugin,
                capability="behaviour",
                hint="accept what it does now (`Host.accept_behaviour`), or go back to the version before",
            )
        return self._settings.throttle_s if state is Action.THROTTLE else 0.0

    def accept(self) -> None:
        """Accept the new behaviour: lift throttle and quarantine, and learn a new profile."""
        with self._lock:
            self._profile = None
            self._moments = {}
            self._learned = self._batches = 0
            self._watched = {}
            self._state = None
            self._departures = ()

    def _learn(self, numbers: Mapping[str, float]) -> None:
        self._learned += 1
        for name in numbers.keys() - self._moments.keys():
            if len(self._moments) < _MAX_INTERFACES:
                self._moments[name] = moments = Var(ddof=1)
                if name.startswith(_CALLS):
                    # A newly used interface was not used in the batches before.
                    for _ in range(self._learned - 1):
                        moments.update(0.0)
        for name, moments in self._moments.items():
            if name in numbers or name.startswith(_CALLS):
                moments.update(numbers.get(name, 0.0))
        if self._learned >= self._settings.learn_batches:
            self._profile = Profile(
                plugin=self.plugin,
                version=self.version,
                batches=self._learned,
                features={
                    name: FeatureProfile(mean=moments.mean.get(), deviation=math.sqrt(max(moments.get(), 0.0)))
                    for name, moments in self._moments.items()
                },
            )
            self._moments = {}

    def _watch(self, profile: Profile, numbers: Mapping[str, float]) -> list[Alert]:
        alerts = []
        for name in sorted(numbers.keys() | self._usual_calls(profile)):
            value = numbers.get(name, 0.0)
            usual = profile.features.get(name)
            watched = self._watched.get(name)
            if watched is None:
                if len(self._watched) >= 2 * _MAX_INTERFACES:
                    continue
                share = self._settings.confidence / max(len(profile.features), 1)
                watched = self._watched[name] = _Watched(usual, self._tolerance(name, usual), share)
                if usual is None and name.startswith(_CALLS) and value > 0:
                    alerts.append(self._alert(name, "new-interface", 0.0, value))
            if usual is not None and watched.departs(value):
                alerts.append(self._alert(name, "shift", usual.mean, watched.mean))
        return alerts

    def _usual_calls(self, profile: Profile) -> set[str]:
        return {each for each in profile.features if each.startswith(_CALLS)} - self._settings.ignore

    def _tolerance(self, name: str, usual: FeatureProfile | None) -> float:
        floor = self._settings.tolerance_errors if name == "errors" else self._settings.tolerance_absolute
        return max(floor, self._settings.tolerance_deviations * usual.deviation if usual else 0.0)

    def _alert(self, name: str, kind: Literal["shift", "new-interface"], usual: float, now: float) -> Alert:
        return Alert(
            plugin=self.plugin,
            version=self.version,
            feature=name,
            kind=kind,
            usual=usual,
            now=now,
            batch=self._batches,
            action=self._settings.action,
        )


class _Watched:
    """One number: its mean since it last changed, compared with the profile."""

    def __init__(self, usual: FeatureProfile | None, tolerance: float, confidence: float) -> None:
        self._usual = usual or FeatureProfile(mean=0.0, deviation=0.0)
        self._tolerance = tolerance
        # Equal numbers have no deviation; the tolerance is then used as scale.
        self._scale = max(self._usual.deviation, tolerance / 4, 1e-9)
        self._adwin = ADWIN(delta=confidence, clock=_CHECK)  # type: ignore[no-untyped-call]  # carries no types for it
        self._seen = 0
        self._departed = False

    @property
    def mean(self) -> float:
        return self._usual.mean + float(self._adwin.estimation) * self._scale

    def departs(self, value: float) -> bool:
        """Add a value; return whether the mean has left the tolerated range."""
        # Clipped, so that a single unusual batch does not decide.
        scaled = (value - self._usual.mean) / self._scale
        self._adwin.update(max(-_CLIP, min(_CLIP, scaled)))  # type: ignore[no-untyped-call]
        self._seen += 1
        if self._seen < _SETTLED or not (self._adwin.drift_detected or self._seen % _CHECK == 0):
            return False
        departed = abs(self.mean - self._usual.mean) > self._tolerance
        news = departed and not self._departed
        self._departed = departed
        return news
