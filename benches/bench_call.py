"""What does one call with a small record cost?"""

from __future__ import annotations

import json
from collections.abc import Callable

import extism

from benchkit.results import Contest
from dataflare.engine.engine import Engine
from dataflare.runtime.host import Host
from dataflare.runtime.processor import Processor

CALLS = 2_000
# By parts of a call of 16.5 us, by processor time.
LIMITED_BY = (
    "8 us are the guest's own; 0.45 the four system calls by which wasmtime's handlers of signals stay in place, 0.4"
    " ctypes, 0.9 limits of time and nesting, 1.3 reading and writing values, 1.4 the pool of instances, the rest other"
    " Python around the call. By processor time it is 0.39 to 0.4 of Extism's in four runs; the wall clock's figures"
    " vary with what else the machine does"
)


def small_record() -> str:
    """A JSON object of 1 KB."""
    record = {f"field_{number:02}": f"value {number * 7919 % 10007:05} of this field" for number in range(24)}
    text = json.dumps({"distance": 1400, "air_time": 227.0, "tailnum": "N14228", **record})
    return text[:-1] + f', "rest": "{"x" * (1024 - len(text) - 12)}"}}'


def bench_small_record(
    contest: Contest, host: Host, guest: Callable[[str], bytes], extism_plugin: extism.Plugin
) -> None:
    """One record of 1 KB through the same code in both."""
    record = small_record()
    contest.ask("One JSON record of 1 KB through the same serde code, against Extism", sizes=f"{len(record)} B a call")
    with host.load(guest("bench-records"), name="records") as plugin:
        assert isinstance(plugin, Processor)
        assert plugin.process(record) == extism_plugin.call("process", record).decode()
        contest.run(
            {
                "ours": lambda: plugin.process(record),
                "extism": lambda: extism_plugin.call("process", record).decode(),
            },
            rounds=20,
            repeats={"ours": CALLS, "extism": CALLS},
        )
    contest.time("a call with a 1 KB record", "ours", unit="us")
    contest.cost(
        "a call with a 1 KB record, of Extism's time", "ours", over="extism", at_most=0.4, limited_by=LIMITED_BY
    )


def bench_call_overhead(
    contest: Contest, engine: Engine, host: Host, guest: Callable[[str], bytes], extism_plugin: extism.Plugin
) -> None:
    """One record of 1 KB that the guest hands back as it is."""
    record = small_record()
    contest.ask(
        "What a call with a 1 KB record costs beside the guest: the guest hands the record back",
        sizes=f"{len(record)} B a call",
    )
    with (
        host.load(guest("bench-records"), name="records", config={"repeat": 0}) as plugin,
        engine.load(guest("bench-echo"), name="bench-echo").instantiate({}) as instance,
    ):
        assert isinstance(plugin, Processor)
        assert plugin.process(record) == record
        contest.run(
            {
                "ours, Processor.process": lambda: plugin.process(record),
                "ours, Instance.call": lambda: instance.call("bench:echo/trips", "echo-text", record),
                "extism": lambda: extism_plugin.call("echo", record).decode(),
            },
            rounds=20,
            repeats={"ours, Processor.process": CALLS, "ours, Instance.call": CALLS, "extism": CALLS},
        )
    contest.time(
        "a call with a 1 KB record, beside the guest",
        "ours, Processor.process",
        unit="us",
        clock="cpu",
        at_most=15.0,
        limited_by=LIMITED_BY,
    )
    contest.time("a call with a 1 KB text, by the engine alone", "ours, Instance.call", unit="us", clock="cpu")
