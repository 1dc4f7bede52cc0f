"""A host whose process is killed after a `flush`.

The process reads a `DestinationRun` from its standard input, answers with one line of JSON, and waits for its end.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import pyarrow as pa

from dataflare import DataflareError, Grants, Host, Limits, Services, SqliteStateStore, Target
from dataflare.conformance.retrying import Patience, Patient

__all__ = ["DestinationRun", "flush_and_die"]

_END_S: Final = 10.0


@dataclass(frozen=True)
class DestinationRun:
    """A run of a destination in a host of its own, which knows the one before by files alone.

    Args:
        component: As `Subject` has it, like the next four.
        state_file: Where values are kept, so that they outlive the host.
        target: What is written.
        rows: The rows.
        token: The token of the flush.
    """

    component: Path | bytes
    config: Mapping[str, Any]
    grants: Grants
    limits: Limits
    make_host: Callable[..., Host]
    state_file: Path
    target: Target
    rows: pa.RecordBatch
    token: bytes

    @contextmanager
    def opened(self, generation: int) -> Iterator[tuple[Any, bytes | None]]:
        """Begin the run; gives the plugin, and the token that it has kept."""
        with (
            contextlib.closing(SqliteStateStore(self.state_file)) as store,
            self.make_host(services=Services(state_store=store)) as host,
            host.load(self.component, config=self.config, grants=self.grants, limits=self.limits) as loaded,
        ):
            patience = Patience()
            patience.call(loaded.start)
            plugin = Patient(loaded, patience)
            run = f"run-{generation}"
            yield plugin, plugin.open(self.target, pipeline="killed", run=run, generation=generation)


def flush_and_die(run: DestinationRun) -> bool:
    """Write and flush in another process, and kill it; returns whether the flush said that the rows are safe.

    Raises:
        pickle.PicklingError, TypeError, AttributeError: The subject cannot be taken to another process.
        RuntimeError: The process failed; says what it said.
    """
    sent = _written(run)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", f"from {__name__} import main; main()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(sent)
            process.stdin.flush()
            answer = process.stdout.readline()
        finally:
            process.kill()
            process.wait(_END_S)
    said = json.loads(answer or b'{"error": "it ended without an answer"}')
    if "error" in said:
        raise RuntimeError(said["error"])
    return bool(said["safe"])


def _written(run: DestinationRun) -> bytes:
    written = io.BytesIO()
    pickler = pickle.Pickler(written)
    # Grants keep their mappings in this type, which pickle does not know.
    pickler.dispatch_table = {MappingProxyType: lambda proxy: (_unchanging, (dict(proxy),))}
    pickler.dump(run)
    return written.getvalue()


def _unchanging(mapping: dict[Any, Any]) -> Mapping[Any, Any]:
    return MappingProxyType(mapping)


def main() -> None:
    """Write and flush, say what came, and wait."""
    given, answers = sys.stdin.buffer, sys.stdout
    run: DestinationRun = pickle.load(given)
    try:
        with run.opened(1) as (plugin, _):
            plugin.write(run.rows)
            print(json.dumps({"safe": plugin.flush(run.token)}), file=answers, flush=True)
            given.read()  # until it is killed, in the middle of the run
    except DataflareError as error:
        print(json.dumps({"error": error.message}), file=answers, flush=True)
