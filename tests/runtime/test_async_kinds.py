"""Plugins of all kinds whose calls are awaited, on an engine in Python."""

from __future__ import annotations

import asyncio
import contextvars
import random
import threading
import time
import typing
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, ClassVar

import pyarrow as pa
import pytest

from async_kit import nothing_left
from dataflare import (
    AsyncDestination,
    AsyncHost,
    AsyncPlugin,
    AsyncProcessor,
    AsyncSource,
    AsyncTransformer,
    AsyncValidator,
    Host,
    Ok,
    PluginError,
    RunLost,
    Target,
    UsageError,
    ValueTypeError,
)
from runtime_fakes import Doubler, FakeEngine, Guest, Numbers, Positive, Shelf, Upper

ROWS = pa.record_batch({"n": [1, 2, 3]})


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    with nothing_left():
        yield


WHO: contextvars.ContextVar[str] = contextvars.ContextVar("who", default="nobody")


class Gate:
    """A place in code of the host's side where a call waits until a test lets it go on."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.opened = threading.Event()

    def wait(self) -> None:
        self.reached.set()
        assert self.opened.wait(60)


class Waiter(Upper):
    """Waits at a gate for one input, and says for whom it worked for the others."""

    gate: ClassVar[Gate]

    def process(self, input: str) -> Any:
        if input == "wrong":
            return super().process(input)
        if input == "wait":
            self.gate.wait()
        return Ok(WHO.get())


class SlowNumbers(Numbers):
    """As `Numbers`, with steps that take their time."""

    def read(self, max_rows: int) -> Any:
        time.sleep(0.002)
        return super().read(max_rows)


async def cancelled_at(gate: Gate, work: Coroutine[Any, Any, object]) -> BaseException | None:
    """Cancel a task while its call waits at a gate; returns what ended it. It must not go on before the call does."""
    task = asyncio.create_task(work)
    while not gate.reached.is_set():
        await asyncio.sleep(0.001)
    task.cancel()
    await asyncio.sleep(0.05)
    assert not task.done()
    gate.opened.set()
    with pytest.raises(asyncio.CancelledError) as caught:
        await task
    return caught.value.__cause__


@pytest.fixture
def fakes() -> Iterator[Callable[[type[Guest]], Any]]:
    """Loads a plugin in Python."""
    engine = FakeEngine()
    with Host(engine=engine) as host:
        loads = AsyncHost(host)
        yield lambda guest: loads.load(engine.add(guest), name="p")


def test_sleep_in_the_host_comes_to_its_end_before_the_task_goes_on(fakes: Any) -> None:
    Waiter.gate = Gate()

    async def main() -> None:
        async with await fakes(Waiter) as plugin:
            assert await cancelled_at(Waiter.gate, plugin.process("wait")) is None
            assert await plugin.process("x") == "nobody"

    asyncio.run(main())


def test_errors_and_context_variables_pass(fakes: Any) -> None:
    async def main() -> None:
        async with await fakes(Waiter) as plugin:
            with pytest.raises(PluginError, match="not mine"):
                await plugin.process("wrong")
            WHO.set("me")
            assert await plugin.process("x") == "me"
            with pytest.raises(ValueTypeError, match="await the call for each batch"):
                await plugin.process_batch([ROWS])
            assert (await plugin.process_batch(pa.table({"n": [1, 2]}))).num_rows == 1

    asyncio.run(main())


def test_cancelled_step_loses_the_read_which_continues_from_its_state(fakes: Any) -> None:
    gate = Gate()

    class WaitingNumbers(Numbers):
        def read(self, max_rows: int) -> Any:
            if self.next:
                gate.wait()
            return super().read(max_rows)

    async def main() -> None:
        async with await fakes(WaitingNumbers) as source:
            await source.open()
            first = await source.read()
            await cancelled_at(gate, source.read())
            with pytest.raises(RunLost):
                await source.read()
            await source.open(state=first.state)
            assert (await source.read()).rows.column(0).to_pylist() == [2, 3]

    asyncio.run(main())


def test_reads_that_are_cancelled_at_random_times_give_each_row_once(fakes: Any) -> None:
    choice = random.Random(3)

    async def read_on(source: AsyncSource, state: bytes | None, found: list[int]) -> bytes | None:
        async for chunk in source.chunks(state=state):
            found += chunk.rows.column(0).to_pylist()
            state = chunk.state
            states.append(state)
        return state

    states: list[bytes | None] = [None]

    async def main() -> None:
        async with await fakes(SlowNumbers) as source:
            for _ in range(30):
                found: list[int] = []
                states[:] = [None]
                while True:
                    task = asyncio.create_task(read_on(source, states[-1], found))
                    asyncio.get_running_loop().call_later(choice.random() * 0.015, task.cancel)
                    try:
                        await task
                        break
                    except asyncio.CancelledError:
                        continue
                assert found == list(range(6))

    asyncio.run(main())


def test_cancelled_write_loses_the_run(fakes: Any) -> None:
    gate = Gate()

    class WaitingShelf(Shelf):
        shelf: ClassVar[list[int]] = []

        def write(self, target: int, rows: Any) -> Any:
            gate.wait()
            return super().write(target, rows)

    async def main() -> None:
        async with await fakes(WaitingShelf) as destination:
            assert isinstance(destination, AsyncDestination)
            for cancels in (True, False):
                await destination.open(Target("rows", ROWS.schema))
                if cancels:
                    await cancelled_at(gate, destination.write(ROWS))
                    with pytest.raises(RunLost):
                        await destination.finish()
                    await destination.abort()
            assert await destination.write(ROWS) == []
            await destination.finish()
            assert WaitingShelf.shelf == [1, 2, 3]

    asyncio.run(main())


def test_iterations_that_are_left_early_leave_the_source_usable(fakes: Any) -> None:
    async def main() -> None:
        async with await fakes(Numbers) as source:
            async for _ in source.batches():
                break
            assert [rows.num_rows async for rows in source.batches()] == [2, 2, 2]
            with pytest.raises(PluginError, match="not a state of mine"):
                async for _ in source.batches(state=b"x"):
                    pass

    asyncio.run(main())


def test_of_two_iterations_at_a_time_one_gets_all_rows_and_the_other_an_error(fakes: Any) -> None:
    async def numbers_of(source: AsyncSource) -> list[int]:
        return [number async for rows in source.batches() for number in rows.column(0).to_pylist()]

    async def main() -> None:
        async with await fakes(SlowNumbers) as source:
            found = await asyncio.gather(numbers_of(source), numbers_of(source), return_exceptions=True)
            assert sorted(map(type, found), key=str) == [RunLost, list] and list(range(6)) in found

    asyncio.run(main())


def test_every_kind_has_its_class(fakes: Any) -> None:
    async def main() -> None:
        for guest, kind in (
            (Numbers, AsyncSource),
            (Shelf, AsyncDestination),
            (Upper, AsyncProcessor),
            (Doubler, AsyncTransformer),
            (Positive, AsyncValidator),
        ):
            async with await fakes(guest) as plugin:
                assert type(plugin) is kind
        async with await fakes(Doubler) as doubler:
            assert (await doubler.transform(ROWS)).column(0).to_pylist() == [2, 4, 6]

    asyncio.run(main())


@pytest.mark.parametrize("kind", [AsyncSource, AsyncDestination, AsyncProcessor, AsyncTransformer, AsyncValidator])
def test_every_call_of_a_kind_can_be_awaited(kind: type[AsyncPlugin[Any]]) -> None:
    blocking = typing.get_args(kind.__orig_bases__[0])[0]  # type: ignore[attr-defined]
    properties = {
        "name",
        "digest",
        "closed",
        "grants",
        "limits",
        "watch",
        "stats",
        "log_lines",
        "rows_written",
        "changes",
        "shutdown_error",
    }
    here = {"kind", "most_calls", "interrupt", "lose_run"}  # they do not wait
    names = {name for name in dir(blocking) if not name.startswith("_")} - properties - here
    assert names == {name for name in dir(kind) if not name.startswith("_")}


def test_closed_plugin_refuses_calls_and_closing_it_again_does_nothing(fakes: Any) -> None:
    async def main() -> None:
        plugin = await fakes(Upper)
        await plugin.close()
        await plugin.close()
        with pytest.raises(UsageError, match="is closed"):
            await plugin.process("x")

    asyncio.run(main())
