"""What does flattening gain over bridges?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import extism
import numpy as np
import pytest
import wasmtime

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


TEXTS = 20_000
TEXTS_LIMIT = "a realloc of the plugin's for each text, which both ways must ask"
TEXTS_WAT = """(component
  (core module $m
    (memory (export "memory") 1)
    (global $next (mut i32) (i32.const 64))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (local $at i32) (local $end i32)
      (local.set $at (i32.and (i32.add (global.get $next) (i32.const 7)) (i32.const -8)))
      (local.set $end (i32.add (local.get $at) (local.get 3)))
      (global.set $next (local.get $end))
      (if (i32.gt_u (local.get $end) (i32.mul (memory.size) (i32.const 65536)))
        (then (drop (memory.grow (i32.const 16)))))
      (local.get $at))
    (func (export "count") (param i32 i32) (result i32) (global.set $next (i32.const 64)) (local.get 1)))
  (core instance $i (instantiate $m))
  (func (export "count") (param "texts" (list string)) (result u32)
    (canon lift (core func $i "count") (memory (core memory $i "memory")) (realloc (core func $i "realloc")))))"""


def bench_texts(contest: Contest, engine: Engine, bridge_engine: Engine) -> None:
    """Many small texts into a plugin, which counts them."""
    contest.ask(f"{TEXTS:,} texts into a plugin: flattened, and with bridges", sizes=f"{TEXTS:,} texts of 8 to 12 B")
    texts = [f"text {number * 7919 % 1_000_003}" for number in range(TEXTS)]
    binary = bytes(wasmtime.wat2wasm(TEXTS_WAT))
    flat, bridged = engine.load(binary, name="texts"), bridge_engine.load(binary, name="texts")
    assert flat.flattened and not bridged.flattened
    with flat.instantiate({}) as one, bridged.instantiate({}) as other:
        assert one.call("", "count", texts) == other.call("", "count", texts) == TEXTS
        contest.run(
            {"flattened": lambda: one.call("", "count", texts), "bridges": lambda: other.call("", "count", texts)},
            rounds=30,
        )
    contest.time(f"{TEXTS:,} texts into a plugin", "flattened", unit="ms")
    contest.cost(
        f"{TEXTS:,} texts into a plugin, flattened, of the time of bridges",
        "flattened",
        over="bridges",
        at_most=1.0,
        limited_by=TEXTS_LIMIT,
    )
