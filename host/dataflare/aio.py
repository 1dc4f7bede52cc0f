"""The same API for asyncio: what blocks is awaited, and ends when its task is cancelled.

```python
async with AsyncHost() as host, await host.load("json-mapper.wasm", kind="processor") as mapper:
    print(await mapper.process('{"id": 1}'))
```

Nothing is implemented a second time. Each call runs in a thread, as the method of the same name of the blocking class,
with the task's context variables. When the task is cancelled, the call is ended as Ctrl-C ends one in the main thread:
the plugin's code stops, its instance is lost, and a read or a run that it held is lost too (`RunLost`). The task waits
until the thread is done with the plugin, so nothing of the call is left behind.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from contextlib import ExitStack, suppress
from contextvars import copy_context
from itertools import islice
from typing import Any, Concatenate, Final, Generic, Literal, ParamSpec, Self, TypeVar, Unpack, overload

import pyarrow as pa

from dataflare.call_threads import CallThreads
from dataflare.cancellation import Cancellation
from dataflare.errors import ValueTypeError
from dataflare.pipeline.runner import run
from dataflare.runtime.arguments import ComponentSource
from dataflare.runtime.destination import Destination
from dataflare.runtime.host import Host
from dataflare.runtime.options import LoadOptions
from dataflare.runtime.plugin import Plugin
from dataflare.runtime.processor import Processor
from dataflare.runtime.results import Health
from dataflare.runtime.runs import KeepsRun
from dataflare.runtime.source import Source
from dataflare.runtime.transformer import Transformer
from dataflare.runtime.validator import Validator
from dataflare.wit_types.types import Metadata

__all__ = [
    "AsyncDestination",
    "AsyncHost",
    "AsyncPlugin",
    "AsyncProcessor",
    "AsyncSource",
    "AsyncTransformer",
    "AsyncValidator",
    "run_async",
]

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S", bound=Plugin)
Rows = TypeVar("Rows", pa.RecordBatch, pa.Table)

_AGAIN_S: Final = 0.02


async def _in_thread(
    work: Callable[[], R],
    undo: Callable[[R], object] = lambda _: None,
    *,
    threads: CallThreads | None = None,
) -> R:
    """Do work in a thread; when the task is cancelled, end it, and wait until it has ended.

    Args:
        work: What to do.
        undo: Given its result if nobody gets that, since the task was cancelled just then.
        threads: Which threads do it; `None` makes one.
    """
    cancellation = Cancellation()
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def body() -> R:
        with cancellation:
            cancellation.check()
            return work()

    def tell() -> None:
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(_finish, done)

    pool = threads or CallThreads(1, "dataflare-async")
    call = pool.submit(functools.partial(copy_context().run, body), tell)
    cancelled: asyncio.CancelledError | None = None
    try:
        while not done.done():
            try:
                await asyncio.wait((done,), timeout=None if cancelled is None else _AGAIN_S)
            except asyncio.CancelledError as error:
                cancelled = cancelled or error
                if call.withdraw():  # it had not begun
                    break
            if cancelled is not None:
                cancellation.request()
    except BaseException:  # such as `GeneratorExit`, where no loop runs any more that could wait
        cancellation.request()
        call.abandon(undo)
        raise
    finally:
        if threads is None:
            pool.close(wait=done.done())
    if cancelled is None:
        return call.result()
    call.abandon(undo)
    raise cancelled from call.error


def _finish(done: asyncio.Future[None]) -> None:
    if not done.done():
        done.set_result(None)


class AsyncPlugin(Generic[S]):
    """A loaded plugin, whose calls are awaited. `AsyncHost.load` makes one of the subclasses.

    Any number of tasks may make calls; those that no instance is free for wait without a thread. Close it, or use it in
    an `async with`.

    Args:
        blocking: The plugin, which it closes.
    """

    def __init__(self, blocking: S) -> None:
        self.blocking: Final = blocking
        """The plugin itself: its name, limits, statistics, and the same calls for threads."""
        self._threads = CallThreads(blocking.most_calls, f"dataflare-{blocking.name}")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.blocking!r}>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def metadata(self) -> Metadata:
        """As `Plugin.metadata`."""
        return await self._call(lambda: self.blocking.metadata)

    async def ask_metadata(self) -> Metadata:
        """As `Plugin.ask_metadata`."""
        return await self._call(self.blocking.ask_metadata)

    async def start(self) -> Self:
        """As `Plugin.start`."""
        await self._call(self.blocking.start)
        return self

    async def health(self) -> Health:
        """As `Plugin.health`."""
        return await self._call(self.blocking.health)

    async def close(self) -> None:
        """Shut down all instances, release all resources, and end the threads; idempotent. Waits for running calls."""
        await _in_thread(self._end)

    def _end(self) -> None:
        try:
            self.blocking.close()
        finally:
            self._threads.close()

    def _call(self, work: Callable[[], R], *, is_step: bool = False) -> Coroutine[Any, Any, R]:
        """Do work with the plugin.

        Args:
            work: What to do.
            is_step: Whether it is a step of a read or a run, which is lost where nobody gets the result.
        """
        plugin = self.blocking
        undo = (lambda _: plugin.lose_run()) if is_step and isinstance(plugin, KeepsRun) else _nothing
        return _in_thread(work, undo, threads=None if plugin.closed else self._threads)


class _Awaited(Generic[S, P, R]):
    """A method of the blocking class, as one that is awaited; `is_step` as for `AsyncPlugin._call`."""

    def __init__(self, method: Callable[Concatenate[S, P], R], *, is_step: bool = False) -> None:
        self._method = method
        self._is_step = is_step
        self.__doc__ = method.__doc__

    @overload
    def __get__(self, plugin: None, owner: type) -> Self: ...
    @overload
    def __get__(self, plugin: AsyncPlugin[S], owner: type) -> Callable[P, Coroutine[Any, Any, R]]: ...
    def __get__(self, plugin: AsyncPlugin[S] | None, owner: type) -> Self | Callable[P, Coroutine[Any, Any, R]]:
        if plugin is None:
            return self

        def call(*args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:
            work = functools.partial(self._method, plugin.blocking, *args, **kwargs)
            return plugin._call(work, is_step=self._is_step)

        return call


class _Iterated(Generic[S, P, R]):
    """A method of the blocking class that iterates over a read, as one that does so asynchronously."""

    def __init__(self, method: Callable[Concatenate[S, P], Iterator[R]]) -> None:
        self._method = method
        self.__doc__ = method.__doc__

    @overload
    def __get__(self, plugin: None, owner: type) -> Self: ...
    @overload
    def __get__(self, plugin: AsyncPlugin[S], owner: type) -> Callable[P, AsyncIterator[R]]: ...
    def __get__(self, plugin: AsyncPlugin[S] | None, owner: type) -> Self | Callable[P, AsyncIterator[R]]:
        if plugin is None:
            return self

        async def iterate(*args: P.args, **kwargs: P.kwargs) -> AsyncIterator[R]:
            items = self._method(plugin.blocking, *args, **kwargs)
            while found := await plugin._call(lambda: list(islice(items, 1)), is_step=True):
                yield found[0]

        return iterate


class AsyncSource(AsyncPlugin[Source]):
    """A plugin that brings rows in; as `Source`, one task at a time."""

    discover = _Awaited(Source.discover)
    dataset = _Awaited(Source.dataset)
    split = _Awaited(Source.split)
    estimate = _Awaited(Source.estimate)
    open = _Awaited(Source.open, is_step=True)
    read = _Awaited(Source.read, is_step=True)
    acknowledge = _Awaited(Source.acknowledge)
    stop = _Awaited(Source.stop)
    chunks = _Iterated(Source.chunks)
    batches = _Iterated(Source.batches)


class AsyncDestination(AsyncPlugin[Destination]):
    """A plugin that takes rows out; as `Destination`, one task at a time."""

    abilities = _Awaited(Destination.abilities)
    plan = _Awaited(Destination.plan)
    open = _Awaited(Destination.open, is_step=True)
    write = _Awaited(Destination.write, is_step=True)
    change_schema = _Awaited(Destination.change_schema, is_step=True)
    flush = _Awaited(Destination.flush, is_step=True)
    finish = _Awaited(Destination.finish, is_step=True)
    abort = _Awaited(Destination.abort)


class AsyncProcessor(AsyncPlugin[Processor]):
    """A plugin that maps records one by one; as `Processor`."""

    process = _Awaited(Processor.process)

    async def process_batch(self, rows: Rows) -> Rows:
        """As `Processor.process_batch`, of a batch or a table."""
        result: Rows = await self._call(lambda: _whole(self.blocking.process_batch(rows)))
        return result


class AsyncTransformer(AsyncPlugin[Transformer]):
    """A plugin that maps batches to batches, whose columns may differ; as `Transformer`."""

    output_schema = _Awaited(Transformer.output_schema)

    async def transform(self, rows: Rows) -> Rows:
        """As `Transformer.transform`, of a batch or a table."""
        result: Rows = await self._call(lambda: _whole(self.blocking.transform(rows)))
        return result


class AsyncValidator(AsyncPlugin[Validator]):
    """A plugin that checks batches and changes nothing; as `Validator`."""

    rules = _Awaited(Validator.rules)
    validate = _Awaited(Validator.validate)


_CLASSES: Final[Mapping[str, Callable[[Any], AsyncPlugin[Any]]]] = {
    "source": AsyncSource,
    "destination": AsyncDestination,
    "processor": AsyncProcessor,
    "transformer": AsyncTransformer,
    "validator": AsyncValidator,
}


class AsyncHost:
    """Loads plugins whose calls are awaited. Close it, or use it in an `async with`.

    Args:
        blocking: The host that loads them, which it closes; `None` makes one.
    """

    def __init__(self, blocking: Host | None = None) -> None:
        self.blocking: Final = Host() if blocking is None else blocking
        """The host itself, for all that needs no waiting, such as `revoke`."""
        self._loaded: list[AsyncPlugin[Any]] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @overload
    async def load(
        self, component: ComponentSource, *, kind: Literal["source"], **options: Unpack[LoadOptions]
    ) -> AsyncSource: ...
    @overload
    async def load(
        self, component: ComponentSource, *, kind: Literal["destination"], **options: Unpack[LoadOptions]
    ) -> AsyncDestination: ...
    @overload
    async def load(
        self, component: ComponentSource, *, kind: Literal["processor"], **options: Unpack[LoadOptions]
    ) -> AsyncProcessor: ...
    @overload
    async def load(
        self, component: ComponentSource, *, kind: Literal["transformer"], **options: Unpack[LoadOptions]
    ) -> AsyncTransformer: ...
    @overload
    async def load(
        self, component: ComponentSource, *, kind: Literal["validator"], **options: Unpack[LoadOptions]
    ) -> AsyncValidator: ...
    @overload
    async def load(
        self, component: ComponentSource, *, kind: str | None = None, **options: Unpack[LoadOptions]
    ) -> AsyncPlugin[Any]: ...
    async def load(
        self, component: ComponentSource, *, kind: str | None = None, **options: Unpack[LoadOptions]
    ) -> AsyncPlugin[Any]:
        """As `Host.load`. A compilation that has begun comes to its end, even if the task is cancelled."""
        loaded = await _in_thread(lambda: self.blocking.load(component, kind=kind, **options), lambda it: it.close())
        plugin = _CLASSES[loaded.kind](loaded)
        self._loaded.append(plugin)
        return plugin

    async def close(self) -> None:
        """Close all plugins, and the host; idempotent."""
        await _in_thread(self._end)

    def _end(self) -> None:
        with ExitStack() as rest:  # all of them, whatever one of them raises
            rest.callback(self.blocking.close)
            for each in self._loaded:
                rest.callback(each._end)


def _whole(result: R) -> R:
    if isinstance(result, Iterator):
        raise ValueTypeError("an iterable of batches is not awaited as a whole", hint="await the call for each batch")
    return result


def _nothing(_: object) -> None:
    pass


def _awaited(function: Callable[P, R]) -> Callable[P, Coroutine[Any, Any, R]]:
    @functools.wraps(function, assigned=("__doc__",))
    def call(*args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:
        return _in_thread(functools.partial(function, *args, **kwargs))

    call.__name__ = call.__qualname__ = f"{function.__name__}_async"
    return call


run_async = _awaited(run)
