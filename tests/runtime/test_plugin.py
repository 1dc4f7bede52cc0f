from __future__ import annotations

import gc
import logging
import threading
import time
from typing import Any

import pytest

from dataflare.capabilities.logging import MemoryLogSink
from dataflare.errors import (
    ConfigError,
    GuestPanic,
    PermissionDenied,
    PluginError,
    UsageError,
    WorldMismatch,
)
from dataflare.runtime.host import Host
from dataflare.runtime.options import Services
from dataflare.runtime.pool import PoolSettings
from dataflare.runtime.processor import Processor
from dataflare.values import Ok
from runtime_fakes import FakeEngine, Guest, Trap, Upper, failed


def load(host: Host, engine: FakeEngine, guest: type[Guest], **options: Any) -> Processor:
    options.setdefault("name", "p")
    plugin = host.load(engine.add(guest), **options)
    assert isinstance(plugin, Processor)
    return plugin


def test_loading_runs_nothing(host, engine):
    plugin = load(host, engine, Upper)
    assert engine.instances == []
    assert plugin.stats.instances == 0


def test_first_call_configures_and_initializes(host, engine):
    plugin = load(host, engine, Upper, config={"a": [1, "ü"]})
    assert plugin.process("x") == "X"
    guest = engine.instances[0].guest
    assert guest.life == ["configure", "initialize"]
    assert guest.config == '{"a":[1,"ü"]}'


def test_start_makes_the_minimum_of_instances_and_does_it_once(host, engine):
    plugin = load(host, engine, Upper, pool=PoolSettings(minimum=2))
    assert plugin.start() is plugin
    plugin.start()
    assert len(engine.instances) == 2


def test_close_shuts_down_and_closes_every_instance(host, engine):
    plugin = load(host, engine, Upper, pool=PoolSettings(minimum=2)).start()
    plugin.close()
    plugin.close()
    assert [instance.guest.life[-1] for instance in engine.instances] == ["shutdown"] * 2
    assert [instance.closed for instance in engine.instances] == [1, 1]
    assert plugin.closed
    assert repr(plugin) == "<Processor 'p', closed>"


@pytest.mark.parametrize(
    "call", [lambda p: p.process("x"), lambda p: p.start(), lambda p: p.health(), lambda p: p.metadata]
)
def test_call_after_close_is_refused(host, engine, call):
    plugin = load(host, engine, Upper)
    plugin.close()
    with pytest.raises(UsageError, match="plugin 'p' is closed"):
        call(plugin)


def test_plugin_that_was_never_started_is_not_shut_down(host, engine):
    load(host, engine, Upper).close()
    assert engine.instances == []


def test_refused_configuration_is_a_plugin_error_and_nothing_is_initialized(host, engine):
    class Picky(Upper):
        def configure(self, config: str) -> Any:
            self.life.append("configure")
            return failed("invalid-config", "colour: no such key")

    plugin = load(host, engine, Picky)
    with pytest.raises(PluginError, match=r"plugin 'p', .*lifecycle@1\.0\.0#configure: invalid-config: colour"):
        plugin.process("x")
    assert engine.instances[0].guest.life == ["configure"]
    assert engine.instances[0].closed == 1


def test_failed_initialize_is_followed_by_shutdown(host, engine):
    class Offline(Upper):
        def initialize(self) -> Any:
            self.life.append("initialize")
            return failed("unavailable", "no network")

    plugin = load(host, engine, Offline)
    with pytest.raises(PluginError) as caught:
        plugin.start()
    assert caught.value.retryable
    assert engine.instances[0].guest.life == ["configure", "initialize", "shutdown"]
    with pytest.raises(PluginError):
        plugin.start()
    assert [instance.closed for instance in engine.instances] == [1, 1]


def test_error_of_the_plugin_is_raised_with_its_value_and_the_instance_lives_on(host, engine):
    plugin = load(host, engine, Upper)
    with pytest.raises(PluginError, match="invalid-input: not mine") as caught:
        plugin.process("wrong")
    assert (caught.value.error.case, caught.value.error.value) == ("invalid-input", "not mine")
    assert caught.value.export == "dataflare:plugin/processor@1.0.0#process"
    assert plugin.process("x") == "X"
    assert len(engine.instances) == 1


def test_trapped_instance_is_replaced_at_the_next_call(host, engine):
    plugin = load(host, engine, Upper)
    with pytest.raises(GuestPanic):
        plugin.process("trap")
    assert len(engine.instances) == 1
    assert plugin.process("x") == "X"
    assert [instance.guest.life for instance in engine.instances] == [["configure", "initialize"]] * 2
    assert engine.instances[0].closed == 1
    assert plugin.stats.faults == 1
    assert plugin.stats.instances == 2


def test_trap_while_starting_is_a_fault_and_leaves_nothing(host, engine):
    class Broken(Upper):
        def initialize(self) -> Any:
            raise Trap("unreachable")

    plugin = load(host, engine, Broken)
    with pytest.raises(GuestPanic):
        plugin.start()
    assert engine.instances[0].closed == 1
    assert plugin.stats.memory_bytes == 0


def test_exception_of_the_host_reaches_the_caller_and_the_instance_is_replaced(engine):
    class Sink(MemoryLogSink):
        def is_enabled(self, level: str) -> bool:
            raise ZeroDivisionError("a bug of the host")

    class Asks(Upper):
        def process(self, input: str) -> Any:
            self.host("logging", "is-enabled", "info")
            return Ok(input)

    with Host(engine=engine, services=Services(log_sink=lambda _: Sink())) as host:
        plugin = load(host, engine, Asks)
        with pytest.raises(ZeroDivisionError, match="a bug of the host"):
            plugin.process("x")
        assert plugin.stats.faults == 1
        assert engine.instances[0].closed == 1


def test_last_log_lines_travel_with_a_fault(host, engine):
    class Chatty(Upper):
        def process(self, input: str) -> Any:
            self.host("logging", "log", "warn", "about to fall", [])
            raise Trap("unreachable")

    plugin = load(host, engine, Chatty)
    with pytest.raises(GuestPanic) as caught:
        plugin.process("x")
    assert caught.value.log_lines == ("WARN about to fall",)
    assert plugin.log_lines == ("WARN about to fall",)


@pytest.mark.parametrize("way", ["err", "trap", "host"])
def test_failed_shutdown_is_logged_and_everything_is_closed(host, engine, caplog, way):
    class Clingy(Upper):
        def shutdown(self) -> Any:
            if way == "trap":
                raise Trap("unreachable")
            if way == "host":
                raise ZeroDivisionError
            return failed("internal", "cannot let go")

    plugin = load(host, engine, Clingy).start()
    with caplog.at_level(logging.WARNING, "dataflare.runtime"):
        plugin.close()
    assert "shutdown of plugin 'p'" in caplog.text
    assert engine.instances[0].closed == 1


def test_health_is_asked_of_a_started_instance(host, engine):
    plugin = load(host, engine, Upper)
    assert plugin.health().status == "healthy"
    assert engine.instances[0].calls == ["configure", "initialize", "health-check"]


def test_metadata_is_asked_once_of_an_instance_that_is_not_configured(host, engine):
    plugin = load(host, engine, Upper)
    assert plugin.metadata.version == "1.2.3"
    assert plugin.metadata.config_schema == '{"type": "object"}'
    assert [instance.calls for instance in engine.instances] == [["get-metadata"]]
    assert engine.instances[0].closed == 1


def test_metadata_of_another_kind_is_refused(host, engine):
    class Liar(Upper):
        def get_metadata(self) -> Any:
            found = super().get_metadata()
            found.kind = "source"
            return found

    with pytest.raises(WorldMismatch, match="says that it is a source, but it exports the interface of a processor"):
        _ = load(host, engine, Liar).metadata


def test_metadata_may_use_no_capability(host, engine):
    class Greedy(Upper):
        def get_metadata(self) -> Any:
            self.host("logging", "log", "info", "hello", [])
            return super().get_metadata()

    with pytest.raises(PermissionDenied, match=r"it called dataflare:host/logging@1\.0\.0#log where no capability"):
        _ = load(host, engine, Greedy).metadata
    assert engine.instances[0].closed == 1


def test_stats_add_up_over_replaced_instances(host, engine):
    plugin = load(host, engine, Upper)
    plugin.process("a")
    with pytest.raises(GuestPanic):
        plugin.process("trap")
    plugin.process("b")
    assert plugin.stats.calls == 2 * 2 + 3
    assert plugin.stats.wall_ns == 10 * plugin.stats.calls
    assert plugin.stats.guest_ns == plugin.stats.wall_ns
    assert plugin.stats.memory_bytes == 65_536
    plugin.close()
    assert plugin.stats.calls == 2 * 2 + 3 + 1
    assert plugin.stats.memory_bytes == 0


def test_threads_each_have_an_instance(host, engine):
    together = threading.Barrier(3)

    class Waits(Upper):
        def process(self, input: str) -> Any:
            together.wait(10)
            return Ok(input)

    plugin = load(host, engine, Waits, pool=PoolSettings(maximum=3))
    results: list[str | None] = []
    threads = [threading.Thread(target=lambda i=i: results.append(plugin.process(str(i)))) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(map(str, results)) == ["0", "1", "2"]
    assert len(engine.instances) == 3


def test_plugin_cannot_be_called_by_the_sink_of_its_own_log(engine):
    class Sink(MemoryLogSink):
        plugin: Processor | None = None

        def is_enabled(self, level: str) -> bool:
            assert self.plugin is not None
            self.plugin.process("again")
            return True

    class Asks(Upper):
        def process(self, input: str) -> Any:
            self.host("logging", "is-enabled", "info")
            return Ok(input)

    sink = Sink()
    with Host(engine=engine, services=Services(log_sink=lambda _: sink)) as host:
        sink.plugin = load(host, engine, Asks, pool=PoolSettings(maximum=1))
        start = time.monotonic()
        with pytest.raises(UsageError, match="from within its own call"):
            sink.plugin.process("x")
        assert time.monotonic() - start < 10


def test_plugin_that_is_forgotten_gives_a_resource_warning(engine):
    host = Host(engine=engine)
    load(host, engine, Upper)
    with pytest.warns(ResourceWarning) as caught:
        del host
        gc.collect()
    texts = {str(each.message) for each in caught}
    assert {"<Processor 'p'> was never closed", "<Host, 1 loaded> was never closed"} <= texts


def test_closed_plugin_gives_no_warning(host, engine, recwarn):
    load(host, engine, Upper).close()
    gc.collect()
    assert [each for each in recwarn if each.category is ResourceWarning] == []


def test_pool_of_a_plugin_that_keeps_state_cannot_be_chosen(host, engine):
    from runtime_fakes import Numbers

    with pytest.raises(ConfigError, match="a source has one instance"):
        host.load(engine.add(Numbers), pool=PoolSettings())
