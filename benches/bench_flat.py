"""What does flattening gain over bridges?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import extism
import numpy as np
import pytest

from benchkit.results import Contest
from dataflare.engine.engine import Engine

TRIPS = "bench:echo/trips"
SIZE = 8_000_000


@pytest.fixture(scope="module")
def bridge_engine(cache_dir: Path) -> Iterator[Engine]:
    """An engine that gives every component bridges."""
    with Engine(cache_dir=cache_dir, flatten=False) as engine:
        yield engine


@pytest.mark.parametrize(
    ("function", "size", "repeats", "least", "over_extism"),
    [
        ("echo-words", SIZE, 1, 1.2, 5.0),
        ("echo-octets", SIZE, 1, 3.0, 4.0),
        ("echo-text", SIZE, 1, 1.0, 3.0),
        ("echo-octets", 1000, 200, 1.0, 2.5),
    ],
    ids=["words", "octets", "text", "small"],
)
def bench_flat(
    contest: Contest,
    engine: Engine,
    bridge_engine: Engine,
    guest: Callable[[str], bytes],
    extism_plugin: extism.Plugin,
    function: str,
    size: int,
    repeats: int,
    least: float,
    over_extism: float,
) -> None:
    """Bytes there and back through a Rust guest, with time limits on, flattened and with bridges, beside Extism."""
    shape = {"echo-words": "list<u64>", "echo-octets": "list<u8>", "echo-text": "string"}[function]
    contest.ask(f"{size:,} bytes echoed as {shape}: flattened, with bridges, Extism", sizes=f"{size:,} B, Rust guest")
    data: Any = np.random.default_rng(1).integers(0, 2**64, size // 8, np.uint64)
    octets = data.tobytes() if function != "echo-text" else b"plain text of 25 letters " * (size // 25)
    sent: Any = data if function == "echo-words" else octets.decode() if function == "echo-text" else octets
    returned: Callable[[Any], bytes] = str.encode if function == "echo-text" else bytes
    flat = engine.load(guest("bench-echo"), name="bench-echo")
    assert flat.flattened
    bridged = bridge_engine.load(guest("bench-echo"), name="bench-echo")
    with flat.instantiate({}) as one, bridged.instantiate({}) as other:
        assert returned(one.call(TRIPS, function, sent)) == returned(other.call(TRIPS, function, sent)) == octets

        def extism_echo() -> Any:
            answer = extism_plugin.call("echo", octets)
            return str(answer, "utf-8") if function == "echo-text" else answer

        contest.run(
            {
                "flattened": lambda: one.call(TRIPS, function, sent),
                "bridges": lambda: other.call(TRIPS, function, sent),
                "extism": extism_echo,
            },
            rounds=30,
            repeats={"flattened": repeats, "bridges": repeats, "extism": repeats},
        )
    row = f"{size:,} B echo as {shape}, flattened"
    contest.speedup(f"{row}, over bridges", "flattened", over="bridges", at_least=least, limited_by=LIMIT)
    contest.speedup(f"{row}, over Extism", "flattened", over="extism", at_least=over_extism, limited_by=LIMIT)


LIMIT = "two copies of the bytes, into and out of the plugin's memory, and room for what comes out"
