"""Steps for destinations: runs, their tokens, and what remains of them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa

from dataflare import PluginError, Target
from dataflare.conformance.samples import BATCH_ROWS
from dataflare.conformance.steps import Bench, NotConformant, NotTested, expect_error, step
from dataflare.conformance.values import as_table

__all__ = ["batches", "modes", "require", "running", "target"]

_DATASET = "conformance"


def target(bench: Bench, mode: str | None = None, schema: pa.Schema | None = None) -> Target:
    """Make the target of a run; without a mode, in one whose rows last: `append`, or else `merge`."""
    rows = bench.subject.rows
    names = rows.schema.names
    if mode is None:
        mode = "append" if "append" in bench.plugin.abilities() else "merge"
    # Rows that are merged need a key; where they are replaced, a destination may ask for one.
    key = () if mode == "append" else (names[0],)
    return Target(_DATASET, rows.schema if schema is None else schema, key=key, mode=mode)  # type: ignore[arg-type]


def modes(bench: Bench) -> list[str]:
    """The modes in which the destination writes."""
    found = bench.plugin.abilities()
    writes = [mode for mode in ("append", "replace", "merge") if mode in found]
    if not writes:
        raise NotConformant(f"it can write in no mode: {sorted(found)}")
    return writes


def batches(bench: Bench) -> list[pa.RecordBatch]:
    """The sample, in batches of a few rows."""
    return list(as_table(bench["sample"]).to_batches(max_chunksize=BATCH_ROWS))


@contextmanager
def running(bench: Bench, to: Target, generation: int, *, plugin: Any = None, run: str | None = None) -> Iterator[Any]:
    """Open a run; it is aborted if what is done in it fails."""
    plugin = bench.plugin if plugin is None else plugin
    bench.about = f"mode `{to.mode}`"
    plugin.open(to, pipeline="conformance", run=run or f"run-{generation}", generation=generation)
    try:
        yield plugin
    except BaseException:
        plugin.abort()
        raise


@step("abilities")
def abilities(bench: Bench, _: Any) -> None:
    """It can write in some mode, answers the same each time, and deletes only if it merges."""
    found = bench.plugin.abilities()
    modes(bench)
    if "delete" in found and "merge" not in found:
        raise NotConformant("it can `delete`, which is a part of `merge`, and not `merge`")
    if bench.make().abilities() != found:
        raise NotConformant("another instance has other abilities")


@step("modes-refused")
def modes_refused(bench: Bench, _: Any) -> None:
    """A target in a mode that is not among the abilities is `unsupported`, also where no host checks it before."""
    found = bench.plugin.abilities()
    others = [mode for mode in ("append", "replace", "merge") if mode not in found]
    if not others:
        raise NotTested("it writes in every mode")
    for number, mode in enumerate(others):
        to = target(bench, mode)
        run = {"pipeline": "conformance", "run": f"run-{number}", "generation": number + 1, "any_mode": True}
        expect_error(functools.partial(bench.plugin.open, to, **run), ["unsupported"], f"`open` in the mode `{mode}`")


@step("write-run")
def write_run(bench: Bench, _: Any) -> None:
    """A run in every mode: rows are accepted and made safe, and the run ends."""
    for number, mode in enumerate(modes(bench)):
        with running(bench, target(bench, mode), number + 1) as plugin:
            for batch in batches(bench):
                rejected = plugin.write(batch)
                if len(rejected) == batch.num_rows:
                    raise NotTested(f"it rejects all rows: {rejected[0].reason}; give a sample that it takes")
            plugin.flush(b"first")
            plugin.finish(b"first")


@step("empty-batch")
def empty_batch(bench: Bench, _: Any) -> None:
    """A batch without rows is accepted, and a run without a batch ends without an error."""
    for number, mode in enumerate(modes(bench)):
        with running(bench, target(bench, mode), 2 * number + 1) as plugin:
            if plugin.write(batches(bench)[0].slice(0, 0)):
                raise NotConformant("it rejected a row of a batch without rows")
            plugin.finish(b"")
        with running(bench, target(bench, mode), 2 * number + 2) as plugin:
            plugin.finish(b"")


@step("idempotent")
def idempotent(bench: Bench, arguments: dict[str, Any]) -> None:
    """`flush`, `finish` and `abort` may be called again."""
    for number, mode in enumerate(modes(bench)):
        with running(bench, target(bench, mode), number + 1) as plugin:
            plugin.write(batches(bench)[0])
            for name in arguments["calls"]:
                for _ in range(2):
                    getattr(plugin, name)(*(() if name == "abort" else (b"again",)))
            if arguments["calls"][-1] == "flush":
                plugin.finish(b"again")


@step("abort-after-finish")
def abort_after_finish(bench: Bench, _: Any) -> None:
    """`abort` after `finish` does nothing: the token stays."""
    require(bench, "keep-token")
    with running(bench, target(bench), 1) as plugin:
        plugin.write(batches(bench)[0])
        plugin.finish(b"kept")
        plugin.abort()
    _check_token(bench, 2, b"kept", "`abort` after `finish`")


@step("token")
def token(bench: Bench, arguments: dict[str, Any]) -> None:
    """A token that was kept comes back from `open`; one of a run that was aborted does not.

    `after` is what the run does at its end: `finish`; `flush`, which keeps it where the answer was true; or `abort`.
    """
    require(bench, "keep-token")
    with running(bench, target(bench), 1) as plugin:
        plugin.write(batches(bench)[0])
        plugin.finish(b"before")
    safe = True
    with running(bench, target(bench), 2) as plugin:
        plugin.write(batches(bench)[0])
        match arguments["after"]:
            case "finish":
                plugin.finish(b"now")
            case "flush-after-finish":
                plugin.finish(b"now")
                plugin.flush(b"later")
            case "flush":
                safe = plugin.flush(b"now")
            case "abort":
                safe = False
                plugin.abort()
    if arguments["after"] == "flush":
        # As after a crash: nobody ended the run.
        bench.leave()
    _check_token(bench, 3, b"now" if safe else b"before", f"`{arguments['after']}`")


@step("token-bytes")
def token_bytes(bench: Bench, _: Any) -> None:
    """A token is bytes: those that are no text, and many, come back as they are."""
    require(bench, "keep-token")
    for number, token in enumerate((b"\x00\xff\xfe", bytes(range(256)) * 40)):
        with running(bench, target(bench), 2 * number + 1) as plugin:
            plugin.write(batches(bench)[0])
            plugin.finish(token)
        _check_token(bench, 2 * number + 2, token, "`finish`")


@step("pipelines-apart")
def pipelines_apart(bench: Bench, _: Any) -> None:
    """A run shuts out those of its own pipeline alone."""
    require(bench, "shut-out")
    runs = []
    for pipeline, generation in (("one", 7), ("two", 1)):
        plugin = bench.make()
        try:
            plugin.open(target(bench), pipeline=pipeline, run="r", generation=generation)
        except PluginError as error:
            raise NotConformant(f"a run of another pipeline keeps one from its beginning: {error.message}") from error
        runs.append(plugin)
    for plugin in runs:
        plugin.write(batches(bench)[0])
        plugin.finish(b"done")


@step("tokens-apart")
def tokens_apart(bench: Bench, _: Any) -> None:
    """Each pipeline has a token of its own."""
    require(bench, "keep-token")
    for number, pipeline in enumerate(("one", "two")):
        bench.plugin.open(target(bench), pipeline=pipeline, run="r", generation=number + 1)
        bench.plugin.finish(pipeline.encode())
    found = bench.make().open(target(bench), pipeline="one", run="again", generation=9)
    if found != b"one":
        raise NotConformant(f"pipeline `one` kept the token b'one', and got {found!r}")


def require(bench: Bench, *abilities: str) -> None:
    """Let the case apply only to a destination that has some abilities, and whose rows last."""
    found = bench.plugin.abilities()
    for ability in abilities:
        if ability not in found:
            raise NotTested(f"the destination has not the ability `{ability}`")
    if not found & {"append", "merge"}:
        raise NotTested("the destination writes in no mode whose rows last")


def _check_token(bench: Bench, generation: int, due: bytes, after: str) -> None:
    plugin = bench.make()
    found = plugin.open(target(bench), pipeline="conformance", run=f"run-{generation}", generation=generation)
    plugin.abort()
    if found != due:
        raise NotConformant(f"after {after}, `open` returned the token {found!r}, and should {due!r}")


@step("shut-out")
def shut_out(bench: Bench, arguments: dict[str, Any]) -> None:
    """A run that was shut out makes nothing safe, and an older run cannot begin."""
    require(bench, "shut-out")
    old = bench.make()
    old.open(target(bench), pipeline="conformance", run="old", generation=1)
    old.write(batches(bench)[0])
    newer = bench.make()
    newer.open(target(bench), pipeline="conformance", run="new", generation=2)
    calls: dict[str, Callable[[], Any]] = {
        "flush": lambda: old.flush(b"old"),
        "finish": lambda: old.finish(b"old"),
        "open": lambda: bench.make().open(target(bench), pipeline="conformance", run="older", generation=1),
        "open-equal": lambda: bench.make().open(target(bench), pipeline="conformance", run="other", generation=2),
    }
    if arguments.get("newer") == "aborted":
        newer.abort()
    expect_error(calls[arguments["call"]], ["superseded"], f"`{arguments['call']}` of a run that was shut out")
    old.abort()
    if arguments.get("newer") != "aborted":
        newer.finish(b"new")


@step("reopened")
def reopened(bench: Bench, _: Any) -> None:
    """A run may be opened again under its name, as after a trap."""
    require(bench, "shut-out")
    bench.plugin.open(target(bench), pipeline="conformance", run="same", generation=3)
    bench.leave()
    with running(bench, target(bench), 3, run="same") as plugin:
        plugin.write(batches(bench)[0])
        plugin.finish(b"again")


@step("replace-flush")
def replace_flush(bench: Bench, _: Any) -> None:
    """Rows that replace others are safe with `finish` only."""
    if "replace" not in modes(bench):
        raise NotTested("the destination has not the ability `replace`")
    with running(bench, target(bench, "replace"), 1) as plugin:
        plugin.write(batches(bench)[0])
        if plugin.flush(b"early"):
            raise NotConformant("`flush` says that rows are safe that are to replace others")
        plugin.finish(b"late")


@step("plan")
def plan(bench: Bench, _: Any) -> None:
    """`plan` changes nothing: it answers the same again, and a run after it is not affected."""
    for mode in modes(bench):
        first = bench.plugin.plan(target(bench, mode))
        if bench.plugin.plan(target(bench, mode)) != first or bench.make().plan(target(bench, mode)) != first:
            raise NotConformant(f"in the mode `{mode}`, `plan` says something else the second time")


@step("rejected")
def rejected(bench: Bench, _: Any) -> None:
    """Rejected rows are named once, in order, with a reason."""
    for number, mode in enumerate(modes(bench)):
        with running(bench, target(bench, mode), number + 1) as plugin:
            for batch in batches(bench):
                for each in plugin.write(batch):
                    if not each.reason:
                        raise NotConformant(f"row {each.row} is rejected without a reason")
                    if each.column is not None and each.column not in batch.schema.names:
                        raise NotConformant(
                            f"row {each.row} is rejected for column {each.column!r}, which is not there"
                        )
            plugin.finish(b"")


@step("written")
def written(bench: Bench, arguments: dict[str, Any]) -> None:
    """Batches are taken or rejected, row by row, or refused; each has a run of its own."""
    mode = "append" if "append" in modes(bench) else modes(bench)[0]
    for batch in bench[arguments["of"]]:
        generation = bench.values["generation"] = bench.values.get("generation", 0) + 1
        try:
            with running(bench, target(bench, mode, batch.schema), generation) as plugin:
                plugin.write(batch)
                plugin.finish(b"")
        except PluginError as error:
            if error.error.case not in ("invalid-input", "data", "unsupported"):
                raise


@step("nulls")
def nulls(bench: Bench, _: Any) -> None:
    """Rows of nulls are accepted or rejected; they are never a fault."""
    rows = bench.subject.rows
    schema = pa.schema([field.with_nullable(True) for field in rows.schema])
    empty = pa.RecordBatch.from_arrays([pa.nulls(3, field.type) for field in schema], schema=schema)
    with running(bench, target(bench, "append" if "append" in modes(bench) else modes(bench)[0], schema), 1) as plugin:
        plugin.write(empty)
        plugin.finish(b"")
