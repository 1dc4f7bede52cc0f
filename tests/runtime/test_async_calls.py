"""Calls that are awaited: what a cancelled task leaves behind, which is nothing."""

from __future__ import annotations

import asyncio
import gc
import inspect
import random
import threading
import time
import warnings
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import anyio
import pyarrow as pa
import pytest

from async_kit import cancelled_after, nothing_left, within_a_plugin
from dataflare import (
    AsyncHost,
    AsyncProcessor,
    GuestPanic,
    Host,
    Limits,
    NodeFailed,
    PoolSettings,
    RunInterrupted,
    run,
    run_async,
)
from dataflare.cancellation import Cancelled
from plugin_wat import hostile

COMPONENTS = Path(__file__).resolve().parents[2] / "guest-sdks" / "rust" / "components"
ROWS = pa.record_batch({"n": [1, 2, 3]})
LOOP = "(loop $l (br $l)) (unreachable)"
_COUNT = "(loop $l (local.set $i (i32.add (local.get $i) (i32.const 1))) (br_if $l (i32.lt_u (local.get $i) {most})))"
SPIN = hostile(
    {
        "spin": "(loop $l (br $l))",
        "echo": "(call $say (local.get $p) (local.get $n))",
        # Some milliseconds of work.
        "work": _COUNT.replace("{most}", "(i32.const 3000000)") + "(call $say (local.get $p) (local.get $n))",
        "trap": "(unreachable)",
    }
)
CALLS: dict[tuple[str, str], Callable[[Any], Coroutine[Any, Any, object]]] = {
    ("processor", "get-metadata"): lambda plugin: plugin.metadata(),
    ("processor", "configure"): lambda plugin: plugin.start(),
    ("processor", "initialize"): lambda plugin: plugin.start(),
    ("processor", "health-check"): lambda plugin: plugin.health(),
    ("processor", "process"): lambda plugin: plugin.process("x"),
    ("processor", "process-batch"): lambda plugin: plugin.process_batch(ROWS),
    ("transformer", "output-schema"): lambda plugin: plugin.output_schema(ROWS.schema),
    ("transformer", "transform"): lambda plugin: plugin.transform(ROWS),
    ("validator", "rules"): lambda plugin: plugin.rules(),
    ("validator", "validate"): lambda plugin: plugin.validate(ROWS),
    ("source", "discover"): lambda plugin: plugin.discover(),
    ("destination", "abilities"): lambda plugin: plugin.abilities(),
}


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    with nothing_left():
        yield


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def host(cache: Path) -> Host:
    return Host(cache_dir=cache)


@pytest.mark.parametrize(("kind", "function"), CALLS)
def test_cancelled_call_of_a_looping_plugin_ends(kind: str, function: str, host: Host) -> None:
    async def main() -> None:
        async with AsyncHost(host) as loads:
            component = hostile({}, kind=kind, bodies={function: LOOP}).binary
            plugin = await loads.load(component, name="p", limits=Limits(call_timeout_s=100))
            took_s, cause = await cancelled_after(0.1, CALLS[kind, function](plugin))
            assert took_s < 2 and isinstance(cause, Cancelled)

    asyncio.run(main())


def test_start_function_that_loops_ends(host: Host) -> None:
    async def main() -> None:
        async with AsyncHost(host) as loads:
            component = hostile({}, extra="(func $spin (loop $l (br $l))) (start $spin)").binary
            plugin = await loads.load(component, name="p", limits=Limits(call_timeout_s=100))
            took_s, _ = await cancelled_after(0.1, plugin.start())
            assert took_s < 2

    asyncio.run(main())


def test_shutdown_that_loops_ends_with_the_task_that_closes(host: Host) -> None:
    async def main() -> None:
        component = hostile({}, bodies={"shutdown": LOOP}).binary
        async with AsyncHost(host) as loads:
            plugin = await loads.load(component, name="p", limits=Limits(call_timeout_s=100))
            await plugin.start()
            took_s, _ = await cancelled_after(0.1, plugin.close())
            assert took_s < 2 and plugin.blocking.closed

    asyncio.run(main())


def test_cancelled_call_in_a_worker_ends_the_worker(host: Host) -> None:
    async def main() -> None:
        async with AsyncHost(host) as loads:
            plugin = await loads.load(SPIN.binary, kind="processor", name="p", isolation="process-best-effort")
            await plugin.start()
            took_s, cause = await cancelled_after(0.1, plugin.process(SPIN.order("spin")))
            assert took_s < 2 and isinstance(cause, Cancelled)
            await plugin.process(SPIN.order("echo"))
            assert plugin.blocking.stats.instances == 2

    asyncio.run(main())


def test_call_after_a_cancelled_one_gets_a_new_instance(host: Host) -> None:
    async def main() -> None:
        async with AsyncHost(host) as loads:
            pool = PoolSettings(maximum=1)
            plugin = await loads.load(SPIN.binary, kind="processor", name="p", pool=pool)
            for count in range(1, 6):
                await cancelled_after(0.02, plugin.process(SPIN.order("spin")))
                await plugin.process(SPIN.order("echo"))
                assert (plugin.blocking.stats.instances, plugin.blocking.stats.faults) == (count + 1, count)

    asyncio.run(main())


def test_cancelling_one_call_does_not_touch_those_beside_it(host: Host) -> None:
    async def main() -> None:
        async with AsyncHost(host) as loads:
            pool = PoolSettings(maximum=4)
            plugin = await loads.load(SPIN.binary, kind="processor", name="p", pool=pool)
            beside = [asyncio.create_task(plugin.process(SPIN.order("work"))) for _ in range(40)]
            for _ in range(10):
                await cancelled_after(0.005, plugin.process(SPIN.order("spin")))
            await asyncio.gather(*beside)
            # Those that were cancelled before they began cost nothing.
            assert plugin.blocking.stats.faults <= 10

    asyncio.run(main())


async def maybe(work: Coroutine[Any, Any, str | None], cancel_after_s: float) -> str | None:
    """What a call returns; `None` if the task was cancelled before that."""
    task = asyncio.create_task(work)
    if cancel_after_s >= 0:
        asyncio.get_running_loop().call_later(cancel_after_s, task.cancel)
    try:
        return await task
    except asyncio.CancelledError:
        return None


def test_a_thousand_calls_that_are_cancelled_at_random_times_disturb_nothing(host: Host) -> None:
    choice = random.Random(7)

    async def main() -> None:
        async with AsyncHost(host) as loads:
            plugin = await loads.load(SPIN.binary, kind="processor", name="p", pool=PoolSettings(maximum=4))
            calls, expected = [], []
            for number in range(1000):
                action = choice.choice(["echo", "echo", "work", "spin", "trap"])
                # What never ends by itself is always cancelled, others sometimes.
                cancelled = action == "spin" or choice.random() < 0.3
                after_s = choice.random() * 0.5 if cancelled else -1.0
                calls.append(maybe(plugin.process(SPIN.order(action, str(number))), after_s))
                expected.append((action, str(number), cancelled))
            found = await asyncio.gather(*calls, return_exceptions=True)
            for (action, number, cancelled), result in zip(expected, found, strict=True):
                if action == "trap":
                    assert isinstance(result, GuestPanic) or (cancelled and result is None)
                elif result is None:
                    assert cancelled
                else:
                    assert (result, action) != (number, "spin") and result == number
            await asyncio.gather(*(plugin.process(SPIN.order("echo")) for _ in range(20)))
            stats = plugin.blocking.stats
            assert stats.instances - stats.faults <= 4

    asyncio.run(main())


def test_calls_that_wait_for_an_instance_have_no_thread_and_go_at_once(host: Host) -> None:
    async def main() -> None:
        async with AsyncHost(host) as loads:
            pool = PoolSettings(maximum=2, acquire_timeout_s=0.01)
            plugin = await loads.load(SPIN.binary, kind="processor", name="p", pool=pool)
            first = [asyncio.create_task(plugin.process(SPIN.order("spin"))) for _ in range(2)]
            await asyncio.sleep(0.1)
            waiting = [asyncio.create_task(plugin.process(SPIN.order("echo"))) for _ in range(500)]
            await asyncio.sleep(0)
            assert sum(each.name.startswith("dataflare-p") for each in threading.enumerate()) == 2
            for each in waiting:
                each.cancel()
            began_s = time.monotonic()
            assert all(
                isinstance(e, asyncio.CancelledError) for e in await asyncio.gather(*waiting, return_exceptions=True)
            )
            assert time.monotonic() - began_s < 1
            for each in first:
                each.cancel()
            await asyncio.gather(*first, return_exceptions=True)
            assert plugin.blocking.stats.calls <= 6  # two instances, each configured, initialized and called once

    asyncio.run(main())


def test_timeouts_and_task_groups_end_calls(host: Host) -> None:
    async def main() -> None:
        async with AsyncHost(host) as loads:
            plugin = await loads.load(SPIN.binary, kind="processor", name="p", pool=PoolSettings(maximum=2))
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await plugin.process(SPIN.order("spin"))
            with pytest.raises(ExceptionGroup) as caught:
                async with asyncio.TaskGroup() as group:
                    group.create_task(plugin.process(SPIN.order("spin")))
                    group.create_task(plugin.process(SPIN.order("trap")))
            assert [type(each) for each in caught.value.exceptions] == [GuestPanic]
            assert await plugin.process(SPIN.order("echo", "x")) == "x"

    asyncio.run(main())


def test_scopes_of_anyio_end_calls(host: Host) -> None:
    async def main() -> None:
        async with AsyncHost(host) as loads:
            plugin = await loads.load(SPIN.binary, kind="processor", name="p")
            with anyio.move_on_after(0.05) as scope:
                await plugin.process(SPIN.order("spin"))
            assert scope.cancelled_caught
            with pytest.raises(TimeoutError), anyio.fail_after(0.05):
                await plugin.process(SPIN.order("spin"))
            assert await plugin.process(SPIN.order("echo", "x")) == "x"

    anyio.run(main)


def test_task_that_is_cancelled_again_and_again_still_waits(host: Host) -> None:
    async def main() -> None:
        async with AsyncHost(host) as loads:
            plugin = await loads.load(SPIN.binary, kind="processor", name="p")
            task = asyncio.create_task(plugin.process(SPIN.order("spin")))
            await asyncio.sleep(0.05)
            while not task.done():
                task.cancel()
                await asyncio.sleep(0)
            assert task.cancelled()
            assert await plugin.process(SPIN.order("echo", "x")) == "x"

    asyncio.run(main())


def test_coroutine_that_is_closed_where_no_loop_runs_ends_its_call(host: Host) -> None:
    loop = asyncio.new_event_loop()

    async def load() -> AsyncProcessor:
        loaded = await AsyncHost(host).load(SPIN.binary, kind="processor", name="p", limits=Limits(call_timeout_s=1000))
        # Calls that start an instance are over, so what the loop waits for below is the call that spins.
        return await loaded.start()

    plugin = loop.run_until_complete(load())
    call = plugin.process(SPIN.order("spin"))
    task = loop.create_task(call)
    loop.run_until_complete(within_a_plugin())
    loop.close()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        call.close()
        del task
        gc.collect()
    until_s = time.monotonic() + 5
    while not plugin.blocking.stats.faults:
        assert time.monotonic() < until_s
        time.sleep(0.01)
    asyncio.run(plugin.close())
    host.close()


def test_plugin_that_nobody_gets_since_its_load_was_cancelled_is_closed(host: Host) -> None:
    async def main() -> None:
        async with AsyncHost(host) as loads:
            task = asyncio.create_task(loads.load(SPIN.binary, kind="processor", name="p"))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert repr(host) == "<Host, 0 loaded>"

    asyncio.run(main())


def test_plugin_is_used_from_several_loops(host: Host) -> None:
    async def load() -> AsyncProcessor:
        return await AsyncHost(host).load(SPIN.binary, kind="processor", name="p")

    async def use() -> list[str | None]:
        return await asyncio.gather(*(plugin.process(SPIN.order("echo", str(number))) for number in range(50)))

    plugin = asyncio.run(load())
    found: list[list[str | None]] = []
    threads = [threading.Thread(target=lambda: found.append(asyncio.run(use()))) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert found == [[str(number) for number in range(50)]] * 4
    asyncio.run(plugin.close())
    host.close()


def pipeline(folder: Path, plugin: bytes) -> dict[str, Any]:
    (folder / "in.csv").write_text("n\n1\n2\n")
    (folder / "p.wasm").write_bytes(plugin)
    nodes = {
        "read": {"connector": "csv", "read": str(folder / "in.csv")},
        "change": {"plugin": str(folder / "p.wasm"), "input": "read"},
        "write": {"connector": "csv", "input": "change", "write": str(folder / "out.csv")},
    }
    return {"name": "p", "nodes": nodes}


def test_pipeline_is_awaited(tmp_path: Path, host: Host) -> None:
    async def main() -> None:
        report = await run_async(pipeline(tmp_path, SPIN.binary), host=host)
        assert report.status == "completed"
        with pytest.raises(NodeFailed):
            await run_async(
                pipeline(tmp_path, hostile({}, bodies={"process-batch": "(unreachable)"}).binary), host=host
            )

    asyncio.run(main())
    host.close()
    assert inspect.signature(run_async) == inspect.signature(run) and run_async.__name__ == "run_async"


@pytest.mark.parametrize("function", ["configure", "process-batch", "shutdown"])
def test_cancelled_run_leaves_no_output(tmp_path: Path, host: Host, function: str) -> None:
    component = hostile({}, bodies={function: LOOP}).binary

    async def main() -> None:
        took_s, cause = await cancelled_after(0.5, run_async(pipeline(tmp_path, component), host=host))
        assert took_s < 3
        if function != "shutdown":
            assert isinstance(cause, RunInterrupted) and cause.report.status == "interrupted"

    asyncio.run(main())
    host.close()
    if function != "shutdown":  # all was done before
        assert not (tmp_path / "out.csv").exists()
    assert not [each for each in tmp_path.iterdir() if "partial" in each.name]
