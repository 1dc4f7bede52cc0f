"""Feeds cases to what could end the process: in child processes, many cases a child.

    python tests/fuzz/children.py arrow_targets arrow-streams --cases 10000 [--seed 0] [--keep build/fuzz]
    python tests/fuzz/children.py arrow_targets arrow-streams --repeat build/fuzz/arrow-streams-SIGSEGV-1a2b3c4d.bin

The first argument is a module beside this one, whose function `targets()` returns `Target`s by name. A case is bad when
a child dies of it, when another error comes out than one of the package's own, or when it takes too long. Its bytes are
kept, and the command that tries them again is printed. A target that has cases of its own makes them in `Target.make`.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import mmap
import random
import resource
import signal
import struct
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cases import Target, mutated
from dataflare.errors import DataflareError

ROOT: Final = Path(__file__).parents[2]
CASES_A_CHILD: Final = 2_000
MAX_CASE_BYTES: Final = 2**20
_MOST_BUSY_S, _MOST_S = 60, 600
_HEAD: Final = struct.Struct("<QQ")  # the number of the case that is tried, and how long it is


@dataclass
class Findings:
    """What a run found."""

    cases: int = 0
    accepted: int = 0
    bad: list[str] = field(default_factory=list)
    kept: list[Path] = field(default_factory=list)
    slowest_s: float = 0.0


def target_of(module: str, name: str) -> Target:
    """Make one of a module's targets."""
    targets: Callable[[], dict[str, Target]] = importlib.import_module(module).targets
    return targets()[name]


def case_of(target: Target, name: str, seed: int, number: int) -> bytes:
    """Make the case of a number: the same each time."""
    rng = random.Random(f"{name}/{seed}/{number}")
    made = mutated(rng, target.seeds) if target.make is None else target.make(rng, target.seeds)
    return made[:MAX_CASE_BYTES]


def attempt(target: Target, data: bytes) -> tuple[bool, str]:
    """Try one case: whether it was read, and what was bad about it."""
    try:
        target.read(data)
    except DataflareError:
        return False, ""
    except MemoryError:
        return False, "MemoryError: more than a child may have"
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        return False, f"{type(error).__name__}: {str(error)[:200]} ({Path(where.filename).name}:{where.lineno})"
    return True, ""


def child(module: str, name: str, seed: int, first: int, count: int, slot: Path, slow_s: float) -> None:
    """Try some cases; each is written down before it is tried. Prints one line of JSON for each that is bad."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    target = target_of(module, name)
    resource.setrlimit(resource.RLIMIT_AS, (target.address_bytes, target.address_bytes))
    accepted, slowest_s = 0, 0.0
    with slot.open("r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
        for number in range(first, first + count):
            data = case_of(target, name, seed, number)
            memory[_HEAD.size : _HEAD.size + len(data)] = data
            memory[: _HEAD.size] = _HEAD.pack(number, len(data))
            # What hangs is a crash too. On a busy machine much time passes in which nothing is done.
            signal.setitimer(signal.ITIMER_PROF, _MOST_BUSY_S)
            signal.alarm(_MOST_S)
            began = time.process_time()
            read, bad = attempt(target, data)
            took_s = time.process_time() - began
            accepted += read
            slowest_s = max(slowest_s, took_s)
            if bad or took_s > slow_s * target.weight:
                print(json.dumps({"bad": bad or f"took {took_s:.1f} s", "case": data.hex()}), flush=True)
    signal.alarm(0)
    signal.setitimer(signal.ITIMER_PROF, 0)
    print(json.dumps({"accepted": accepted, "slowest_s": slowest_s}), flush=True)


def run(
    module: str, name: str, *, cases: int, keep: Path, seed: int = 0, slow_s: float = 5.0, most_bad: int = 20
) -> Findings:
    """Try cases in child processes.

    Args:
        module: Where the target is.
        name: The target.
        cases: How many.
        keep: A folder for the bytes of bad cases.
        seed: The same seed tries the same cases.
        slow_s: What one case may take.
        most_bad: How many bad cases end the run.
    """
    findings = Findings()
    keep.mkdir(parents=True, exist_ok=True)
    slot = keep / f".{name}-{seed}.case"
    slot.write_bytes(bytes(_HEAD.size + MAX_CASE_BYTES))
    try:
        while findings.cases < cases and len(findings.bad) < most_bad:
            count = min(CASES_A_CHILD, cases - findings.cases)
            arguments = [module, name, "--seed", str(seed), "--slow-s", str(slow_s), "--slot", str(slot)]
            done = subprocess.run(
                [sys.executable, __file__, *arguments, "--first", str(findings.cases), "--cases", str(count)],
                capture_output=True,
                check=False,
            )
            for line in done.stdout.splitlines():
                said = json.loads(line)
                if "bad" in said:
                    _keep(findings, keep, module, name, said["bad"], bytes.fromhex(said["case"]))
                else:
                    findings.accepted += said["accepted"]
                    findings.slowest_s = max(findings.slowest_s, said["slowest_s"])
            if done.returncode == 0:
                findings.cases += count
                continue
            if done.returncode > 0:
                raise RuntimeError(f"the child of {name} failed: {done.stderr.decode(errors='replace')[-2000:]}")
            content = slot.read_bytes()
            number, size = _HEAD.unpack_from(content)
            what = signal.Signals(-done.returncode).name
            _keep(findings, keep, module, name, what, content[_HEAD.size : _HEAD.size + size])
            findings.cases = number + 1
    finally:
        slot.unlink(missing_ok=True)
    return findings


def _keep(findings: Findings, keep: Path, module: str, name: str, what: str, data: bytes) -> None:
    label = what.partition(":")[0].partition(" ")[0]
    path = keep / f"{name}-{label}-{hashlib.sha256(data).hexdigest()[:8]}.bin"
    path.write_bytes(data)
    findings.kept.append(path)
    findings.bad.append(f"{name}: {what}; again with: python tests/fuzz/children.py {module} {name} --repeat {path}")


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("module")
    parser.add_argument("target")
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--slow-s", type=float, default=5.0)
    parser.add_argument("--keep", type=Path, default=ROOT / "build" / "fuzz", help="a folder for bad cases")
    parser.add_argument("--repeat", type=Path, help="a kept case to try again, in this process")
    parser.add_argument("--slot", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--first", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.repeat:
        target_of(options.module, options.target).read(options.repeat.read_bytes())
        return 0
    if options.slot:
        chosen = (options.module, options.target, options.seed, options.first, options.cases)
        child(*chosen, options.slot, options.slow_s)
        return 0
    began = time.perf_counter()
    findings = run(
        options.module,
        options.target,
        cases=options.cases,
        keep=options.keep,
        seed=options.seed,
        slow_s=options.slow_s,
    )
    print(
        f"{options.target}: {findings.cases:,} cases in {time.perf_counter() - began:.0f} s, {findings.accepted:,} "
        f"read, {len(findings.bad)} bad; slowest {findings.slowest_s * 1000:.0f} ms"
    )
    for line in findings.bad:
        print(f"bad: {line}")
    return 1 if findings.bad else 0


if __name__ == "__main__":
    sys.exit(main())
