"""Feeds random, cut and bit-flipped files to everything that reads what strangers wrote.

    python tests/fuzz/fuzz.py [--cases 200000] [--seed 0] [--target components ...]

A case is good when the file is read, or refused with one of the package's own errors. It is bad when another exception
comes out, when it takes longer than `--slow-s` seconds, or when memory grows from case to case. A crash ends the
process; the case that was tried last is in `--last` then. What of Arrow can be reached is fed in child processes
(`children.py`), which outlive a crash and keep its case. Exit codes: 0 all good, 1 some bad.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import children
from cases import Target, mutated
from dataflare.engine.engine import Engine
from dataflare.errors import DataflareError
from dataflare.permissions.database_keys import DatabaseKind
from dataflare.pipeline.config_schema import misfits
from dataflare.pipeline.databases.statements import check_one_statement
from dataflare.pipeline.specification import parse_specification
from dataflare.runtime.inspection import inspect_shape
from dataflare.security import manifest as manifests
from dataflare.security.access import Access
from dataflare.security.audit import parse_audit
from dataflare.security.keys import PrivateKey
from dataflare.security.manifest import Manifest
from dataflare.security.policy import Policy
from dataflare.security.signatures import parse_signature, sign
from dataflare.security.trust import TrustPolicy

ROOT: Final = Path(__file__).parents[2]
NOW: Final = datetime(2026, 6, 1, tzinfo=UTC)
WARM_UP: Final = 500
GROWTH_BYTES: Final = 64 * 2**20
_OF_ARROW: Final = (
    *("arrow-streams", "arrow-stream-words", "arrow-type-names", "json-lines", "arrow-files"),
    *("arrow-stream-files", "arrow-connector", "parquet-connector", "csv-connector", "jsonl-connector"),
)
IN_CHILDREN: Final = (
    *(("arrow_targets", name) for name in _OF_ARROW),
    *(("expression_targets", name) for name in ("expressions", "relations")),
    *(("wire_targets", name) for name in ("wire-host", "wire-worker")),
    ("conversation_targets", "conversations"),
    ("parquet_targets", "parquet-lies"),
    *(("guest_targets", name) for name in ("guest-words", "guest-words-in-place", "guest-handles")),
)
"""Modules and names of the targets that could end the process."""

_POLICY: Final = b"""version: 1
plugins:
  rates:
    versions: ">=1.2.0, <2.0.0"
    grants:
      clock: true
      state: true
      files: {cache: {path: ./cache, access: write}}
      http: {"https://api.example.com": {methods: [GET], secrets: {authorization: "Bearer {token}"}}}
    limits: {memory: 256MiB}
    pipelines: {nightly: {grants: {secrets: [token], shared: {lookup: read}}}}
pipelines: {nightly: {file: nightly.yaml}}
connectors: {grants: {files: {out: {path: out, access: write}}}}
"""
_ACCESS: Final = b"""version: 1
roles:
  viewer: {allows: {plugins: [read], pipelines: [read]}}
  author: {inherits: [viewer], allows: {pipelines/nightly: [write, run]}}
members: {ada: [author], "bob@example.com": [viewer]}
pipelines: {nightly: {file: nightly.yaml}}
"""
_PIPELINE: Final = b"""name: nightly
nodes:
  read: {connector: csv, read: rows.csv}
  write: {connector: jsonl, write: rows.jsonl, input: read}
"""
_SCHEMA: Final = b"""{"$defs": {"mode": {"enum": ["fast", "safe"], "type": ["string", "null"]}}, "type": "object",
"required": ["mode"], "additionalProperties": false, "properties": {"mode": {"$ref": "#/$defs/mode"},
"size": {"anyOf": [{"type": "integer", "minimum": 1, "maximum": 9}, {"const": [1, {"a": 2}]}]},
"names": {"type": "array", "items": {"type": "string", "minLength": 2, "maxLength": 5}, "maxItems": 3}}}
"""
_CONFIG: Final = {"mode": "slow", "size": [1, {"a": 3}], "names": ["a", "abcdef", 5, "ok"], "more": None}
_QUERY: Final = b"""SELECT a, 'it''s' AS "b""c", e'x', $t$x$t$, [d], `e` -- (
FROM (SELECT 1 /* ; */) AS x WHERE a LIKE '%_'
"""
_AUDIT: Final = (
    b'{"when":"2026-06-01T00:00:00Z","plugin":"p","pipeline":"n","capability":"files","function":"open",'
    b'"object":"files:read:data","decision":"allow","count":1,"reason":""}\n'
)


@dataclass
class Outcome:
    """What a run found."""

    cases: int = 0
    accepted: int = 0
    bad: list[str] = field(default_factory=list)
    slowest_s: float = 0.0
    grown_bytes: int = 0


def small_component() -> bytes:
    """A component with a core module, types, imports and exports, of a few hundred bytes."""
    import wasmtime

    return bytes(
        wasmtime.wat2wasm(
            """(component
  (type $e (enum "a" "b"))
  (import "dataflare:host/logging@1.0.0" (instance $log
    (type $l0 (enum "trace" "debug" "info" "warn" "error")) (export "level" (type $l (eq $l0)))
    (export "is-enabled" (func (param "level" $l) (result bool)))))
  (core module $m (memory (export "memory") 1)
    (func (export "f") (param i32 i32) (result i32) (i32.const 0))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 64)))
  (core instance $i (instantiate $m))
  (func $f (param "x" string) (result (result (list u8) (error string)))
    (canon lift (core func $i "f") (memory (core memory $i "memory")) (realloc (core func $i "realloc"))))
  (instance $api (export "f" (func $f)))
  (export "test:kit/api@1.0.0" (instance $api)))"""
        )
    )


def targets(engine: Engine) -> dict[str, Target]:
    """Everything that is fed, by name."""
    manifest = Manifest.model_validate_json(
        b'{"name": "rates", "version": "1.2.0", "kind": "source", "publisher": "acme", "asks": {"state": true,'
        b' "http": {"https://api.example.com": {"methods": ["GET"]}}}, "limits": {"memory": "1MB"}}'
    )
    bare = small_component()
    component = manifests.embed(bare, manifest)
    key = PrivateKey.generate()
    signature = sign(component, key)
    trust = json.dumps({"version": 1, "keys": [{"key": str(key.public), "publisher": "acme"}]}).encode()
    trusting = TrustPolicy.parse(trust.decode())
    real = [path.read_bytes() for path in sorted(ROOT.glob("guest-sdks/rust/components/*.wasm"))][:1]

    def shape(data: bytes) -> object:
        return inspect_shape(data, engine.shape(data, name="fuzz"), engine.why_bridges(data, name="fuzz"))

    def verify(data: bytes) -> object:
        parse_signature(data)
        return trusting.verify(component, data, now=NOW)

    def specification(data: bytes) -> object:
        return parse_specification(data, file="pipeline.yaml")

    def queries(data: bytes) -> object:
        kinds: tuple[DatabaseKind, ...] = ("sqlite", "duckdb", "postgresql")
        for kind in kinds:
            check_one_statement(data.decode("utf-8", "replace"), kind)
        return data

    return {
        "components": Target([component, bare], shape),
        "large-components": Target(real, shape),
        "sections": Target([component, bare], lambda data: (manifests.read(data), manifests.component_digest(data))),
        "manifests": Target([manifest.canonical()], manifests.parse_manifest),
        "policies": Target([_POLICY], lambda data: Policy.parse(data.decode("utf-8", "surrogateescape"))),
        "trust": Target([trust], lambda data: TrustPolicy.parse(data.decode("utf-8", "surrogateescape"))),
        "access": Target([_ACCESS], lambda data: Access.parse(data.decode("utf-8", "surrogateescape"))),
        "signatures": Target([signature], verify),
        "signed-components": Target([component], lambda data: trusting.verify(data, signature, now=NOW)),
        "audit-logs": Target([_AUDIT * 3], lambda data: parse_audit(data.splitlines(keepends=True))),
        "pipelines": Target([_PIPELINE], specification),
        "configuration-schemas": Target([_SCHEMA], lambda data: misfits(_CONFIG, data.decode("utf-8", "replace"))),
        "queries": Target([_QUERY], queries),
    }


WEIGHTS: Final = {"large-components": 0.02, "access": 0.3, "pipelines": 0.3}
"""Shares of cases, 1 where nothing is said."""


def resident_bytes() -> int:
    """The memory that the process has now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def order(names: Sequence[str], cases: int, rng: random.Random) -> Iterator[str]:
    """The target of each case."""
    weights = [WEIGHTS.get(name, 1.0) for name in names]
    for _ in range(cases):
        yield rng.choices(names, weights)[0]


def run(
    engine: Engine,
    *,
    cases: int,
    seed: int = 0,
    chosen: Sequence[str] = (),
    slow_s: float = 5.0,
    last: Path | None = None,
) -> Outcome:
    """Try this many cases.

    Args:
        engine: Reads components.
        cases: How many.
        seed: The same seed tries the same cases.
        chosen: Names of targets; none for all.
        slow_s: What one case may take.
        last: Where each case is written before it is tried, for the one that crashes.
    """
    rng = random.Random(seed)
    known = targets(engine)
    outcome = Outcome()
    settled = resident_bytes()
    for name in order(list(chosen or known), cases, rng):
        data = mutated(rng, known[name].seeds)
        if last is not None:
            last.write_bytes(name.encode() + b"\n" + data)
        began = time.perf_counter()
        try:
            known[name].read(data)
            outcome.accepted += 1
        except DataflareError:
            pass
        except Exception as error:
            outcome.bad.append(f"{name}, case {outcome.cases}: {type(error).__name__}: {error}")
        took_s = time.perf_counter() - began
        if took_s > slow_s:
            outcome.bad.append(f"{name}, case {outcome.cases}: took {took_s:.1f} s")
        outcome.slowest_s = max(outcome.slowest_s, took_s)
        outcome.cases += 1
        if outcome.cases == min(WARM_UP, cases // 2):
            gc.collect()
            settled = resident_bytes()
    gc.collect()
    outcome.grown_bytes = max(0, resident_bytes() - settled)
    if outcome.grown_bytes > GROWTH_BYTES:
        outcome.bad.append(f"memory grew by {outcome.grown_bytes / 2**20:.0f} MiB")
    return outcome


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cases", type=int, default=200_000, help="half of them in child processes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--target", action="append", default=[], help="only this one; may be repeated")
    parser.add_argument("--slow-s", type=float, default=5.0)
    parser.add_argument("--keep", type=Path, default=ROOT / "build" / "fuzz", help="a folder for bad cases")
    parser.add_argument("--last", type=Path, help="a file for the case that is tried")
    options = parser.parse_args()
    began = time.perf_counter()
    with Engine(flatten=None) as engine:
        known = list(targets(engine))
        inside = [name for name in options.target if name in known]
        outside = {name: module for module, name in IN_CHILDREN if not options.target or name in options.target}
        if unknown := set(options.target) - set(known) - set(outside):
            parser.error(f"there is no target {', '.join(sorted(unknown))}")
        share = options.cases if not outside else 0 if options.target and not inside else options.cases // 2
        outcome = run(
            engine,
            cases=share,
            seed=options.seed,
            chosen=inside,
            slow_s=options.slow_s,
            last=options.last,
        )
    sys.stdout.write(
        f"{outcome.cases:,} cases in {time.perf_counter() - began:.0f} s: {outcome.accepted:,} read, "
        f"{outcome.cases - outcome.accepted - len(outcome.bad):,} refused, {len(outcome.bad)} bad; "
        f"slowest {outcome.slowest_s * 1000:.0f} ms; memory grew by {outcome.grown_bytes / 2**20:.1f} MiB\n"
    )
    bad = outcome.bad[:20]
    for name, module in outside.items():
        began = time.perf_counter()
        count = (options.cases - share) // len(outside) // children.target_of(module, name).weight
        found = children.run(module, name, cases=count, keep=options.keep, seed=options.seed, slow_s=options.slow_s)
        sys.stdout.write(
            f"{name}, in child processes: {found.cases:,} cases in {time.perf_counter() - began:.0f} s: "
            f"{found.accepted:,} read, {len(found.bad)} bad; slowest {found.slowest_s * 1000:.0f} ms\n"
        )
        bad += found.bad
    for line in bad:
        sys.stdout.write(f"bad: {line}\n")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
