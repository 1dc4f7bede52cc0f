"""Plugins that change what they do, on the real engine."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import dataflare
from dataflare.capabilities.metrics import MemoryMetrics
from dataflare.engine.engine import Engine
from dataflare.errors import ConfigError, PermissionDenied, PluginError, UsageError
from dataflare.grants import Grants
from dataflare.limits import Limits
from dataflare.runtime.behaviour import ALERT_METRIC
from dataflare.runtime.datasets import Target
from dataflare.runtime.host import Host
from dataflare.runtime.options import Services, Watching
from dataflare.runtime.processor import Processor
from dataflare.security.audit import MemoryAuditLog
from dataflare.security.behaviour import Action, Alert, BehaviourSettings, Profile
from dataflare.security.settings import Security
from plugin_wat import Hostile, hostile
from runtime_fakes import Doubler, FakeEngine, Guest, Numbers, Positive, Shelf, Upper, numbers

NUM_ROWS, SLICE = "batches#[method]batch.num-rows", "batches#[method]batch.slice"
ROWS = pa.RecordBatch.from_pydict({"n": list(range(64))})
LEARN = 100
QUIET = frozenset({"latency"})
"""Wall time is nothing to rely on where tests share a machine."""

MANY_CALLS = """(loop $again (drop (call $batches#method-batch.num-rows (local.get $batch)))
  (br_if $again (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 50)))) (local.get $batch)"""
MUCH_MEMORY = """(if (i32.eq (global.get $turn) (i32.add (global.get $change) (i32.const 1)))
  (then (drop (memory.grow (i32.const 100))))) (local.get $batch)"""
FEW_ROWS = """(call $batches#method-batch.slice (local.get $batch) (i32.const 0) (i32.const 4)
  (i32.const 512)) (call $drop-0 (local.get $batch)) (i32.load (i32.const 516))"""
CHANGES = {"calls.batches": MANY_CALLS, "memory": MUCH_MEMORY, "output_rows": FEW_ROWS}


def turncoat(change: str, *, after: int) -> Hostile:
    """A processor that asks for a batch's number of rows and returns the batch, and does something else later on."""
    extra = f"""(global $turn (mut i32) (i32.const 0)) (global $change i32 (i32.const {after}))
      (func $next (param $batch i32) (result i32) (local $i i32)
        (global.set $turn (i32.add (global.get $turn) (i32.const 1)))
        (drop (call $batches#method-batch.num-rows (local.get $batch)))
        (if (result i32) (i32.gt_u (global.get $turn) (global.get $change))
          (then {change}) (else (local.get $batch))))"""
    return hostile({"nothing": ""}, uses=(NUM_ROWS, SLICE), extra=extra, batch_result="(call $next (local.get 0))")


STEADY = turncoat("(local.get $batch)", after=0)


@pytest.fixture(scope="module")
def real_engine(compiled: Path) -> Iterator[Engine]:
    with Engine(cache_dir=compiled) as made:
        yield made


class Watched:
    """A host that watches, and what it told."""

    def __init__(self, engine: Engine, action: Action = Action.LOG, **options: Any) -> None:
        self.alerts: list[Alert] = []
        self.metrics = MemoryMetrics()
        self.audit = MemoryAuditLog()
        settings = BehaviourSettings(learn_batches=LEARN, action=action, throttle_s=0.05, ignore=QUIET)
        given: dict[str, Any] = {"behaviour": settings, "on_alert": self.alerts.append, **options}
        self.host = Host(
            engine=engine,
            watching=Watching(**given),
            services=Services(metrics=self.metrics),
            security=Security(audit=self.audit),
        )

    def load(self, guest: Hostile, **options: Any) -> Processor:
        plugin = self.host.load(guest.binary, name="plugin", **options)
        assert isinstance(plugin, Processor)
        return plugin


@pytest.fixture
def watched(real_engine: Engine) -> Iterator[Callable[..., Watched]]:
    made: list[Watched] = []

    def make(*args: Any, **options: Any) -> Watched:
        made.append(Watched(real_engine, *args, **options))
        return made[-1]

    yield make
    for each in made:
        each.host.close()


def run_until_alert(place: Watched, plugin: Processor, most: int = 200) -> int:
    for batch in range(most):
        plugin.process_batch(ROWS)
        if place.alerts:
            return batch + 1
    pytest.fail("no alert")


@pytest.mark.parametrize("feature", CHANGES)
def test_plugin_that_changes_is_told_of_everywhere(feature: str, watched, caplog: pytest.LogCaptureFixture):
    place = watched()
    plugin = place.load(turncoat(CHANGES[feature], after=300))
    for _ in range(300):
        plugin.process_batch(ROWS)
    assert place.alerts == []
    run_until_alert(place, plugin)
    for _ in range(200):
        plugin.process_batch(ROWS)  # it is only told of
    assert feature in {each.feature for each in place.alerts}
    counted = {
        labels for (name, metric, labels) in place.metrics.counters() if (name, metric) == ("plugin", ALERT_METRIC)
    }
    assert (("action", "log"), ("feature", feature)) in counted
    events = {each.object: each for each in place.audit.events if each.capability == "behaviour"}
    assert (events[f"behaviour:{feature}"].plugin, events[f"behaviour:{feature}"].decision) == ("plugin", "allow")
    assert f"{feature} went from" in caplog.text


def test_steady_plugin_with_batches_of_all_sizes_raises_no_alert_in_10_000_batches(watched):
    place, noise = watched(), random.Random(11)
    plugin = place.load(STEADY)
    sizes = [ROWS.slice(0, length) for length in range(1, 65)]
    for _ in range(10_000):
        plugin.process_batch(noise.choice(sizes))
    assert place.alerts == []
    assert plugin.stats.calls > 10_000


def test_throttled_plugin_waits_before_each_call(watched):
    place = watched(Action.THROTTLE)
    plugin = place.load(turncoat(FEW_ROWS, after=300))
    for _ in range(300):
        plugin.process_batch(ROWS)
    run_until_alert(place, plugin)
    began = time.monotonic()
    plugin.process_batch(ROWS)
    assert time.monotonic() - began >= 0.05


def test_throttled_plugin_waits_no_longer_than_a_call_may_take(watched):
    settings = BehaviourSettings(learn_batches=LEARN, action=Action.THROTTLE, throttle_s=3600, ignore=QUIET)
    place = watched(behaviour=settings)
    plugin = place.load(turncoat(FEW_ROWS, after=300), limits=Limits(call_timeout_s=0.5))
    for _ in range(300):
        plugin.process_batch(ROWS)
    run_until_alert(place, plugin)
    began = time.monotonic()
    plugin.process_batch(ROWS)
    assert 0.5 <= time.monotonic() - began < 60


def quarantined(place: Watched, guest: Hostile) -> Processor:
    plugin = place.load(guest)
    for _ in range(300):
        plugin.process_batch(ROWS)
    run_until_alert(place, plugin)
    return plugin


def test_quarantine_refuses_calls_until_the_behaviour_is_accepted(watched):
    place = watched(Action.QUARANTINE)
    plugin = quarantined(place, turncoat(FEW_ROWS, after=300))
    calls = plugin.stats.calls
    with pytest.raises(PermissionDenied, match=r"plugin 'plugin': is in quarantine: .* output_.* went from") as caught:
        plugin.process_batch(ROWS)
    with pytest.raises(PermissionDenied, match="quarantine"):
        plugin.process("a")
    assert (caught.value.plugin, plugin.stats.calls) == ("plugin", calls)
    assert {each.decision for each in place.audit.events if each.capability == "behaviour"} == {"deny"}
    place.host.accept_behaviour(plugin)
    place.alerts.clear()
    for _ in range(300):
        assert plugin.process_batch(ROWS).num_rows == 4
    assert place.alerts == []
    assert place.audit.events[-1].function == "accept-behaviour"


def test_plugin_in_quarantine_cannot_leave_it_by_being_loaded_again_but_another_version_runs(watched):
    place = watched(Action.QUARANTINE)
    guest = turncoat(FEW_ROWS, after=300)
    quarantined(place, guest).close()
    with pytest.raises(PermissionDenied, match="quarantine"):
        place.load(guest).process_batch(ROWS)
    place.alerts.clear()
    other = place.load(STEADY)
    for _ in range(200):
        other.process_batch(ROWS)
    assert place.alerts == []


def test_new_version_is_compared_with_the_saved_profile_of_the_one_before(watched, tmp_path: Path):
    first = watched(profiles=tmp_path)
    old = first.load(STEADY, pipeline="orders")
    for _ in range(LEARN):
        old.process_batch(ROWS)
    path = tmp_path / "orders" / "plugin.json"
    profile = Profile.from_json(path.read_text())
    assert (profile.plugin, profile.batches) == ("plugin", LEARN)
    assert profile.version == old.digest[: len("sha256:") + 12]
    second = watched(profiles=str(tmp_path))
    new = second.load(turncoat(MANY_CALLS, after=0), pipeline="orders")
    assert run_until_alert(second, new) < LEARN
    assert second.alerts[0].feature == "calls.batches"
    second.host.accept_behaviour(new)
    assert not path.exists()
    assert path.parent.exists()


def test_damaged_profile_is_a_config_error_that_names_the_file(watched, tmp_path: Path):
    (tmp_path / "default").mkdir()
    (tmp_path / "default" / "plugin.json").write_bytes(b"\xff{")
    with pytest.raises(ConfigError, match=r"default/plugin\.json"):
        watched(profiles=tmp_path).load(STEADY)
    (tmp_path / "default" / "plugin.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"default/plugin\.json: cannot be used") as caught:
        watched(profiles=tmp_path).load(STEADY)
    assert "remove it" in caught.value.hint


def test_profile_that_cannot_be_saved_costs_no_batch(watched, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    # A quiet command that ran in this process before has left the level above warnings.
    caplog.set_level("WARNING", logger="dataflare")
    (tmp_path / "default").write_text("in the way")
    plugin = watched(profiles=tmp_path).load(STEADY)
    for _ in range(LEARN + 1):
        assert plugin.process_batch(ROWS).num_rows == 64
    assert "was not saved" in caplog.text


def test_alert_handler_that_fails_costs_no_batch(watched, caplog: pytest.LogCaptureFixture):
    def fail(_: Alert) -> None:
        raise RuntimeError("pager is down")

    place = watched(on_alert=fail)
    plugin = place.load(turncoat(FEW_ROWS, after=300))
    for _ in range(500):
        plugin.process_batch(ROWS)
    assert "on_alert failed" in caplog.text


def test_plugin_that_begins_to_answer_with_errors_is_found(watched):
    # A result whose tag is 1 is an error: `process` has it where the answer is left by `process-batch`.
    guest = hostile(
        {"fine": "", "fail": "(i32.store (i32.const 768) (i32.const 1)) (global.set $answer (i32.const 768))"}
    )
    place = watched()
    plugin = place.load(guest)
    for _ in range(200):
        plugin.process(guest.order("fine"))
    for _ in range(100):
        with pytest.raises(PluginError):
            plugin.process(guest.order("fail"))
    assert "errors" in {each.feature for each in place.alerts}


def test_calls_of_the_host_are_counted_for_the_call_of_their_own_thread(watched, tmp_path: Path):
    place = watched(profiles=tmp_path)
    plugin = place.load(STEADY)

    def run() -> None:
        for _ in range(LEARN // 4):
            plugin.process_batch(ROWS)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    learned = Profile.from_json((tmp_path / "default" / "plugin.json").read_text())
    # Each call asks once, whichever instance and thread it has: log(1 + 1), without deviation.
    assert learned.features["calls.batches"].mean == pytest.approx(0.6931, abs=1e-4)
    assert learned.features["calls.batches"].deviation == pytest.approx(0, abs=1e-9)


KINDS: dict[type[Guest], Callable[[Any], object]] = {
    Numbers: lambda source: (source.open(), source.read()),
    Shelf: lambda shelf: shelf.write(numbers(1, 2)),
    Upper: lambda processor: processor.process_batch(numbers(1, 2)),
    Doubler: lambda transformer: transformer.transform(numbers(1, 2)),
    Positive: lambda validator: validator.validate(numbers(1, -2)),
}
LEARNED = {  # rows returned: for one given, for a source ln(1 + 2); rows at fault; ln of bytes
    Numbers: (1.0986, 0, 2.1972),
    Shelf: (0, 0, 0),
    Upper: (0.5, 0, 1.6094),
    Doubler: (1, 0, 2.1972),
    Positive: (1, 0.5, 0),
}


@pytest.mark.parametrize("guest", KINDS, ids=lambda guest: guest.kind)
def test_data_calls_of_all_kinds_are_watched_and_no_others(guest: type[Guest], engine: FakeEngine, tmp_path: Path):
    settings = BehaviourSettings(learn_batches=30)
    with Host(engine=engine, watching=Watching(behaviour=settings, profiles=tmp_path)) as host:
        plugin: Any = host.load(engine.add(type("Mine", (guest,), {"shelf": []})), name="p")
        for _ in range(40):
            plugin.health()
        if guest is Shelf:
            plugin.open(Target("rows", numbers(1).schema))
        for _ in range(29):
            KINDS[guest](plugin)
        path = tmp_path / "default" / "p.json"
        assert not path.exists()
        KINDS[guest](plugin)
    usual = Profile.from_json(path.read_text()).features
    means = tuple(usual[name].mean for name in ("output_rows", "errors", "output_bytes"))
    assert means == pytest.approx(LEARNED[guest], abs=1e-3)
    assert usual["latency"].deviation == 0  # ten nanoseconds a call, as the engine here has it


class Keeper(Doubler):
    """Asks for its configuration at each call, and from the 50th on for its state, too."""

    capabilities = ("state",)
    calls = 0

    def transform(self, input: Any) -> Any:
        self.calls += 1
        self.host("config", "get", "key")
        if self.calls > 50:
            self.host("state", "get", "key")
        return super().transform(input)


def test_interface_that_was_never_used_is_found_at_the_first_call(engine: FakeEngine):
    alerts: list[Alert] = []
    settings = BehaviourSettings(learn_batches=30, action=Action.QUARANTINE)
    with Host(engine=engine, watching=Watching(behaviour=settings, on_alert=alerts.append)) as host:
        plugin: Any = host.load(engine.add(Keeper), name="p", grants=Grants(state=True))
        for _ in range(50):
            plugin.transform(numbers(1))
        assert alerts == []
        plugin.transform(numbers(1))
        assert [(each.feature, each.kind) for each in alerts] == [("calls.state", "new-interface")]
        with pytest.raises(PermissionDenied, match="calls state, which it never did before"):
            plugin.transform(numbers(1))


def test_call_that_was_wrong_by_itself_is_no_sample(engine: FakeEngine, tmp_path: Path):
    with Host(
        engine=engine, watching=Watching(behaviour=BehaviourSettings(learn_batches=30), profiles=tmp_path)
    ) as host:
        shelf: Any = host.load(engine.add(type("Mine", (Shelf,), {"shelf": []})), name="p")
        for _ in range(40):
            with pytest.raises(UsageError):
                shelf.write(numbers(1))
    assert not list(tmp_path.iterdir())


def test_plugin_in_a_process_of_its_own_is_watched_too(tmp_path: Path):
    cache = tmp_path / "compiled"
    cache.mkdir(mode=0o700)
    settings = BehaviourSettings(learn_batches=LEARN, action=Action.QUARANTINE, ignore=QUIET)
    alerts: list[Alert] = []
    with Host(cache_dir=cache, watching=Watching(behaviour=settings, on_alert=alerts.append)) as host:
        plugin: Any = host.load(turncoat(MANY_CALLS, after=200).binary, name="p", isolation="process")
        for _ in range(200):
            plugin.process_batch(ROWS)
        assert alerts == []
        with pytest.raises(PermissionDenied, match="calls"):
            for _ in range(200):
                plugin.process_batch(ROWS)
    assert {each.feature for each in alerts} == {"calls.batches"}


def test_only_plugins_that_are_named_are_watched(watched):
    place = watched(behaviour={"another": BehaviourSettings(learn_batches=LEARN, ignore=QUIET)})
    plugin = place.load(turncoat(FEW_ROWS, after=300))
    for _ in range(600):
        plugin.process_batch(ROWS)
    assert place.alerts == []
    with pytest.raises(UsageError, match="is not watched"):
        place.host.accept_behaviour(plugin)


@pytest.mark.parametrize("option", [{"on_alert": print}, {"profiles": "profiles"}])
def test_options_that_need_behaviour_are_refused_without_it(option: dict[str, Any]):
    with pytest.raises(TypeError, match="behaviour"):
        Watching(**option)


def test_host_that_watches_nothing_imports_no_river(tmp_path: Path):
    code = (
        "import sys; from pathlib import Path; from dataflare import Host\n"
        "with Host(cache_dir=Path(sys.argv[2])) as host, host.load(Path(sys.argv[1])) as plugin: plugin.process('{}')\n"
        "print(sorted({'river', 'dataflare.runtime.behaviour', 'dataflare.security.behaviour'} & set(sys.modules)))"
    )
    component = Path(__file__).parents[2] / "guest-sdks/rust/components/json-mapper.wasm"
    tmp_path.chmod(0o700)
    done = subprocess.run(
        [sys.executable, "-c", code, component, tmp_path],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(Path(dataflare.__file__).parents[1])},
    )
    assert done.stdout.strip() == "[]"
