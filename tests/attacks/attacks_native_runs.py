"""Attacks of a plugin that `dataflare dev` runs natively in Node, through the pipe over which it calls the host."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final
from unittest import mock

import pyarrow as pa

from arena import Arena, Mutation, answers, attack
from dataflare.authoring import node_run
from dataflare.authoring.node_run import _NodeInstance
from dataflare.errors import GuestPanic
from dataflare.limits import Limits
from dataflare.toolchain.manifest_file import PluginFile
from dataflare.wit import model as wit

LOG: Final = ("dataflare:host/logging@1.0.0", "log")
BATCHES: Final = "dataflare:data/batches@1.0.0"
NUMBER_OF_ROWS: Final = "[method]batch.num-rows"
READY: Final = {"ready": True}
NOT_MESSAGES: Final = (
    *(5, None, [], {}, "call", float("nan"), READY),
    *({"call": ["x"], "args": []}, {"call": ["nope", "x"], "args": []}, {"call": [[], {}], "args": []}),
    *({"call": list(LOG)}, {"call": list(LOG), "args": 5}, {"drop": [1]}, {"drop": {}}, {"ok": 1, "err": 1}),
    *({"trap": 5, "stack": ""}, {"trap": "x"}, {"err": {"tag": [1]}}, {"ok": "\ud800"}),
    # What the plugin did not ask for.
    {"call": ["dataflare:host/secrets@1.0.0", "get"], "args": ["x"]},
)
NOT_VALUES: Final = (
    *(None, 5, "x", True, [], {}, 10**400, "\ud800", [1], ["x"], {"tag": [1]}, {"tag": "x", "val": {}}),
    *({"$": kind, "v": value} for kind in ("int", "float") for value in (None, "x", [], "9" * 5000)),
    *({"$": kind, "v": value} for kind in ("Float64Array", "Odd") for value in (None, 5, "?", "AA==")),
    *({"$": "handle", "v": value} for value in (None, [], "1", 10**30)),
    *({"$": "int"}, {"$": "float"}, {"$": []}, {"$": "handle"}),
)
"""In place of a level, of a text and of a batch: none of them is one, or is what a host may refuse."""


@contextmanager
def _in_node(said: Sequence[Any]) -> Iterator[tuple[_NodeInstance, list[Any]]]:
    """An instance whose Node says these messages, one after the other, and what it is told."""
    told: list[Any] = []
    messages = iter([READY, *said])
    # As they come out of the pipe.
    node = mock.Mock(hear=lambda _: json.loads(json.dumps(next(messages))))
    node.ask = lambda message, patience: (told.append(message), node.hear(patience))[1]
    host = {LOG[0]: {LOG[1]: answers(None)}, BATCHES: {NUMBER_OF_ROWS: lambda batch: batch.num_rows}}
    file = PluginFile(name="hostile", version="1.0.0", kind="processor", language="javascript")
    with mock.patch.object(node_run, "Conversation", answers(node)):
        here = Path()
        made = _NodeInstance(file, here, here, host, Limits(), tuple, answers(None))
    with closing(made):
        yield made, told


def _process(instance: _NodeInstance) -> Any:
    return instance.call("dataflare:plugin/processor@1.0.0", "process", "{}")


@attack("files-in")
def messages_of_a_native_run_that_mean_nothing(arena: Arena) -> None:
    """Write messages to the host's pipe that have no meaning, or call what the plugin did not ask for."""
    for message in NOT_MESSAGES:
        with _in_node([message]) as (instance, _):
            arena.raises(GuestPanic, lambda instance=instance: _process(instance))


@attack("files-in")
def values_of_a_native_run_that_are_none(arena: Arena) -> None:
    """Give the host's functions values over the pipe that JSON has, and no type of the interface."""
    good = ["info", "text", []]
    calls = [[*good[:at], value, *good[at + 1 :]] for at in range(3) for value in NOT_VALUES if value not in good]
    calls.remove(["info", "x", []])
    said = [{"call": list(LOG), "args": each} for each in calls]
    said += [{"call": [BATCHES, NUMBER_OF_ROWS], "args": each} for each in ([], *([value] for value in NOT_VALUES))]
    with _in_node([*said, {"trap": "all were refused", "stack": ""}]) as (instance, told):
        arena.raises(GuestPanic, lambda: _process(instance), says="all were refused")
    assert all("wrong" in each for each in told[1:]), "it was given to the host"


@attack("memory")
def handle_of_another_kind_in_a_native_run(arena: Arena) -> None:
    """Give the number of a file to a function that takes a batch, over the pipe of a native run."""
    with _in_node([{"call": [BATCHES, NUMBER_OF_ROWS], "args": [{"$": "handle", "v": 1}]}, {"ok": "{}"}]) as found:
        instance, told = found
        given = wit.Named("reader", "dataflare:host/files@1.0.0")
        instance._values.to_node(pa.record_batch({"n": [1]}), given)
        _process(instance)
    assert "not a batch that is still open" in told[1].get("wrong", ""), "it was taken for a batch"


def _any_handle(values: Any, value: Any, *_: Any) -> Any:
    return values.handles[value["v"]]


NODE_VALUES: Final = "dataflare.authoring.node_values"
MUTATIONS: Final = [
    Mutation("dataflare.authoring.node_run:_is_one_of", answers(True), ("messages_of_a_native_run_that_mean_nothing",)),
    Mutation(f"{NODE_VALUES}:_require", answers(None), ("values_of_a_native_run_that_are_none",)),
    Mutation(f"{NODE_VALUES}:NodeValues._handle_from_node", _any_handle, ("handle_of_another_kind_in_a_native_run",)),
]
