from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from dataflare.capabilities.clock import ManualClock
from dataflare.capabilities.config import PluginConfig
from dataflare.capabilities.http_transport import Canned, MemoryTransport
from dataflare.capabilities.logging import MemoryLogSink
from dataflare.capabilities.metrics import MemoryMetrics
from dataflare.capabilities.plugins import MemoryPlugins
from dataflare.capabilities.secrets import MemorySecrets
from dataflare.capabilities.shared import MemorySharedStore
from dataflare.capabilities.state import MemoryStateStore
from dataflare.capabilities.tasks import CancellationToken, MemoryProgress
from dataflare.data.batches import Batch
from dataflare.errors import ConfigError, PermissionDenied
from dataflare.grants import DirectoryGrant, Grants, HttpGrant
from dataflare.interfaces import FREE, NEEDS_GRANT, OFFERED, interface_name
from dataflare.runtime.capabilities import Capabilities, PipelineServices
from dataflare.runtime.host import Host
from dataflare.runtime.options import Services
from dataflare.runtime.type_conformance import standard_signatures
from dataflare.testing.shapes import plugin_shape
from dataflare.values import Err, Ok
from dataflare.wit_types.http import Request
from runtime_fakes import Doubler, FakeEngine, Upper, numbers

ALL: dict[str, Any] = {
    "state": True,
    "metrics": True,
    "clock": True,
    "random": True,
    "tasks": True,
    "http": {"https://a.example": HttpGrant()},
    "secrets": {"s"},
    "plugins": {"q"},
    "shared": {"b": "read"},
}


def make(grants: Grants, wanted: Any = OFFERED, services: Services | None = None, **names: str) -> Capabilities:
    pipeline = PipelineServices(plugins=MemoryPlugins({}), shared=MemorySharedStore(), cancellation=CancellationToken())
    return Capabilities(
        services or Services(log_sink=lambda _: MemoryLogSink(), secrets=MemorySecrets({"s": "x"})),
        pipeline,
        grants=grants,
        wanted=[interface_name(short) for short in wanted],
        settings=PluginConfig(),
        plugin=names.get("plugin", "p"),
        pipeline=names.get("pipeline", "n"),
    )


def test_without_grants_there_is_only_what_is_free():
    assert set(make(Grants()).functions) == {interface_name(short) for short in FREE}


@pytest.mark.parametrize("short", sorted(NEEDS_GRANT))
def test_grant_brings_one_interface_with_exactly_its_functions(short, tmp_path: Path):
    grants = {**ALL, "files": {"d": DirectoryGrant(path=tmp_path)}}
    capabilities = make(Grants(**{short: grants[short]}))
    name = interface_name(short)
    assert set(capabilities.functions) == {name} | {interface_name(each) for each in FREE}
    assert set(capabilities.functions[name]) == standard_signatures().functions(name)
    capabilities.close()
    capabilities.close()


@pytest.mark.parametrize("short", sorted(FREE))
def test_free_interface_has_exactly_its_functions(short):
    name = interface_name(short)
    assert set(make(Grants()).functions[name]) == standard_signatures().functions(name)


def test_only_what_the_plugin_imports_is_made(tmp_path: Path):
    grants = Grants(state=True, files={"d": DirectoryGrant(path=tmp_path / "absent")})
    assert set(make(grants, wanted=["state", "logging"]).functions) == {
        interface_name("state"),
        interface_name("logging"),
    }


def test_granted_directory_that_is_not_there_is_refused(tmp_path: Path):
    with pytest.raises(ConfigError) as caught:
        make(Grants(files={"d": DirectoryGrant(path=tmp_path / "absent")}))
    assert caught.value.where == "grants.files.d"


def test_granted_secrets_need_a_store():
    with pytest.raises(ConfigError, match="there is no store"):
        make(Grants(secrets={"s"}), services=Services(log_sink=lambda _: MemoryLogSink()))


def test_state_is_kept_apart_by_plugin_and_namespace():
    services = Services(state_store=MemoryStateStore())
    name = interface_name("state")
    one = make(Grants(state=True), services=services).functions[name]
    one["set"]("k", b"v")
    same = make(Grants(state=True), services=services).functions[name]
    assert same["get"]("k") == Ok(b"v")
    for other in ({"plugin": "q"}, {"pipeline": "m"}):
        assert make(Grants(state=True), services=services, **other).functions[name]["get"]("k") == Ok(None)


def test_numbers_and_time_come_from_the_services():
    services = Services(metrics=MemoryMetrics(), clock=ManualClock(7_000_000_001), log_sink=lambda _: MemoryLogSink())
    functions = make(Grants(metrics=True, clock=True), services=services).functions
    functions[interface_name("metrics")]["add-to-counter"]("rows", 3.0, [])
    assert services.metrics.counters() == {("p", "rows", ()): 3.0}  # type: ignore[attr-defined]
    assert functions[interface_name("clock")]["now"]().seconds == 7


def test_seeded_random_bytes_repeat():
    def take(seed: int | None) -> bytes:
        grants = Grants(random=True, random_seed=seed)
        taken: bytes = make(grants).functions[interface_name("random")]["get-random-bytes"](16)
        return taken

    assert take(5) == take(5) != take(6)
    assert take(None) != take(None)


def test_requests_go_through_the_broker_and_its_rules():
    transport = MemoryTransport(lambda outgoing: Canned(body=b"ok"))
    services = Services(transport=lambda: transport, log_sink=lambda _: MemoryLogSink())
    capabilities = make(Grants(http={"https://a.example": HttpGrant()}), services=services)
    send = capabilities.functions[interface_name("http")]["send"]
    assert send(Request("GET", "https://a.example/x", [], None, None)).value.body == b"ok"
    refused = send(Request("GET", "https://b.example/x", [], None, None))
    assert isinstance(refused, Err) and refused.error.case == "denied"
    assert len(transport.sent) == 1


def test_every_function_goes_through_the_seam_once():
    seen: list[tuple[str, str]] = []
    owners: list[tuple[str, str]] = []

    def wrap(plugin: str, namespace: str) -> Any:
        owners.append((plugin, namespace))

        def inner(interface: str, function: str, call: Any) -> Any:
            seen.append((interface, function))
            return call

        return inner

    functions = make(Grants(state=True), services=Services(wrap=wrap)).functions
    assert sorted(seen) == sorted((name, each) for name, made in functions.items() for each in made)
    assert set(owners) == {("p", "n")}


def test_wrapped_function_takes_the_place_of_the_functions_own():
    def revoked(interface: str, function: str, call: Any) -> Any:
        def refuse(*_: Any) -> Any:
            raise PermissionDenied("taken back", plugin="p", capability=interface)

        return refuse if interface == interface_name("state") else call

    functions = make(Grants(state=True), services=Services(wrap=lambda *_: revoked)).functions
    with pytest.raises(PermissionDenied):
        functions[interface_name("state")]["get"]("k")
    assert functions[interface_name("config")]["get-all"]() == "{}"


def test_wrapping_changes_nothing_of_how_the_engine_passes_values():
    def marks(functions: Any) -> dict[tuple[str, str], tuple[bool, bool]]:
        return {
            (name, each): (hasattr(call, "text_as_bytes"), hasattr(call, "takes_views"))
            for name, made in functions.items()
            for each, call in made.items()
        }

    plain = marks(make(Grants()).functions)
    wrapped = make(Grants(), services=Services(wrap=lambda *_: lambda i, f, call: lambda *args: call(*args))).functions
    assert marks(wrapped) == plain
    assert any(text for text, _ in plain.values())
    lines = wrapped[interface_name("batches")]["from-json-lines"](b'{"n":1}\n', None)
    assert lines.value.arrow.to_pylist() == [{"n": 1}]


# Plugins of one namespace


class Calls(Upper):
    """A processor that hands its batches to the plugin `q`."""

    capabilities = ("plugins",)

    def process_batch(self, input: Batch) -> Any:
        found = self.host("plugins", "call", "q", input)
        return found if isinstance(found, Ok) else Ok(Batch(pa.record_batch({"error": [found.error.case]})))


def test_plugin_calls_another_of_its_namespace(host: Host, engine: FakeEngine):
    caller = host.load(engine.add(Calls), name="p", grants=Grants(plugins={"q"}), pipeline="a")
    assert caller.process_batch(numbers(1)).to_pylist() == [{"error": "not-found"}]  # type: ignore[attr-defined]
    other = host.load(engine.add(Doubler), name="q", pipeline="b")
    assert caller.process_batch(numbers(1)).to_pylist() == [{"error": "not-found"}]  # type: ignore[attr-defined]
    mate = host.load(engine.add(Doubler), name="q", pipeline="a")
    assert caller.process_batch(numbers(1, 2)).to_pylist() == [{"n": 2}, {"n": 4}]  # type: ignore[attr-defined]
    mate.close()
    assert caller.process_batch(numbers(1)).to_pylist() == [{"error": "not-found"}]  # type: ignore[attr-defined]
    assert other.stats.calls == 0


def test_grants_that_let_plugins_call_in_a_circle_are_refused(host: Host, engine: FakeEngine):
    host.load(engine.add(Calls), name="p", grants=Grants(plugins={"q"}))
    with pytest.raises(ConfigError, match=r"(p -> q -> p|q -> p -> q)"):
        host.load(engine.add(Calls), name="q", grants=Grants(plugins={"p"}))
    host.load(engine.add(Doubler), name="q")


def test_plugins_of_a_namespace_share_batches(host: Host, engine: FakeEngine):
    class Puts(Upper):
        capabilities = ("shared",)

        def process(self, input: str) -> Any:
            assert self.host("shared", "put", "b", Batch(numbers(7))) == Ok(None)
            return Ok(input)

    class Gets(Upper):
        capabilities = ("shared",)

        def process(self, input: str) -> Any:
            found = self.host("shared", "get", "b").value
            return Ok(None if found is None else str(found.arrow.to_pylist()))

    puts = host.load(engine.add(Puts), name="puts", grants=Grants(shared={"b": "write"}), pipeline="a")
    gets = host.load(engine.add(Gets), name="gets", grants=Grants(shared={"b": "read"}), pipeline="a")
    apart = host.load(engine.add(Gets), name="gets", grants=Grants(shared={"b": "read"}), pipeline="b")
    puts.process("x")  # type: ignore[attr-defined]
    assert gets.process("x") == "[{'n': 7}]"  # type: ignore[attr-defined]
    assert apart.process("x") is None  # type: ignore[attr-defined]


def test_cancelling_a_namespace_reaches_its_plugins_and_no_others(engine: FakeEngine):
    class Works(Upper):
        capabilities = ("tasks",)

        def process(self, input: str) -> Any:
            for done in range(3):
                self.host("tasks", "report-progress", done, 3, "working")
            return Ok(str(self.host("tasks", "is-cancelled")))

    progress = MemoryProgress()
    with Host(engine=engine, services=Services(clock=ManualClock(), progress=progress)) as host:
        host.cancel("a")
        one = host.load(engine.add(Works), name="one", grants=Grants(tasks=True), pipeline="a")
        other = host.load(engine.add(Works), name="other", grants=Grants(tasks=True), pipeline="b")
        assert one.process("x") == "False"  # type: ignore[attr-defined]
        host.cancel("a")
        assert (one.process("x"), other.process("x")) == ("True", "False")  # type: ignore[attr-defined]
        # The first report passes at once; the last is passed on when the call ends.
        assert [each.done for name, each in progress.reports() if name == "other"] == [0, 2]
        one.close()
        again = host.load(engine.add(Works), name="one", grants=Grants(tasks=True), pipeline="a")
        assert again.process("x") == "False"  # type: ignore[attr-defined]


def test_shape_of_the_fakes_has_every_capability():
    assert set(plugin_shape("processor", NEEDS_GRANT).imports) >= {interface_name(short) for short in OFFERED}
