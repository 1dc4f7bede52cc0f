"""Steps that put a plugin under strain: any rows, a thousand batches, denied capabilities, cancellation."""

from __future__ import annotations

import dataclasses
import itertools
import random
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import pyarrow as pa

from dataflare import Ended, Idle, PermissionDenied, PluginError, PluginFault
from dataflare.conformance.random_rows import random_rows, shortest
from dataflare.conformance.steps import STEPS, Bench, NotConformant, NotTested, step
from dataflare.conformance.steps_destination import batches, modes, require, running, target
from dataflare.conformance.steps_rows import call
from dataflare.conformance.steps_source import selections
from dataflare.conformance.values import as_table, shown

_WORK_S: Final = 10.0
"""Of processor time, so that a busy machine leaves a plugin as many batches as a quiet one."""
_WAIT_S: Final = 60.0
"""Of a clock, for a plugin that waits."""
_LARGE_ROWS: Final = 1_000
_MOST_GROWTH: Final = 2 * 2**20
_MOST_READS: Final = 50


@step("drawn")
def drawn(bench: Bench, arguments: dict[str, Any]) -> None:
    """Do steps with `count` batches of at most `rows` rows that are drawn, the same ones each time, and called `drawn`.

    A batch that the plugin does not take is left out; what fails is shown with as few rows as still fail.
    """
    chance = random.Random(arguments["seed"])
    taken = 0
    for _ in range(arguments["count"]):
        rows = random_rows(bench.subject.rows, chance, chance.randint(1, arguments["rows"]))
        failure = _failure(bench, rows, arguments["steps"])
        if isinstance(failure, NotTested):
            continue
        taken += 1
        if failure is not None:
            few = shortest(rows, lambda each: isinstance(_failure(bench, each, arguments["steps"]), NotConformant))
            raise NotConformant(str(_failure(bench, few, arguments["steps"]) or failure), given=shown(few))
    if not taken:
        raise NotTested("the plugin takes none of the rows that were drawn")


def _failure(bench: Bench, rows: pa.RecordBatch, steps: Sequence[dict[str, Any]]) -> NotConformant | NotTested | None:
    bench.values["drawn"] = [rows]
    try:
        for each in steps:
            ((name, arguments),) = each.items()
            STEPS[name](bench, arguments)
    except (NotConformant, NotTested) as found:
        return found
    except (PluginError, PluginFault) as error:
        return NotConformant(f"an error that was not due: {error.message}")
    return None


@step("memory-flat")
def memory_flat(bench: Bench, arguments: dict[str, Any]) -> None:
    """`batches` batches, in ten seconds of work, take no more memory at their end than halfway, and at most `handles`.

    What grew works on as long again: it may have collected no garbage yet, and what leaks grows on.
    """
    limits = dataclasses.replace(bench.subject.limits, handles=arguments["handles"])
    plugin = bench.make(limits=limits)
    memory: list[int] = []
    start, worked = time.monotonic(), time.process_time()
    work = _again_and_again(bench, plugin)
    for times in (1, 2):
        while (
            len(memory) < arguments["batches"] * times
            and time.process_time() < worked + _WORK_S * times
            and time.monotonic() < start + _WAIT_S * times
        ):
            try:
                next(work)
            except PluginFault as error:
                raise NotConformant(f"after {len(memory)} batches: {error.message}") from error
            memory.append(plugin.stats.memory_bytes)
        half, last = memory[len(memory) // 2], memory[-1]
        if last - half <= max(_MOST_GROWTH, half // 10):
            break
    else:
        raise NotConformant(
            f"memory grew from {half:,} to {last:,} bytes between batch {len(memory) // 2} and {len(memory)}"
        )
    if (health := plugin.health()).status == "unhealthy":
        raise NotConformant(f"after {len(memory)} batches, the plugin is unhealthy: {health.message}")


def _again_and_again(bench: Bench, plugin: Any) -> Iterator[None]:
    """Do the plugin's work without end, a batch at a time."""
    match bench.subject.kind:
        case "source":
            return _reading(plugin)
        case "destination":
            return _writing(bench, plugin)
    rows = as_table(bench["sample"])
    large = pa.concat_tables([rows] * max(1, _LARGE_ROWS // max(1, rows.num_rows)))
    (batch,) = large.combine_chunks().to_batches() or [None]
    if batch is None:
        raise NotTested("the sample has no rows")
    return _calling(bench, plugin, batch)


def _calling(bench: Bench, plugin: Any, batch: pa.RecordBatch) -> Iterator[None]:
    while True:
        try:
            call(bench, batch, plugin=plugin)
        except PluginError:
            raise NotTested("the plugin does not take such rows, and says so") from None
        yield


def _reading(plugin: Any) -> Iterator[None]:
    found = [each for dataset in plugin.discover() for each in selections(dataset)]
    if not found:
        raise NotTested("the source has no dataset with this configuration")
    while True:
        plugin.open(found[0])
        for _ in range(_MOST_READS):
            ended = isinstance(plugin.read(_LARGE_ROWS), Ended | Idle)
            yield
            if ended:
                break
        plugin.stop()


def _writing(bench: Bench, plugin: Any) -> Iterator[None]:
    require(bench)
    for generation in itertools.count(1):
        with running(bench, target(bench), generation, plugin=plugin):
            safe = True
            while safe:
                plugin.write(batches(bench)[0])
                safe = plugin.flush(b"")
                if not safe:  # it keeps its rows until then
                    plugin.finish(b"")
                yield


@step("denied")
def denied(bench: Bench, _: Any) -> None:
    """Each capability that was granted is taken back: the plugin answers with an error, and does not break down."""
    for each in sorted(bench.subject.grants.capabilities):
        for moment in ("before it starts", "after it started"):
            _deny(bench, each, early=moment.startswith("before"), what=f"with `{each}` denied {moment}")


def _deny(bench: Bench, capability: str, *, early: bool, what: str) -> None:
    plugin = bench.work.load()
    names = {plugin.name, plugin.metadata.name}
    host = bench.work.host
    assert host.revocations is not None
    try:
        if not early:
            plugin.start()
        for name in names:
            host.revoke(name, capability)
        plugin.start()
        next(_once(bench, plugin))
    except (PluginError, PermissionDenied):
        return  # of the plugin; or of the host, for a function that has no error of its own
    except PluginFault as error:
        raise NotConformant(f"{what}, it broke down: {error.message}") from error
    finally:
        for name in names:
            host.revocations.restore(name, capability)
        plugin.close()


def _once(bench: Bench, plugin: Any) -> Iterator[None]:
    """A batch of the plugin's work; of a destination, to the end of its run."""
    if bench.subject.kind == "source":
        yield from _reading(plugin)
    elif bench.subject.kind == "destination":
        with running(bench, target(bench, modes(bench)[0]), 1, plugin=plugin):
            plugin.write(batches(bench)[0])
            plugin.finish(b"")
            yield
    else:
        yield call(bench, bench["sample"][0], plugin=plugin)


@step("cancelled")
def cancelled(bench: Bench, _: Any) -> None:
    """A call of an operator who has cancelled ends as it should, or with `cancelled`."""
    plugin = bench.work.make()  # nothing is asked again here
    bench.work.host.cancel()
    calls: dict[str, Callable[[], Any]] = {
        "the call": lambda: next(_once(bench, plugin)),
        "`health-check`": plugin.health,
    }
    for what, act in calls.items():
        try:
            act()
        except PluginError as error:
            if error.error.case != "cancelled":
                raise NotConformant(f"cancelled, {what} answered `{error.error.case}`: {error.message}") from error
