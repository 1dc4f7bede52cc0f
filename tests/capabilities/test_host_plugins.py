from __future__ import annotations

import contextvars
import threading

import pyarrow as pa
import pytest

from dataflare.capabilities.plugins import (
    CallLimits,
    MemoryPlugins,
    PipelinePlugins,
    check_edges,
    imports,
    running_plugins,
)
from dataflare.data.batches import Batch
from dataflare.errors import CallTimeout, ConfigError, GuestPanic, PermissionDenied, PluginError, UsageError
from dataflare.values import Err, Ok, Variant


def batch(*values: int) -> Batch:
    return Batch(pa.record_batch({"a": pa.array(values, pa.int64())}))


def double(given: Batch) -> Batch:
    return batch(*(value * 2 for value in given.arrow.column("a").to_pylist()))


def raising(error: Exception):
    def function(given: Batch) -> Batch:
        raise error

    return function


FUNCTIONS = {
    "double": double,
    "same": lambda given: given,
    "failing": raising(PluginError("no such customer", plugin="failing", export="transform")),
    "panicking": raising(
        GuestPanic("unreachable", plugin="panicking", export="transform", log_lines=("private line",))
    ),
    "slow": raising(CallTimeout("over 5 s", plugin="slow", export="transform")),
    "refused": raising(PermissionDenied("files is not granted", plugin="refused")),
    "buggy": raising(ZeroDivisionError("host's own")),
    "wrong": lambda given: given.arrow,
}


@pytest.fixture(params=["memory", "pipeline"])
def caller(request):
    return MemoryPlugins(FUNCTIONS) if request.param == "memory" else PipelinePlugins(FUNCTIONS.get)


@pytest.fixture
def call(caller):
    return imports(caller, "me", frozenset({*FUNCTIONS, "absent"}) - {"same"})["call"]


class TestEveryCaller:
    def test_batch_goes_and_comes(self, call):
        result = call("double", batch(1, 2))
        assert isinstance(result, Ok)
        assert result.value.arrow.column("a").to_pylist() == [2, 4]

    def test_plugin_that_is_not_granted_is_denied(self, call):
        assert call("same", batch()).error.case == "denied"
        assert call("elsewhere", batch()).error.case == "denied"

    def test_granted_plugin_that_is_not_there_is_not_found(self, call):
        assert call("absent", batch()).error.case == "not-found"

    @pytest.mark.parametrize(
        ("name", "case", "text"),
        [
            ("failing", "failed", "no such customer"),
            ("panicking", "faulted", "GuestPanic: "),
            ("slow", "faulted", "CallTimeout: "),
            ("refused", "other", "files is not granted"),
        ],
    )
    def test_failure_of_the_other_plugin_is_a_value(self, call, name, case, text):
        error = call(name, batch()).error
        assert error.case == case and text in error.value
        assert "private line" not in error.value

    def test_fault_of_the_host_passes_through(self, call):
        with pytest.raises(ZeroDivisionError):
            call("buggy", batch())
        assert running_plugins() == ()

    def test_result_that_is_no_batch_is_the_hosts_fault(self, call):
        with pytest.raises(UsageError, match="RecordBatch"):
            call("wrong", batch())

    def test_plugin_cannot_call_itself(self, caller):
        call = imports(caller, "double", frozenset({"double"}))["call"]
        assert call("double", batch()).error.case == "too-deep"


class Chain:
    """Plugins that each call the next along given edges, through their own imports."""

    def __init__(self, edges: dict[str, str], *, limits: CallLimits | None = None) -> None:
        self.seen: list[tuple[str, ...]] = []
        self._calls = {}
        caller = PipelinePlugins(lambda name: (lambda given: self.run(name, given)) if name in edges else None)
        self._next = edges
        for name in edges:
            self._calls[name] = imports(caller, name, frozenset(edges.values()), limits=limits)["call"]

    def run(self, name: str, given: Batch) -> Batch:
        self.seen.append(running_plugins())
        if not self._next[name]:
            return double(given)
        result = self._calls[name](self._next[name], given)
        if isinstance(result, Err):
            raise PluginError(result.error.value, plugin=name, error=result.error)
        return result.value

    def start(self, name: str) -> Ok | Err:
        return self._calls[name](self._next[name], batch(1))


def test_chain_knows_who_is_running():
    chain = Chain({"a": "b", "b": "c", "c": ""})
    assert chain.start("a").value.arrow.column("a").to_pylist() == [2]
    assert chain.seen == [("a", "b"), ("a", "b", "c")]
    assert running_plugins() == ()


@pytest.mark.parametrize("edges", [{"a": "b", "b": "a"}, {"a": "b", "b": "c", "c": "b"}, {"a": "b", "b": "b"}])
def test_circle_is_refused_where_it_closes(edges):
    result = Chain(edges).start("a")
    assert result.error.case == "failed"
    assert "would close a circle: a -> b" in result.error.value
    assert running_plugins() == ()


def test_call_goes_as_deep_as_the_limit_and_no_deeper():
    names = "abcdef"
    edges = dict(zip(names, [*names[1:], ""], strict=True))
    assert isinstance(Chain(edges, limits=CallLimits(depth=6)).start("a"), Ok)
    chain = Chain(edges, limits=CallLimits(depth=5))
    assert "deeper than 5 plugins" in chain.start("a").error.value
    assert chain.seen[-1] == ("a", "b", "c", "d", "e")
    assert isinstance(chain.start("b"), Ok)


def test_direct_call_over_the_limit_is_too_deep():
    inner = {}
    caller = PipelinePlugins(lambda name: lambda given: inner.setdefault("result", second("c", given)) and given)
    first = imports(caller, "a", frozenset({"b"}), limits=CallLimits(depth=2))["call"]
    second = imports(caller, "b", frozenset({"c"}), limits=CallLimits(depth=2))["call"]
    assert isinstance(first("b", batch()), Ok)
    assert inner["result"].error.case == "too-deep"


def test_threads_have_chains_of_their_own():
    entered, release = threading.Barrier(2), threading.Event()

    def wait(given):
        entered.wait(5)
        release.wait(5)
        return given

    call = imports(PipelinePlugins({"b": wait, "c": double}.get), "a", frozenset({"b", "c"}))["call"]
    results = []
    thread = threading.Thread(target=lambda: results.append(call("b", batch())))
    thread.start()
    entered.wait(5)
    assert running_plugins() == ()
    assert isinstance(call("c", batch()), Ok)
    release.set()
    thread.join()
    assert isinstance(results[0], Ok)


def test_chain_is_carried_into_another_thread_by_its_context():
    results = []

    def elsewhere(given):
        context = contextvars.copy_context()
        thread = threading.Thread(target=lambda: results.append(context.run(back, "a", given)))
        thread.start()
        thread.join()
        return given

    caller = PipelinePlugins({"b": elsewhere, "a": double}.get)
    back = imports(caller, "b", frozenset({"a"}))["call"]
    imports(caller, "a", frozenset({"b"}))["call"]("b", batch())
    assert results[0].error.case == "too-deep"


def test_called_plugins_are_noted_in_memory():
    plugins = MemoryPlugins({"double": double})
    plugins.call("double", batch())
    assert plugins.called == ["double"]


@pytest.mark.parametrize("depth", [0, 1, 65])
def test_depth_out_of_range_is_refused(depth):
    with pytest.raises(ConfigError, match=r"plugins\.depth"):
        CallLimits(depth=depth)


@pytest.mark.parametrize(
    "edges",
    [
        {},
        {"a": set()},
        {"a": {"b"}},
        {"a": {"b", "c"}, "b": {"d"}, "c": {"d"}, "d": set()},
        {"a": {"c"}, "b": {"a", "c"}},
    ],
)
def test_grants_without_a_circle_are_accepted(edges):
    check_edges(edges)


@pytest.mark.parametrize(
    ("edges", "circle"),
    [
        ({"a": {"a"}}, "a -> a"),
        ({"a": {"b"}, "b": {"a"}}, "a -> b -> a"),
        ({"a": {"b"}, "b": {"c", "d"}, "c": set(), "d": {"b"}}, "b -> d -> b"),
    ],
)
def test_circle_among_grants_is_shown(edges, circle):
    with pytest.raises(ConfigError, match=circle):
        check_edges(edges)


def test_long_message_is_cut():
    error = PluginError("x" * 10_000, plugin="b", export="e")
    call = imports(PipelinePlugins({"b": raising(error)}.get), "a", frozenset({"b"}))["call"]
    result = call("b", batch())
    assert result.error.case == "failed" and len(result.error.value) < 4_200
    assert result == Err(Variant("failed", result.error.value))
