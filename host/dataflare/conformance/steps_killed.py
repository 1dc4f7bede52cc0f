"""The step that kills a host: what a destination said to be safe is there for the next host."""

from __future__ import annotations

import functools
import pickle
from typing import Any, Final

import pyarrow as pa

from dataflare import Host
from dataflare.conformance.killed_host import DestinationRun, flush_and_die
from dataflare.conformance.samples import halves, plain_texts
from dataflare.conformance.steps import Bench, NotConformant, NotTested, step
from dataflare.conformance.steps_destination import modes, target
from dataflare.conformance.steps_files import require_plain, texts_in_files
from dataflare.conformance.values import as_table

__all__: list[str] = []

_TOKEN: Final = b"killed"


@step("killed")
def killed(bench: Bench, _: Any) -> None:
    """After a `flush` that said true, and SIGKILL to its host, another host finds the token, and the rows."""
    first, second = halves(as_table(bench["sample"]))
    due = plain_texts(second) - plain_texts(first)
    plain, looked, flushed = bool(due) and _is_plain(bench, first), False, False
    for mode in modes(bench):
        if mode == "replace":
            continue  # such rows become safe with `finish`
        bench.about = f"mode `{mode}`"
        subject = bench.subject
        run = DestinationRun(
            subject.component,
            subject.config,
            bench.work.grants,
            subject.limits,
            subject.make_host or functools.partial(Host, cache_dir=subject.cache_dir),
            bench.work.folder / f"state-{mode}.sqlite",
            target(bench, mode),
            second.to_batches()[0],
            _TOKEN,
        )
        try:
            safe = flush_and_die(run)
        except (pickle.PicklingError, TypeError, AttributeError) as error:
            raise NotTested(f"the host cannot be made in another process: {error}") from error
        except RuntimeError as error:
            raise NotConformant(f"in a process of its own, {bench.about}: {error}") from error
        if not safe:
            continue
        flushed = True
        with run.opened(2) as (plugin, token):
            plugin.abort()
        if "keep-token" in bench.plugin.abilities():
            looked = True
            if token != _TOKEN:
                raise NotConformant(
                    f"{bench.about}: after a kill, `open` returned the token {token!r}, and should {_TOKEN!r}"
                )
        if plain:
            looked = True
            if lost := due - texts_in_files(bench, due):
                raise NotConformant(f"{bench.about}: after a kill, {sorted(lost)[:3]} are in no file")
    if not flushed:
        raise NotTested("the destination keeps its rows until `finish`")
    if not looked:
        raise NotTested("nothing that a flush said to be safe can be looked at: no token, and no plain texts in files")


def _is_plain(bench: Bench, rows: pa.Table) -> bool:
    try:
        require_plain(bench, rows.to_batches()[0])
    except NotTested:
        return False
    return True
