"""Attacks on what the host keeps and does for a plugin, beside the plugin's own memory."""

from __future__ import annotations

import os
import time
from functools import cache
from typing import Any

import pyarrow as pa

from arena import MIB, Arena, Mutation, answers, attack, bystander
from attacks_limits import bomb, within
from dataflare.budgets import HostBudget
from dataflare.capabilities import directory_files
from dataflare.engine.abi.types import ResultT, VariantT, payload_offset
from dataflare.engine.cache import Entry
from dataflare.engine.engine import Engine
from dataflare.errors import AuditFailed, CallTimeout, ConfigError, GuestPanic, HostBytesExceeded, PluginError
from dataflare.grants import DirectoryGrant, Grants
from dataflare.limits import Limits
from dataflare.runtime.host import Host
from dataflare.runtime.processor import Processor
from dataflare.security.audit import FileAuditLog
from dataflare.security.enforcement import MAX_LINES, MAX_OBJECTS, REST_OBJECT
from plugin_wat import ANSWER, DATA, PROCESSOR, RESULT, Hostile, hostile, shape_with

RAW = pa.record_batch({"n": pa.array(range(MIB // 8))})
"""A batch of one mebibyte."""


@cache
def hoarder() -> Hostile:
    """A plugin that has the host keep things, and never lets go of any."""
    stream = bomb()
    forever = "(loop $x {} (br $x))"
    times = (
        "(local.set $i (i32.const {})) (loop $x {} (br_if $x (local.tee $i (i32.sub (local.get $i) (i32.const 1)))))"
    )
    from_arrow = f"(call $batches#from-arrow (i32.const {DATA}) (i32.const {len(stream)}) (i32.const {RESULT}))"
    return hostile(
        {
            "unpack": forever.format(from_arrow),
            "empty": times.format(20_000, "(drop (call $batches#new-batch (i32.const 1)))"),
            "let-go": times.format(30, f"{from_arrow} (call $drop-0 (i32.load offset=4 (i32.const {RESULT})))"),
            "well": "",
        },
        uses=("batches#from-arrow", "batches#new-batch"),
        data=stream,
    )


@attack("limits")
def unpacking_again_and_again(arena: Arena) -> None:
    """Unpack a small Arrow stream again and again, and keep the batches: each is within the limit of one."""
    made = hoarder()
    plugin = arena.load(made.binary, limits=Limits(memory_bytes=4 * MIB, host_memory_bytes=200 * MIB))
    before = pa.total_allocated_bytes()
    arena.passes_limit(HostBytesExceeded, lambda: plugin.process(made.order("unpack")))
    assert plugin.stats.host_peak_bytes <= 200 * MIB
    assert pa.total_allocated_bytes() - before < MIB, "what the instance had is given back"
    # One that lets go of each may unpack as many as it likes.
    assert plugin.process(made.order("let-go")) is None
    assert 64 * MIB < plugin.stats.host_peak_bytes <= 200 * MIB


@attack("limits")
def crowd_of_empty_batches(arena: Arena) -> None:
    """Make batches that hold nothing, as many as there may be handles."""
    made = hoarder()
    plugin = arena.load(made.binary, limits=Limits(host_memory_bytes=MIB))
    arena.passes_limit(HostBytesExceeded, lambda: plugin.process(made.order("empty")))


@attack("limits")
def batches_that_are_not_given_back(arena: Arena) -> None:
    """Keep each batch that the host hands over, and answer with another one."""
    made = hostile({"nothing": ""}, uses=("batches#new-batch",), batch_result="(call $batches#new-batch (i32.const 1))")
    plugin = arena.load(made.binary, limits=Limits(host_memory_bytes=10 * MIB))

    def hand_over() -> None:
        for start in range(20):
            rows = pa.record_batch({"n": pa.array(range(start, start + MIB // 8))})
            assert plugin.process_batch(rows).num_rows == 1

    arena.passes_limit(HostBytesExceeded, hand_over)
    # Those that are handed on cost nothing, however large they are.
    passing = arena.load(hostile({"nothing": ""}).binary, name="passing", limits=Limits(host_memory_bytes=1000))
    for _ in range(20):
        assert passing.process_batch(RAW).num_rows == RAW.num_rows
    assert passing.stats.host_peak_bytes == 0


@attack("limits")
def texts_that_the_host_writes(arena: Arena) -> None:
    """Have a batch written out as a text that the host then keeps."""
    for function in ("to-arrow", "to-json-lines"):
        made = hostile(
            {"nothing": ""},
            uses=(f"batches#[method]batch.{function}",),
            batch_result=f"(call $batches#method-batch.{function} (local.get 0) (i32.const {RESULT})) (local.get 0)",
        )
        plugin = arena.load(made.binary, name=function, limits=Limits(host_memory_bytes=MIB // 2))
        arena.passes_limit(HostBytesExceeded, lambda plugin=plugin: plugin.process_batch(RAW), plugin=function)


@attack("neighbours")
def batches_that_others_make(arena: Arena) -> None:
    """Have other plugins make batches, and keep them."""
    host = arena.host()
    copying = hostile(
        {"nothing": ""},
        uses=("batches#[method]batch.filter",),
        data=b"\xff" * (MIB // 64),
        batch_result=f"(call $batches#method-batch.filter (local.get 0) (i32.const {DATA}) (i32.const {MIB // 512})"
        f" (i32.const {RESULT})) (i32.load (i32.add (i32.const {RESULT}) (i32.const 4)))",
    )
    arena.load(copying.binary, host, name="copying")
    call = f"(call $plugins#call (i32.const {DATA}) (i32.const 7) (global.get $kept) (i32.const {RESULT}))"
    keeper = hostile(
        {"nothing": ""},
        uses=("plugins#call", "batches#[method]batch.select"),
        data=b"copying",
        extra="(global $kept (mut i32) (i32.const 0)) (global $left (mut i32) (i32.const 4))",
        batch_result="(global.set $kept (local.get 0)) (loop $x "
        + call
        + f" (global.set $kept (i32.load offset=4 (i32.const {RESULT})))"
        + " (global.set $left (i32.sub (global.get $left) (i32.const 1))) (br_if $x (global.get $left)))"
        + " (global.get $kept)",
    )
    plugin = arena.load(
        keeper.binary,
        host,
        grants=Grants(plugins=frozenset({"copying"})),
        limits=Limits(host_memory_bytes=MIB // 2, host_calls=1000),
    )
    arena.passes_limit(HostBytesExceeded, lambda: plugin.process_batch(RAW))


@cache
def talker() -> Hostile:
    """A plugin that answers with long texts."""
    function = shape_with(()).exports[PROCESSOR].funcs["process"].result
    assert isinstance(function, ResultT) and isinstance(function.err, VariantT)
    case = payload_offset(function)
    text = case + payload_offset(function.err)
    long = "(i32.const 0x100000) (i32.const 0x180000)"
    return hostile(
        {
            "fail": f"(i32.store8 (i32.const {ANSWER}) (i32.const 1)) (i32.store8 (i32.const {ANSWER + case})"
            f" (i32.const 9)) (i32.store (i32.const {ANSWER + text}) (i32.const 0x100000)) (i32.store (i32.const"
            f" {ANSWER + text + 4}) (i32.const 0x180000)) (global.set $answer (i32.const {ANSWER}))",
            "log": f"(call $logging#log (i32.const 2) {long} (i32.const 0) (i32.const 0)) unreachable",
            "trap": f"(call ${NAME_OF_A_FUNCTION})",
        },
        uses=("logging#log",),
        extra=f"(func ${NAME_OF_A_FUNCTION} unreachable)",
        bodies={
            "health-check": f"(i32.store8 (i32.const {ANSWER}) (i32.const 0))"
            f" (i32.store (i32.const {ANSWER + 4}) (i32.const 0x100000))"
            f" (i32.store (i32.const {ANSWER + 8}) (i32.const 0x180000)) (i32.const {ANSWER})"
        },
    )


NAME_OF_A_FUNCTION = "f" * 60_000


@attack("limits")
def error_of_great_length(arena: Arena) -> None:
    """Answer with an error that takes the operator a minute to print."""
    made = talker()
    plugin = arena.load(made.binary)
    error = arena.raises(PluginError, lambda: plugin.process(made.order("fail")), says="... (cut)")
    assert len(str(error)) < 5_000 and len(str(error.error.value)) < 5_000
    assert len(plugin.health().message) < 5_000


@attack("limits")
def names_of_great_length(arena: Arena) -> None:
    """Trap in a function with a very long name, after a very long log line."""
    made = talker()
    plugin = arena.load(made.binary)
    for action in ("trap", "log"):
        error = arena.raises(GuestPanic, lambda action=action: plugin.process(made.order(action)))
        assert len(str(error)) < 40_000, len(str(error))
        assert max(map(len, error.backtrace)) < 600 and all(len(line) < 17_000 for line in error.log_lines)


@attack("limits")
def frames_without_end(arena: Arena) -> None:
    """Cause a fault with a backtrace of thousands of frames, each with a very long name."""
    error = GuestPanic("trapped", plugin="p", export="f", backtrace=("f" * 60_000,) * 3_000)
    assert len(error.backtrace) <= 50 and max(map(len, error.backtrace)) < 600


def asker(arena: Arena, host: Host | None = None) -> Processor:
    """A plugin that may hold one secret, and asks for names that it is given, or a thousand times for one."""
    ask = f"(call $secrets#get (local.get $p) (local.get $n) (i32.const {RESULT}))"
    made = hostile(
        {
            "ask": ask,
            "ask-often": f"(local.set $i (i32.const 5000)) (loop $x {ask}"
            " (br_if $x (local.tee $i (i32.sub (local.get $i) (i32.const 1)))))",
            "nothing": "",
        },
        uses=("secrets#get",),
    )
    return arena.load(made.binary, host, grants=Grants(secrets=frozenset({"token"})))


@attack("audit")
def names_that_are_different_each_time(arena: Arena) -> None:
    """Ask for another secret in each call, to fill the disk with the audit log, and the host's memory."""
    plugin = asker(arena)
    for number in range(3 * MAX_OBJECTS):
        plugin.process(f"aname-{number}")
    plugin.close()
    events = arena.events(capability="secrets")
    assert len(events) < MAX_OBJECTS + 20, len(events)
    rest = arena.events(object=f"secrets:{REST_OBJECT}", decision="deny")
    assert rest[-1].count == 2 * MAX_OBJECTS and rest[-1].reason == "so far"


@attack("audit")
def uses_beyond_counting(arena: Arena) -> None:
    """Use one secret thousands of times within a call, of which each use is written by itself."""
    plugin = asker(arena)
    for call in (1, 2):
        plugin.process("btoken")
        assert len(arena.events(capability="secrets", decision="allow")) == call * MAX_LINES
    assert [each.count for each in arena.events(capability="audit")] == [4000, 4000]


@attack("audit")
def disk_that_is_full(arena: Arena) -> None:
    """Fill the disk of the audit log: who uses something is stopped, all others go on."""
    log = FileAuditLog(arena.folder / "audit.jsonl")
    host = arena.host(audit=log)
    plugin = asker(arena, host)
    neighbour = arena.load(bystander().binary, host, name="neighbour")
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, log._descriptor or -1)
    os.close(full)
    arena.raises(AuditFailed, lambda: plugin.process("atoken"), says="No space left on device")
    assert neighbour.process(bystander().order("nothing")) is None and neighbour.stats.faults == 0
    assert plugin.process("c") is None, "the next call, which uses nothing, has a new instance"


@attack("files-in")
def cache_below_a_shared_folder(arena: Arena) -> None:
    """Exchange the folder of compiled code for another one, where others may write in the folder above it."""
    shared = arena.folder / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    arena.raises(ConfigError, lambda: Engine(cache_dir=shared / "mine" / "compiled"), says="which others can write in")


@attack("files-in")
def code_exchanged_after_it_was_checked(arena: Arena) -> None:
    """Exchange compiled code between the look at its file and its use."""
    folder = arena.folder / "compiled"
    with Engine(cache_dir=folder) as engine:
        assert not engine.load(bystander().binary, name="plugin").from_cache
        find = engine._cache.find

        def exchanged(key: str, contents: str) -> Entry | None:
            found = find(key, contents)
            for code in folder.glob("*.cwasm"):
                code.unlink()
                code.write_bytes(b"code of the attacker's")
            return found

        engine._cache.find = exchanged  # type: ignore[method-assign]
        assert engine.load(bystander().binary, name="plugin").from_cache, "the attacker's code was looked at"


@attack("limits")
def list_of_nothing(arena: Arena) -> None:
    """Hand over a list of a million empty texts: small in the plugin, large in the host."""
    fields = "(call $logging#log (i32.const 2) (i32.const 0) (i32.const 0) (i32.const 0x10000) (i32.const 2000000))"
    made = hostile({"log": fields}, uses=("logging#log",), memory_pages=600)
    plugin = arena.load(made.binary, limits=Limits(host_memory_bytes=64 * MIB))
    arena.passes_limit(HostBytesExceeded, lambda: plugin.process(made.order("log")))


@attack("limits")
def time_hidden_in_a_host_function(arena: Arena) -> None:
    """Have the host list a large directory on a slow disk, past the plugin's time."""
    (arena.folder / "many").mkdir()
    for number in range(300):
        (arena.folder / "many" / f"file-{number}").touch()
    made = hostile(
        {"list": f"(call $files#list-entries (local.get $p) (local.get $n) (i32.const {RESULT}))"},
        uses=("files#list-entries",),
    )
    grants = Grants(files={"many": DirectoryGrant(path=arena.folder / "many")})
    plugin = arena.load(made.binary, grants=grants, limits=Limits(call_timeout_s=0.3))
    plugin.start()
    entry = directory_files._entry

    def slowly(*args: Any) -> Any:
        time.sleep(0.02)
        return entry(*args)

    directory_files._entry = slowly
    arena.at_close(lambda: setattr(directory_files, "_entry", entry))
    within(0.3, lambda: arena.passes_limit(CallTimeout, lambda: plugin.process(made.order("list", "many"))))


_make_budget = HostBudget.__init__


def _generous(budget: HostBudget, most_bytes: int | None = None) -> None:
    _make_budget(budget, None if most_bytes is None else 300 * MIB)


def _whole(text: str, most: int = 0) -> str:
    return text


MUTATIONS = [
    Mutation("dataflare.engine.abi.bridge_memory:_ITEM_BYTES", 0, ("list_of_nothing",)),
    Mutation("dataflare.budgets:HostBudget.check_time", answers(None), ("time_hidden_in_a_host_function",)),
    Mutation("dataflare.engine.cache:_problem_of_parent", answers(""), ("cache_below_a_shared_folder",)),
    Mutation(
        "dataflare.engine.cache:Entry.path",
        property(lambda entry: entry.code.name),
        ("code_exchanged_after_it_was_checked",),
    ),
    Mutation("dataflare.security.enforcement:MAX_OBJECTS", 10**6, ("names_that_are_different_each_time",)),
    Mutation("dataflare.security.enforcement:MAX_LINES", 10**6, ("uses_beyond_counting",)),
    Mutation("dataflare.security.audit:FileAuditLog.record", answers(None), ("disk_that_is_full",)),
    Mutation("dataflare.runtime.plugin_errors:cut", _whole, ("error_of_great_length",)),
    Mutation("dataflare.texts:FRAME_CHARACTERS", 2**20, ("names_of_great_length", "names_without_end_in_a_trap")),
    Mutation("dataflare.errors:cut_frames", tuple, ("frames_without_end",)),
    Mutation(
        "dataflare.budgets:HostBudget.__init__",
        _generous,
        ("unpacking_again_and_again", "texts_that_the_host_writes", "batches_that_others_make"),
    ),
    Mutation("dataflare.data.charges:_own", answers(None), ("crowd_of_empty_batches",)),
    Mutation("dataflare.engine.instance:Instance._charge_kept", answers(None), ("batches_that_are_not_given_back",)),
    Mutation("dataflare.data.charges:BatchMemory.returned", lambda memory, *_: memory, ("batches_that_others_make",)),
    Mutation("dataflare.data.charges:Loan.keep", answers(None), ("batches_that_are_not_given_back",)),
]
