"""Guests that misbehave, flattened, with bridges, and through the slow reference: all three must agree.

A case is eight bytes, which seed what is tried. `guest-words` makes a guest for random types that returns random words
for every pointer, length, handle, discriminant and result of `realloc`, and calls it `CALLS` times;
`guest-words-in-place` does so where even the shortest text and list is read and written in place. `guest-handles`
runs random programs over handles (`handle_programs.wat`), most of whose steps are right.
"""

from __future__ import annotations

import contextlib
import random
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final

import wasmtime

from cases import Target
from dataflare.engine import instance as instances
from dataflare.engine.abi import bridge_memory, layout
from dataflare.engine.abi.types import BorrowT, FuncT, OwnT
from dataflare.engine.engine import Engine
from dataflare.engine.flat import movers
from dataflare.engine.reference.instance import instantiate_reference
from dataflare.errors import PluginFault
from dataflare.limits import Limits
from rogue_kit import WORDS, random_type, random_value, random_word, rogue
from wat_kit import API, HOST
from wit_strategies import normal

TESTS: Final = Path(__file__).parents[1]
CALLS: Final = 40
LIMITS: Final = Limits(call_timeout_s=10.0)
_ADDRESSES: Final = 2**46


class Thing:
    """What is behind a handle: known by a number, and counted when it is closed."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.closed = 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Thing) and self.number == other.number

    def __hash__(self) -> int:
        return self.number

    def __repr__(self) -> str:
        return f"Thing({self.number})"

    def close_handle(self) -> None:
        """The plugin dropped its handle."""
        self.closed += 1


@cache
def _engines() -> tuple[Engine, Engine]:
    folder = Path(tempfile.mkdtemp(prefix="dataflare-fuzz-"))
    return Engine(cache_dir=folder / "flat", flatten=True), Engine(cache_dir=folder / "bridges", flatten=False)


def ways(binary: bytes) -> dict[str, Callable[[Any], Any]]:
    """What makes an instance of a component, given host functions, by the name of the way."""
    flat, bridged = (engine.load(binary, name="kit") for engine in _engines())
    assert flat.flattened and not bridged.flattened, "one of each"
    return {
        "flat": lambda host: flat.instantiate(host, limits=LIMITS),
        "bridges": lambda host: bridged.instantiate(host, limits=LIMITS),
        "reference": lambda host: instantiate_reference(binary, host, limits=LIMITS, name="kit"),
    }


def read_words(case: bytes) -> None:
    """Try random words on one guest, in all ways."""
    rng = random.Random(case)
    own, borrow = OwnT(0), BorrowT(0)
    depth = rng.randrange(4)
    params = tuple((f"p{i}", random_type(rng, depth, (own, borrow))) for i in range(rng.choice((1, 1, 2, 9))))
    ty = FuncT(params, random_type(rng, depth, (own,)))
    made = ways(rogue(ty))
    if rng.random() < 0.8:
        del made["reference"]  # slow, and sure to be like bridges
    calls = [case + bytes([i]) for i in range(CALLS)]
    outcomes = {name: _call_each(make, ty, calls) for name, make in made.items()}
    assert all(each == outcomes["bridges"] for each in outcomes.values()), (ty, outcomes)


@cache
def _everything_in_place() -> None:
    """Have the engine of this process, a child's, do with short values what it otherwise does with long ones only."""
    wanted, helpers = f"(i64.const {layout.IN_PLACE_BYTES})", movers._MEMORY_HELPERS
    assert wanted in helpers
    movers._MEMORY_HELPERS = helpers.replace(wanted, "(i64.const 1)")  # type: ignore[misc]
    bridge_memory.IN_PLACE_BYTES = 1  # type: ignore[attr-defined, misc]
    instances._FIND_MEMORY_AFTER_BYTES = -1  # type: ignore[misc]


def read_words_in_place(case: bytes) -> None:
    """Try random words on one guest, in all ways, in place wherever that is possible."""
    _everything_in_place()
    read_words(case)


def _call_each(make: Callable[[Any], Any], ty: FuncT, calls: Sequence[bytes]) -> list[Any]:
    """What each call comes to; the words of each are the same in every way."""
    outcomes: list[Any] = []
    instance: Any = None
    rng = random.Random()
    things: Iterator[int] = iter(())
    heard: list[Any] = []

    def thing() -> Thing:
        return Thing(next(things))

    def served(*args: Any) -> Any:
        heard.append([normal(t, value) for (_, t), value in zip(ty.params, args, strict=True)])
        return random_value(rng, ty.result, thing) if ty.result is not None else None

    for seed in calls:
        if instance is None or not instance.alive:
            if instance is not None:
                instance.close()
            instance = make({HOST: {"f": served}})
        rng.seed(seed)
        things = iter(range(1000, 2000))
        heard.clear()
        with contextlib.suppress(PluginFault):
            for place in range(0, WORDS, 8):
                instance.call(API, "poke", 8 * place, *(random_word(rng) for _ in range(8)))
            rigged = random_word(rng) & 0xFFFF_FFFF
            # Not over the words themselves: what becomes of the padding there is nobody's business.
            rigged += 4096 if rigged < 1024 else 0
            instance.call(API, "rig", rng.choice((0xFFFF_FFFF, 0xFFFF_FFFF, rigged)))
            arguments = [random_value(rng, t, thing) for _, t in ty.params]
        try:
            result = instance.call(API, "f", *arguments)
            outcomes.append(("value", normal(ty.result, result) if ty.result is not None else None, list(heard)))
        except PluginFault:
            outcomes.append(("fault", None, list(heard)))
    instance.close()
    return outcomes


@dataclass
class Programs:
    """One instance of `handle_programs.wat`, and what came of its steps."""

    make: Callable[[Any], Any]
    made: list[Thing] = field(default_factory=list)
    mines: list[Any] = field(default_factory=list)
    outcomes: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        def look(x: Thing) -> int:
            return x.number

        def both(x: Thing, y: Thing) -> int:
            return x.number * 1000 + y.number

        host = {"[constructor]thing": self.thing, "take": look, "look": look, "both": both, "turn": both}
        self.instance = self.make({HOST: {**host, "swap": lambda x: [x[1], x[0]]}})

    def thing(self, number: int) -> Thing:
        """Make an object of the host's."""
        self.made.append(Thing(number))
        return self.made[-1]

    def step(self, name: str, arguments: tuple[Any, ...]) -> Any:
        """Do one step of the host's; numbers stand for what the host has."""
        call, mines = self.instance.call, self.mines
        match name:
            case "drop":
                return self.instance.drop(mines.pop(arguments[0] % len(mines)))
            case "lend-thing":
                return list(call(API, name, self.thing(arguments[0]), arguments[1]))
            case "give-thing":
                return call(API, name, self.thing(arguments[0]))
            case "lend-mine":
                return list(call(API, name, mines[arguments[0] % len(mines)], arguments[1]))
            case "give-mine":
                return call(API, name, mines.pop(arguments[0] % len(mines)))
            case "pair":
                one, other = mines[arguments[0] % len(mines)], mines.pop(arguments[1] % len(mines))
                return call(API, name, one, other)
        result = call(API, name, *arguments)
        match name:
            case "get-mine" | "get-mines":
                mines.extend([result] if name == "get-mine" else result)
                return len(mines)
            case "get-thing" | "get-things":
                return [result] if name == "get-thing" else result
            case _:
                return list(result)

    def ends(self, name: str, arguments: tuple[Any, ...]) -> bool:
        """Do one step, and keep what comes of it; whether it was the last."""
        try:
            self.outcomes.append(self.step(name, arguments))
        except PluginFault as fault:
            self.outcomes.append(type(fault).__name__)
            return True
        return False

    def close(self) -> None:
        """End the instance; how often each object was closed is the last outcome."""
        self.instance.close()
        self.outcomes.append([thing.closed for thing in self.made])


class Plan:
    """Makes steps, most of them right: it keeps count of the handles that the plugin has."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._held: dict[int, str] = {}
        self._mines = 0
        self._free: list[int] = []
        self._count = 0

    def _put(self, kind: str) -> None:
        if self._free:
            handle = self._free.pop()
        else:
            self._count += 1
            handle = self._count
        self._held[handle] = kind

    def _pick(self, kind: str, *, spend: bool) -> int:
        """A handle of a kind, or, one time in fifty, any number."""
        fitting = [handle for handle, each in self._held.items() if each == kind]
        if not fitting or self._rng.random() < 0.02:
            return self._rng.choice((0, 1, 2, 3, self._count + 1, 2**20 - 1, 2**20, 2**28, 2**31, 2**32 - 1))
        handle = self._rng.choice(fitting)
        if spend:
            del self._held[handle]
            self._free.append(handle)
        return handle

    def program(self) -> list[tuple[int, int]]:
        """What the plugin does."""
        rng, steps = self._rng, []
        for _ in range(rng.randrange(7)):
            does = rng.choice((0, 0, 0, 1, 2, 3, 3, 3, 4, 5, 6, 7, 8, 9, 10))
            number = 0
            match does:
                case 0 | 3:
                    self._put("mine" if does == 0 else "thing")
                    number = rng.choice((1, 2, 3, 50, 666 if rng.random() < 0.05 else 4))
                case 1:
                    number = self._pick("mine", spend=False)
                case 2:
                    number = self._pick("mine", spend=True)
                case 4 | 5:
                    number = self._pick("thing", spend=True)
                case 6:
                    number = self._pick("thing", spend=False)
                case 7 | 8:
                    one, other = self._pick("thing", spend=True), self._pick("thing", spend=False)
                    one, other = (other, one) if does == 7 else (one, other)
                    number = one & 0xFFFF | (other & 0xFFFF) << 16
                case 10:
                    one, other = self._pick("thing", spend=True), self._pick("thing", spend=True)
                    number = one & 0xFFFF | (other & 0xFFFF) << 16
                    self._put("thing")
                    self._put("thing")
            steps.append((does, number))
        return steps

    def next(self) -> tuple[str, tuple[Any, ...]]:
        """What the host does."""
        rng = self._rng
        names = ["run"] * 4 + [
            "lend-thing",
            "give-thing",
            "get-thing",
            "get-mine",
            "get-mine",
            "get-things",
            "get-mines",
        ]
        name = rng.choice(names + (["lend-mine", "give-mine", "drop", "pair"] if self._mines else []))
        match name:
            case "run":
                return name, (self.program(),)
            case "lend-thing":
                self._put("lent")
                handle = self._pick("lent", spend=False)
                steps = self.program()
                if rng.random() < 0.95:  # what is not given back ends the call
                    self._held.pop(handle, None)
                    self._free.append(handle)
                    steps.append((4, handle))
                return name, (rng.randrange(50), steps)
            case "give-thing":
                self._put("thing")
                return name, (rng.randrange(50),)
            case "lend-mine":
                return name, (rng.randrange(50), self.program())
            case "give-mine" | "drop":
                self._mines -= 1
                if name == "give-mine":
                    self._put("mine")
                return name, (rng.randrange(50),)
            case "pair":
                self._mines -= 1
                self._put("mine")
                return name, (rng.randrange(50), rng.randrange(50))
            case "get-mine" | "get-thing":
                kind = name.removeprefix("get-")
                self._mines += kind == "mine"
                return name, (self._pick(kind, spend=True),)
            case _:
                kind = name.removeprefix("get-").removesuffix("s")
                handles = [self._pick(kind, spend=True) for _ in range(rng.randrange(3))]
                self._mines += len(handles) if kind == "mine" else 0
                return name, (handles,)


@cache
def _programs() -> dict[str, Callable[[Any], Any]]:
    return ways(bytes(wasmtime.wat2wasm((TESTS / "engine" / "handle_programs.wat").read_text())))


def read_handles(case: bytes) -> None:
    """Try random programs over handles, in all ways."""
    rng = random.Random(case)
    plan = Plan(rng)
    steps = [plan.next() for _ in range(rng.randrange(1, 12))]
    outcomes = {}
    for name, make in _programs().items():
        programs = Programs(make)
        for step in steps:
            if programs.ends(*step):
                break
        programs.close()
        outcomes[name] = programs.outcomes
    assert outcomes["flat"] == outcomes["bridges"] == outcomes["reference"], (steps, outcomes)


def _seed(rng: random.Random, _: Sequence[bytes]) -> bytes:
    return rng.randbytes(8)


def targets() -> dict[str, Target]:
    """What there is to feed."""
    return {
        "guest-words": Target([b"words"], read_words, _seed, _ADDRESSES, weight=10),
        "guest-words-in-place": Target([b"words"], read_words_in_place, _seed, _ADDRESSES, weight=10),
        "guest-handles": Target([b"handles"], read_handles, _seed, _ADDRESSES, weight=2),
    }
