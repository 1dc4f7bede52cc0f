from __future__ import annotations

import gc
import hashlib
from pathlib import Path
from typing import Any

import pytest

from dataflare.capabilities.metrics import MemoryMetrics
from dataflare.engine.abi import types as t
from dataflare.errors import ConfigError, DataflareError, NotAComponent, PermissionDenied, UsageError, WorldMismatch
from dataflare.grants import DirectoryGrant, Grants
from dataflare.interfaces import interface_name
from dataflare.limits import Limits
from dataflare.runtime.destination import Destination
from dataflare.runtime.host import Host
from dataflare.runtime.options import Services
from dataflare.runtime.plugin import Plugin
from dataflare.runtime.processor import Processor
from dataflare.runtime.source import Source
from dataflare.runtime.transformer import Transformer
from dataflare.runtime.validator import Validator
from dataflare.testing.shapes import plugin_shape
from runtime_fakes import Doubler, FakeEngine, Guest, Numbers, Positive, Shelf, Upper


class NeedsFiles(Upper):
    capabilities = ("files",)


@pytest.mark.parametrize(
    ("guest", "kind"),
    [
        (Numbers, Source),
        (Shelf, Destination),
        (Upper, Processor),
        (Doubler, Transformer),
        (Positive, Validator),
    ],
)
def test_kind_of_the_component_decides_the_class(
    host: Host, engine: FakeEngine, guest: type[Guest], kind: type[Plugin]
):
    plugin = host.load(engine.add(guest))
    assert type(plugin) is kind
    assert plugin.kind == guest.kind
    assert plugin.digest == f"sha256:{guest.__name__}"


@pytest.mark.parametrize(
    ("guest", "kind"),
    [
        (Numbers, "source"),
        (Shelf, "destination"),
        (Upper, "processor"),
        (Doubler, "transformer"),
        (Positive, "validator"),
    ],
)
def test_a_plugin_of_another_kind_than_is_asked_for_is_refused(host: Host, engine: FakeEngine, guest, kind: str):
    assert host.load(engine.add(guest), kind=kind, name="p").kind == kind
    other = "validator" if kind != "validator" else "source"
    with pytest.raises(WorldMismatch, match=f"is a {kind}, not a {other}"):
        host.load(engine.add(guest), kind=other, name="p")


def test_a_kind_that_there_is_not_is_named(host: Host, engine: FakeEngine):
    with pytest.raises(ConfigError, match="'sink' is not one of source, destination") as caught:
        host.load(engine.add(Upper), kind="sink")
    assert caught.value.hint == "leave `kind` out to take any"
    with pytest.raises(ConfigError) as caught:
        host.load(engine.add(Upper), kind="procesor")
    assert caught.value.hint == "did you mean 'processor'?"


def test_a_host_says_what_it_has_loaded(host: Host, engine: FakeEngine):
    assert repr(host) == "<Host, 0 loaded>"
    plugin = host.load(engine.add(Upper))
    assert repr(host) == "<Host, 1 loaded>"
    plugin.close()
    host.close()
    assert repr(host) == "<Host, closed>"


def test_component_is_read_from_a_file_and_named_after_it(host: Host, engine: FakeEngine, tmp_path: Path):
    path = tmp_path / "my upper!.wasm"
    path.write_bytes(engine.add(Upper))
    assert host.load(path).name == "my-upper-"
    assert host.load(str(path), name="other").name == "other"
    assert host.load(path.read_bytes()).name == "plugin"


def test_file_that_is_not_there_is_named(host: Host, tmp_path: Path):
    with pytest.raises(ConfigError, match=r"absent\.wasm: cannot be read: No such file"):
        host.load(tmp_path / "absent.wasm")
    with pytest.raises(ConfigError, match="cannot be read: it is a directory"):
        host.inspect(tmp_path)


@pytest.mark.parametrize("call", [Host.load, Host.inspect, Host.metadata])
def test_file_that_is_no_component_is_refused_with_its_name(host: Host, tmp_path: Path, call: Any):
    path = tmp_path / "text.wasm"
    path.write_text("hello")
    with pytest.raises(NotAComponent) as caught:
        call(host, path)
    assert caught.value.component == str(path)


@pytest.mark.parametrize(("where", "value"), [("config", "a: 1"), ("grants", {"state": True}), ("limits", {"fuel": 1})])
def test_arguments_of_another_type_are_refused(host: Host, engine: FakeEngine, where: str, value: Any):
    with pytest.raises(ConfigError) as caught:
        host.load(engine.add(Upper), **{where: value})
    assert caught.value.where == where
    assert (f"parse_{where}" in caught.value.hint) is (where != "config")


def test_limit_of_batches_below_one_is_refused(engine: FakeEngine, recwarn):
    with pytest.raises(ConfigError) as caught:
        Host(engine=engine, services=Services(max_batch_bytes=0))
    assert caught.value.where == "max_batch_bytes"
    gc.collect()
    assert [each for each in recwarn if each.category is ResourceWarning] == []


@pytest.mark.parametrize("name", ["", "a/b", "-a", "a b", "ü", "a" * 129])
def test_names_out_of_form_are_refused(host: Host, engine: FakeEngine, name: str):
    for where, options in (("name", {"name": name}), ("pipeline", {"pipeline": name})):
        with pytest.raises(ConfigError) as caught:
            host.load(engine.add(Upper), **options)
        assert caught.value.where == where
    assert engine.loads == []


def test_plugin_without_its_grant_is_refused_before_it_is_compiled(host: Host, engine: FakeEngine):
    with pytest.raises(PermissionDenied, match="plugin 'p': it needs files"):
        host.load(engine.add(NeedsFiles), name="p")
    assert engine.loads == []
    assert engine.instances == []


def test_component_for_no_world_is_refused_before_it_is_compiled(host: Host, engine: FakeEngine):
    with pytest.raises(WorldMismatch):
        host.load(engine.add(Upper, t.ComponentType()))
    with pytest.raises(WorldMismatch):
        host.metadata(engine.add(Upper, t.ComponentType()))
    assert engine.loads == []


def test_wrong_configuration_is_refused_before_it_is_compiled(host: Host, engine: FakeEngine):
    with pytest.raises(ConfigError, match=r"config\.when"):
        host.load(engine.add(Upper), config={"when": object()})
    assert engine.loads == []


def test_granted_directory_that_is_not_there_is_refused_before_it_is_compiled(host, engine, tmp_path: Path):
    grants = Grants(files={"d": DirectoryGrant(path=tmp_path / "absent")})
    with pytest.raises(ConfigError):
        host.load(engine.add(NeedsFiles), grants=grants)
    assert engine.loads == []
    assert host._loaded.empty


def test_granted_plugin_is_loaded(host: Host, engine: FakeEngine, tmp_path: Path):
    plugin = host.load(engine.add(NeedsFiles), grants=Grants(files={"d": DirectoryGrant(path=tmp_path)}))
    assert isinstance(plugin, Processor)
    assert plugin.process("a") == "A"


def test_fuel_is_counted_only_where_it_is_limited(engine: FakeEngine):
    counted: list[bool] = []
    open_ = engine.open

    def noting(binary: bytes, *, fuel: bool = False, **options: Any) -> Any:
        counted.append(fuel)
        return open_(binary, **options)

    engine.open = noting  # type: ignore[method-assign]
    with Host(engine=engine) as host:
        host.load(engine.add(Upper))
        host.load(engine.add(Upper), limits=Limits(fuel=1000))
        host.metadata(engine.add(Upper), limits=Limits(fuel=1000))
    assert counted == [False, True, True]


def test_failed_compilation_leaves_nothing_open(engine: FakeEngine, tmp_path: Path):
    def fails(binary: bytes, name: str, shape: t.ComponentType) -> Any:
        raise NotAComponent("cannot be compiled", component=name)

    engine.compile = fails  # type: ignore[method-assign]
    with Host(engine=engine) as host:
        grants = Grants(files={"d": DirectoryGrant(path=tmp_path)})
        open_before = len(list(Path("/proc/self/fd").iterdir()))
        with pytest.raises(NotAComponent):
            host.load(engine.add(NeedsFiles), grants=grants)
        assert len(list(Path("/proc/self/fd").iterdir())) == open_before
        assert host._loaded.empty


def test_closing_a_plugin_lets_its_directories_go(host: Host, engine: FakeEngine, tmp_path: Path):
    open_before = len(list(Path("/proc/self/fd").iterdir()))
    plugin = host.load(engine.add(NeedsFiles), grants=Grants(files={"d": DirectoryGrant(path=tmp_path)}))
    assert len(list(Path("/proc/self/fd").iterdir())) > open_before
    plugin.close()
    assert len(list(Path("/proc/self/fd").iterdir())) == open_before


def test_close_closes_every_plugin_once(engine: FakeEngine):
    host = Host(engine=engine)
    first = host.load(engine.add(Upper), name="a")
    second = host.load(engine.add(Upper), name="b")
    first.close()
    host.close()
    host.close()
    assert first.closed and second.closed
    assert engine.closed == 0


def test_engine_of_its_own_is_closed_with_the_host(engine: FakeEngine, monkeypatch):
    monkeypatch.setattr("dataflare.runtime.host._new_engine", lambda *_: engine)
    with Host() as host:
        assert engine.closed == 0
    assert engine.closed == 1
    host.close()
    assert engine.closed == 1


@pytest.mark.parametrize("call", [Host.load, Host.inspect, Host.metadata])
def test_closed_host_refuses_calls(engine: FakeEngine, call: Any):
    host = Host(engine=engine)
    host.close()
    with pytest.raises(UsageError, match="the host is closed"):
        call(host, engine.add(Upper))


def test_forgotten_host_gives_a_resource_warning(engine: FakeEngine):
    host = Host(engine=engine)
    with pytest.warns(ResourceWarning, match="<Host, 0 loaded> was never closed"):
        del host
        gc.collect()


def test_metrics_are_kept_in_memory_by_default(engine: FakeEngine):
    with Host(engine=engine) as host:
        assert isinstance(host.metrics, MemoryMetrics)


def test_metadata_is_read_without_grants_and_leaves_nothing(host: Host, engine: FakeEngine):
    assert host.metadata(engine.add(NeedsFiles)).name == "fake"
    assert [instance.calls for instance in engine.instances] == [["get-metadata"]]
    assert engine.instances[0].closed == 1


def test_inspection_tells_what_a_plugin_is_and_needs(host: Host, engine: FakeEngine):
    shape = plugin_shape("source", ["files", "state"])
    shape.wasi["wasi:io/poll@0.2.0"] = t.Interface()
    found = host.inspect(engine.add(Numbers, shape))
    assert found.kind == "source"
    assert found.worlds == ("dataflare:plugin/source-plugin@1.0.0",)
    assert found.problems == ()
    assert found.capabilities == ("files", "state")
    assert found.wasi == ("wasi:io/poll@0.2.0",)
    assert interface_name("files") in found.imports
    assert found.exports == ("dataflare:plugin/lifecycle@1.0.0", "dataflare:plugin/source@1.0.0")
    assert found.size_bytes == len("Numbers 0")
    assert found.digest == "sha256:" + hashlib.sha256(b"Numbers 0").hexdigest()
    assert engine.loads == []


def test_inspection_of_a_component_for_no_world_is_no_error(host: Host, engine: FakeEngine):
    shape = t.ComponentType(exports={"": t.Interface(funcs={"run": t.FuncT((), None)})})
    found = host.inspect(engine.add(Upper, shape))
    assert (found.kind, found.worlds) == (None, ())
    assert any("it exports nothing, but no" in problem for problem in found.problems)
    assert found.exports == ("run",)


def test_plugins_can_be_closed_while_others_are_loaded(host: Host, engine: FakeEngine):
    for _ in range(3):
        with host.load(engine.add(Upper)) as plugin:
            assert isinstance(plugin, Processor)
            assert plugin.process("a") == "A"
    assert host._loaded.empty


def test_every_error_of_loading_is_the_packages_own(host: Host, engine: FakeEngine, tmp_path: Path):
    for component in (b"", tmp_path / "absent", engine.add(NeedsFiles), engine.add(Upper, t.ComponentType())):
        with pytest.raises(DataflareError):
            host.load(component)
