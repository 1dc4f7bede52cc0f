"""Whole conversations with a hostile worker: what the host makes of messages in any order, at any moment."""

from __future__ import annotations

import json
import os
import random
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import astuple
from typing import Any, Final

import orjson
import pyarrow as pa

from cases import Target
from dataflare.data import batches
from dataflare.data.batches import Batch
from dataflare.data.ipc import encode_stream
from dataflare.engine.abi.explain import explain
from dataflare.engine.abi.types import (
    BorrowT,
    ComponentType,
    EnumT,
    FlagsT,
    FuncT,
    Interface,
    ListT,
    OptionT,
    OwnT,
    PrimT,
    RecordT,
    Resource,
    ResultT,
    TupleT,
    Type,
    VariantT,
)
from dataflare.errors import DataflareError
from dataflare.limits import Limits
from dataflare.runtime.isolation import instance as instances
from dataflare.runtime.isolation import spawn
from dataflare.runtime.isolation.instance import IsolatedInstance
from dataflare.runtime.isolation.wire import BrokenWire, Wire
from dataflare.runtime.isolation.worker_task import Task
from dataflare.values import Err, Ok, Variant

SIZE: Final = 2**20
MOST: Final = 2**20
GIVES: Final = "test:worker/gives@1.0.0"
TAKES: Final = "test:worker/takes@1.0.0"
FIGURES: Final = [0] * 9
_U8, _U32, _S64, _F64, _BOOL, _TEXT = map(PrimT, ("u8", "u32", "s64", "f64", "bool", "string"))
_BATCH, _READER = OwnT(0), OwnT(1)
_PROBLEM: Final = VariantT((("denied", None), ("other", _TEXT)))
_RECORD: Final = RecordT((("name", _TEXT), ("numbers", ListT(_F64)), ("flags", FlagsT(("a", "b")))))
SHAPE: Final = ComponentType(
    imports={
        GIVES: Interface(
            resources={"reader": 1},
            funcs={
                "text": FuncT((("name", _TEXT),), ResultT(_TEXT, _PROBLEM)),
                "open": FuncT((("name", _TEXT), ("mode", EnumT(("r", "w")))), ResultT(_READER, _PROBLEM)),
                "[method]reader.read": FuncT((("self", BorrowT(1)), ("most", _U32)), ResultT(ListT(_U8), _PROBLEM)),
                "keep": FuncT((("reader", _READER),), None),
                "send": FuncT((("pairs", ListT(TupleT((_TEXT, ListT(_U8))))), ("rest", OptionT(_S64))), _BOOL),
                "pass": FuncT((("rows", _BATCH),), ResultT(_BATCH, _TEXT)),
            },
        )
    },
    exports={
        TAKES: Interface(
            funcs={
                "nothing": FuncT((), None),
                "record": FuncT((("text", _TEXT),), ResultT(OptionT(_TEXT), _PROBLEM)),
                "rows": FuncT((("rows", _BATCH),), ResultT(_BATCH, _TEXT)),
                "many": FuncT((("x", _S64),), ListT(_RECORD)),
                "numbers": FuncT(
                    (("x", ListT(_F64)),), TupleT((ListT(_F64), ListT(_BOOL), _U8, OptionT(OptionT(_U8))))
                ),
                "choice": FuncT((("x", EnumT(("a", "b"))),), VariantT((("a", ListT(ListT(_TEXT))), ("b", None)))),
            }
        )
    },
    resources=[
        Resource("batch", batches.INTERFACE, True),
        Resource("reader", GIVES, True),
    ],
)
_ROWS: Final = pa.record_batch({"n": [1, None, 3], "s": ["a", "b", None]})
_STREAM: Final = bytes(encode_stream(_ROWS))
_ARGUMENTS: Final[dict[str, Callable[[], tuple[Any, ...]]]] = {
    "nothing": lambda: (),
    "record": lambda: ("x" * 2000,),
    "rows": lambda: (Batch(_ROWS),),
    "many": lambda: (-5,),
    "numbers": lambda: ([1.0, 2.0],),
    "choice": lambda: ("b",),
}
_FUNCTIONS: Final = sorted(_ARGUMENTS)


class _Reader:
    def close_handle(self) -> None:
        pass


def _functions() -> dict[str, dict[str, Callable[..., Any]]]:
    def text(name: bytes) -> Any:
        return Ok(b"secret") if name == b"token" else Err(Variant("denied"))

    text.text_as_bytes = True  # type: ignore[attr-defined]  # as functions of the host say it
    made: dict[str, Callable[..., Any]] = {
        "text": text,
        "open": lambda name, mode: Ok(_Reader()),
        "[method]reader.read": lambda reader, most: Ok(bytes(min(most, 70_000))),
        "keep": lambda reader: None,
        "send": lambda pairs, rest: rest is None,
        "pass": lambda rows: Ok(Batch(rows.arrow)),
    }
    return {GIVES: made}


class _Process:
    """In place of a process, one that dies when it is told to."""

    pid = 2**30

    def __init__(self) -> None:
        self.ended = False

    def wait(self, timeout_s: float) -> int:
        self.ended = True
        return -9

    def end(self) -> None:
        self.ended = True


class _Worker:
    """Says what a script says."""

    def __init__(self, script: Sequence[Any]) -> None:
        self._script = script
        self.process = _Process()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def start(self, entry: str, descriptors: Sequence[int]) -> Any:
        """As `spawn.start`."""
        connection, self._memory = map(os.dup, descriptors)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, fileno=connection)
        self._wire = Wire(self._socket, self._memory, os.fstat(self._memory).st_size)
        self.thread.start()
        return self.process

    def _run(self) -> None:
        try:
            with suppress(OSError, EOFError, BrokenWire):
                for step in self._script:
                    self._do(*step)
        finally:
            self._wire.close()

    def _do(self, kind: str, *what: Any) -> None:
        match kind:
            case "hear":
                self._wire.receive(deadline=time.monotonic() + 0.2)
            case "say":
                plain, typed, beside = what
                self._wire.send(json.dumps([plain, typed]).encode(), [memoryview(bytes.fromhex(beside))])
            case "raw":
                self._socket.send(bytes.fromhex(what[0]))
            case "write":
                os.pwrite(self._memory, bytes.fromhex(what[1]), what[0])
            case "wait":
                time.sleep(what[0] / 1000)


def _talk(data: bytes) -> None:
    """Start, call and close a plugin whose worker follows a script."""
    calls, script = json.loads(data)
    before = len(os.listdir("/proc/self/fd"))
    worker = _Worker(script)
    start, grace_s = spawn.start, instances._GRACE_S
    spawn.start, instances._GRACE_S = worker.start, 0.05  # type: ignore[assignment, misc]
    limits = Limits(call_timeout_s=0.05, handles=4, host_calls=50, host_memory_bytes=32 * SIZE, output_bytes=SIZE)
    marks = {name: (False, name == "text") for name in SHAPE.imports[GIVES].funcs}
    task = Task(
        name="fuzz",
        flatten=False,
        cache_dir="/nonexistent",
        limits=limits,
        functions={GIVES: marks},
        max_batch_bytes=SIZE,
        data_bytes=0,
        address_bytes=0,
        best_effort=False,
    )
    began = time.monotonic()
    instance = None
    refused: DataflareError | None = None
    try:
        # What a start may take is more, but a script does not wait for it.
        instances._START_S = 0.1  # type: ignore[misc]
        instance = IsolatedInstance(task, b"component", SHAPE, _functions(), tuple, lambda line: None)
        for name in calls:
            func = SHAPE.exports[TAKES].funcs[name]
            value = instance.call(TAKES, name, *_ARGUMENTS[name]())
            if func.result is not None and (wrong := explain(func.result, value, name)) is not None:
                raise AssertionError(f"{name} returned what does not fit: {wrong}")
    except DataflareError as error:
        refused = error
        str(error)
    finally:
        spawn.start, instances._GRACE_S = start, grace_s  # type: ignore[misc]
        if instance is not None:
            instance.close()
            orjson.dumps([2**10 * each for each in astuple(instance.stats)])  # the sum of as many as a pool has
    took_s = time.monotonic() - began
    worker.thread.join(10)
    if not worker.process.ended:
        raise AssertionError("the process was left behind")
    if took_s > 2 + len(calls) * 0.2:
        raise AssertionError(f"the worker held the host up for {took_s:.1f} s")
    if len(os.listdir("/proc/self/fd")) != before:
        raise AssertionError("descriptors were left open")
    if refused is not None:
        raise refused


# Scripts.


def _value(rng: random.Random, ty: Type | None, beside: bytearray) -> Any:
    """A value of a type as the wire has it, most often a right one."""
    if rng.random() < 0.01:
        return _anything(rng)

    def put(data: bytes) -> list[int]:
        at = len(beside)
        beside.extend(data)
        return [at + (rng.random() < 0.02), len(data)]

    match ty:
        case None:
            return None
        case PrimT("string"):
            text = rng.choice(("", "token", "x" * 2000, "\u00e9\0", "a,[{"))
            return text if rng.random() < 0.7 else put(text.encode())
        case PrimT("bool"):
            return rng.random() < 0.5
        case PrimT("f64"):
            return rng.choice((0.5, -1e308, "nan", "inf"))
        case PrimT(name):
            return rng.choice((0, 1, 255, 70_000 if name != "u8" else 7))
        case ListT(PrimT("u8" | "f64" | "bool" as name)):
            size = (5000 if rng.random() < 0.02 else rng.choice((0, 1, 3, 300))) * (8 if name == "f64" else 1)
            return put(bytes(size))
        case ListT():
            return [_value(rng, ty.element, beside) for _ in range(rng.choice((0, 1, 2, 20)))]
        case OptionT():
            return None if rng.random() < 0.4 else [_value(rng, ty.inner, beside)]
        case ResultT():
            index = int(rng.random() < 0.3)
            return [index, _value(rng, (ty.ok, ty.err)[index], beside)]
        case TupleT():
            return [_value(rng, each, beside) for each in ty.items]
        case RecordT():
            return [_value(rng, each, beside) for _, each in ty.fields]
        case VariantT():
            index = rng.randrange(len(ty.cases))
            return [index, _value(rng, ty.cases[index][1], beside)]
        case EnumT(names):
            return rng.randrange(len(names))
        case FlagsT(names):
            return [rng.randrange(len(names))] * rng.randrange(3)
        case OwnT(0) | BorrowT(0):
            stream = bytearray(_STREAM)
            for _ in range(rng.choice((0, 0, 0, 0, 0, 0, 1, 3))):
                stream[rng.randrange(len(stream))] = rng.randrange(256)
            return put(bytes(stream))
        case _:
            return rng.choice((1, 1, 1, 1, 1, 1, 2, 3, 0, -1, 2**63, 2**70))


def _anything(rng: random.Random, depth: int = 0) -> Any:
    choices: tuple[Any, ...] = (None, True, -1, 0, 2**63, 1.5, "", "token", "x" * 300, [], {}, [0, 16], [0, 2**40])
    if depth < 4 and rng.random() < 0.5:
        return [_anything(rng, depth + 1) for _ in range(rng.randrange(4))]
    if rng.random() < 0.01:
        nested: Any = []
        for _ in range(rng.choice((200, 254))):  # as deep as what writes it allows
            nested = [nested]
        return nested
    return rng.choice(choices)


def _said(plain: list[Any], typed: Sequence[Any] = (), beside: bytes = b"") -> list[Any]:
    return ["say", plain, list(typed), beside.hex()]


def _figures(rng: random.Random) -> Any:
    return FIGURES if rng.random() < 0.98 else [rng.choice((0, 1, -1, 2**62, 2**64, True, "x")) for _ in range(9)]


def _answer(rng: random.Random, name: str) -> list[Any]:
    beside = bytearray()
    typed = [_value(rng, SHAPE.exports[TAKES].funcs[name].result, beside)]
    return _said(["result", _figures(rng), rng.random() < 0.95], typed, bytes(beside))


def _question(rng: random.Random) -> list[Any]:
    name = rng.choice(sorted(SHAPE.imports[GIVES].funcs))
    beside = bytearray()
    typed = [_value(rng, ty, beside) for _, ty in SHAPE.imports[GIVES].funcs[name].params]
    interface = GIVES if rng.random() < 0.99 else rng.choice((TAKES, batches.INTERFACE, ""))
    return _said(["host", interface, name], typed, bytes(beside))


def _odd(rng: random.Random) -> list[Any]:
    """A message that may not be due."""
    error = rng.choice(
        ("GuestPanic", "CallTimeout", "LimitExceeded", "UsageError", "ValueTypeError", "PluginError", "x")
    )
    return rng.choice(
        (
            lambda: _said(["confined", _anything(rng) if rng.random() < 0.5 else ["seccomp"]]),
            lambda: _said(["ready", _figures(rng)]),
            lambda: _said(["incomplete", "seccomp", "none"]),
            lambda: _said(["drop", rng.choice((1, 2, 3, -1, True, "1", 2**70))]),
            lambda: _said(["stderr", rng.choice(("line", "\x1b[2J", "x" * 20_000))]),
            lambda: _said(
                [
                    "failed",
                    error,
                    "text",
                    "hint",
                    "export",
                    _anything(rng) or ["frame"],
                    _figures(rng),
                    rng.random() < 0.5,
                ]
            ),
            lambda: _said([_anything(rng) for _ in range(rng.randrange(5))], [_anything(rng)]),
            lambda: ["raw", rng.randbytes(rng.randrange(1, 40)).hex()],
            lambda: ["raw", (2 ** rng.randrange(32)).to_bytes(4, "little").hex() + "00" * 8],
            lambda: ["write", rng.randrange(SIZE), rng.randbytes(64).hex()],
            lambda: ["wait", rng.choice((1, 5, 5, 150))],
            lambda: ["hear"],
            lambda: _answer(rng, rng.choice(_FUNCTIONS)),
            lambda: _question(rng),
        )
    )()


def _make(rng: random.Random, seeds: Sequence[bytes]) -> bytes:
    """A conversation that is right, except for some steps."""
    calls = [rng.choice(_FUNCTIONS) for _ in range(rng.randrange(1, 5))]
    script: list[Any] = [["hear"], _said(["confined", ["seccomp"]]), _said(["ready", FIGURES])]
    for name in calls:
        script.append(["hear"])
        if rng.random() < 0.5:
            script += [_said(["host", GIVES, "open"], ["x", 0]), ["hear"]]
        for _ in range(rng.choice((0, 0, 1, 2, 60 if rng.random() < 0.1 else 3))):
            script += [_question(rng), ["hear"]]
        script.append(_answer(rng, name))
    for _ in range(rng.choice((0, 1, 1, 2, 4))):
        at = rng.randrange(len(script))
        match rng.randrange(4):
            case 0:
                script.insert(at, _odd(rng))
            case 1:
                script[at] = _odd(rng)
            case 2:
                script.insert(at, script[rng.randrange(len(script))])
            case 3:
                del script[at:]
                break
    while len(made := json.dumps([calls, script]).encode()) > MOST:
        script.pop()
    return made


def targets() -> dict[str, Target]:
    """The host's side of whole conversations."""
    return {"conversations": Target([b"[[], []]"], _talk, _make)}
