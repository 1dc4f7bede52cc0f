"""How fast do bytes go into a plugin and back?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import extism
import numpy as np
import pytest
import wasmtime
from wasmtime import component as wc

from benchkit.results import Contest
from dataflare.engine.engine import Engine
from dataflare.limits import Limits

TRIPS = "bench:echo/trips"
SIZE = 8_000_000
SMALL = 65_536


@pytest.mark.parametrize("timed", [True, False], ids=["timed", "trusted"])
@pytest.mark.parametrize(
    ("name", "function", "least"),
    [("bench-echo", "echo-words", 5.0), ("echo-javascript", "echo-words", 1.2), ("echo-python", "echo-octets", 1.2)],
    ids=["rust", "javascript", "python"],
)
def bench_echo(
    contest: Contest,
    engine: Engine,
    guest: Callable[[str], bytes],
    extism_plugin: extism.Plugin,
    name: str,
    function: str,
    least: float,
    timed: bool,
) -> None:
    """8 MB there and back, by a plugin whose calls can be ended, and by a trusted one."""
    shape = {"echo-words": "list<u64>", "echo-octets": "list<u8>"}[function]
    how = "" if timed else ", trusted: no limit of time"
    contest.ask(
        f"8 MB echoed as {shape} by {name}{how}, against Extism's echo of bytes by a Rust guest", sizes="8,000,000 B"
    )
    data = np.random.default_rng(1).integers(0, 2**64, SIZE // 8, np.uint64)
    octets = data.tobytes()
    sent = data if function == "echo-words" else octets
    limits = Limits() if timed else Limits(call_timeout_s=None)
    with engine.load(guest(name), name=name, timed=timed).instantiate({}, limits=limits) as instance:
        assert bytes(instance.call(TRIPS, function, sent)) == octets
        assert extism_plugin.call("echo", octets) == octets
        contest.run(
            {
                "ours": lambda: instance.call(TRIPS, function, sent),
                "extism": lambda: extism_plugin.call("echo", octets),
            },
            rounds=30,
        )
    row = f"8 MB echo, {name}{how}"
    contest.rate(row, "ours", amount=SIZE / 1e6, unit="MB/s")
    contest.speedup(f"{row}, over Extism", "ours", over="extism", at_least=least, limited_by=LIMITS[name])


COPIES = "two copies of the bytes, into and out of the plugin's memory, and room for what comes out"
LIMITS = {
    "bench-echo": COPIES,
    "echo-javascript": f"the guest, which copies them between its heap and what it is given; {COPIES}",
    "echo-python": f"the guest, which makes an object of the bytes and copies them; {COPIES}",
}


def bench_wasmtime_call(contest: Contest, engine: Engine, guest: Callable[[str], bytes]) -> None:
    """Bytes through wasmtime-py's own calls."""
    contest.ask("64 KiB echoed as list<u8>, against wasmtime-py's own Func.__call__", sizes="65,536 B, Rust guest")
    data = np.random.default_rng(1).bytes(SMALL)
    plain = PlainCall(guest("bench-echo"), "echo-octets")
    with engine.load(guest("bench-echo"), name="bench-echo").instantiate({}) as instance:
        assert instance.call(TRIPS, "echo-octets", data) == bytes(plain(data)) == data
        contest.run(
            {
                "ours": lambda: instance.call(TRIPS, "echo-octets", data),
                "wasmtime-py": lambda: plain(data),
            },
            rounds=10,
            repeats={"ours": 50},
            warmups=1,
        )
    contest.rate("64 KiB echo as list<u8>, wasmtime-py", "wasmtime-py", amount=SMALL / 1e6, unit="MB/s")
    contest.speedup("64 KiB echo as list<u8>, over wasmtime-py", "ours", over="wasmtime-py")


class PlainCall:
    """One function of the echo guest, called as wasmtime-py has it."""

    def __init__(self, binary: bytes, function: str) -> None:
        engine = wasmtime.Engine()
        self._store = wasmtime.Store(engine)
        compiled = wc.Component(engine, binary)
        with wc.Linker(engine) as linker:
            instance = linker.instantiate(self._store, compiled)
        interface = instance.get_export_index(self._store, TRIPS)
        index = instance.get_export_index(self._store, function, interface)
        found = instance.get_func(self._store, index)
        assert found is not None
        self._function = found

    def __call__(self, value: Any) -> Any:
        result = self._function(self._store, value)
        self._function.post_return(self._store)
        return result
