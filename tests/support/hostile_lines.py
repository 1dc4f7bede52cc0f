"""Command lines of every command, each text in them hostile."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cli_terminal import HOSTILE

__all__ = ["FILE", "LINES"]

FILE = Path(HOSTILE.replace("\0", "").replace("/", "|"))

# Every option whose value is a text (files are FILE), each tried with a hostile one.
_LINES: Mapping[str, tuple[list[Any], ...]] = {
    "run": (
        ["run", FILE],
        ["run", "p.yaml", "--principal", HOSTILE, "--access", FILE],
        ["run", "p.yaml", "--set", HOSTILE],
        ["run", "p.yaml", "--env-file", FILE],
        ["run", "p.yaml", "--state", HOSTILE],
        ["run", "p.yaml", "--state", f"postgresql://{HOSTILE}"],
        ["run", "p.yaml", "--max-time", HOSTILE],
    ),
    "inspect": (["inspect", FILE],),
    "schema": (
        ["schema", HOSTILE],
        ["schema", FILE, "--connector", HOSTILE],
        ["schema", FILE, "--option", HOSTILE],
    ),
    "compile": (["compile", FILE],),
    "bench": (
        ["bench", "csv-source.wasm", "--config", HOSTILE],
        ["bench", "csv-source.wasm", "--grant", HOSTILE],
        ["bench", "csv-source.wasm", "--limit", HOSTILE],
        ["bench", "csv-source.wasm", "--data", FILE],
    ),
    "check": (
        ["check", "csv-source.wasm", "--config", HOSTILE],
        ["check", "csv-source.wasm", "--grant", HOSTILE],
        ["check", "csv-source.wasm", "--limit", HOSTILE],
    ),
    "discover": (
        ["discover", "csv-source.wasm", "--config", HOSTILE],
        ["discover", "csv-source.wasm", "--grant", HOSTILE],
        ["discover", "csv-source.wasm", "--limit", HOSTILE],
    ),
    "bindgen": (
        ["bindgen", "--wit", FILE, "--world", HOSTILE, "-o", FILE],
        ["bindgen", FILE, "--feature", HOSTILE, "-o", FILE],
    ),
    "new": (["new", HOSTILE, "--kind", HOSTILE, "--lang", HOSTILE, "--into", FILE],),
    "build": (["build", FILE],),
    "test": (["test", FILE],),
    "dev": (
        ["dev", FILE, "--sample", FILE],
        ["dev", FILE, "--case", HOSTILE],
        ["dev", FILE, "--config", HOSTILE],
    ),
    "doctor": (["doctor"],),
    "package": (["package", "csv-source.wasm", "-m", FILE, "-o", FILE],),
    "sign": (["sign", "csv-source.wasm", "--key", "key", "--name", HOSTILE, "--version", HOSTILE],),
    "verify": (["verify", FILE, "--trust", FILE],),
    "audit": (["audit", FILE, "--plugin", HOSTILE, "--pipeline", HOSTILE],),
    "policy check": (["policy", "check", FILE, FILE, "--pipeline", HOSTILE],),
    "policy suggest": (["policy", "suggest", FILE],),
    "policy diff": (["policy", "diff", FILE, FILE],),
    **{
        f"state {name}": (
            ["state", name, FILE, *more, "--set", HOSTILE],
            ["state", name, "p.yaml", *more, "--state", HOSTILE],
            *([["state", name, "p.yaml", "--node", HOSTILE]] if name in ("show", "reset") else []),
        )
        for name, more in {"list": [], "show": [], "export": [], "import": [FILE], "edit": [], "reset": []}.items()
    },
    "conformance run": (
        ["conformance", "run", FILE],
        *(
            ["conformance", "run", "csv-source.wasm", f"--{name}", HOSTILE]
            for name in ("config", "grant", "limit", "profile", "case")
        ),
        *(["conformance", "run", "csv-source.wasm", f"--{name}", FILE] for name in ("sample", "expect")),
    ),
    "conformance host": (
        *(["conformance", "host", f"--{name}", HOSTILE] for name in ("adapter", "profile", "case")),
        ["conformance", "host", "--expect", FILE],
    ),
    "conformance adapter": (["conformance", "adapter", HOSTILE],),
    "conformance verify": (
        ["conformance", "verify", FILE, "--trusted-key", FILE, "--profile", HOSTILE],
        ["conformance", "verify", FILE, "--trusted-key", "absent.pub", "--certificate", FILE, "--report", FILE],
    ),
    "conformance list": (["conformance", "list"],),
    **{
        name: (
            [*name.split(), FILE],
            [*name.split(), "p.yaml", "--set", HOSTILE],
            [*name.split(), "p.yaml", "--env-file", FILE],
            [*name.split(), "p.yaml", "--state", HOSTILE],
        )
        for name in ("runs list", "runs show")
    },
    "plan": (
        ["plan", FILE],
        ["plan", "p.yaml", "--set", HOSTILE],
        ["plan", "p.yaml", "--env-file", FILE],
        ["plan", "p.yaml", "--state", HOSTILE],
        ["plan", "p.yaml", "--state", f"postgresql://{HOSTILE}"],
        ["plan", "p.yaml", "--cache-dir", FILE],
        ["plan", "p.yaml", "--policy", FILE],
        ["plan", "p.yaml", "--trust", FILE],
        ["plan", "p.yaml", "--audit", FILE],
    ),
    "dead-letter show": (["dead-letter", "show", FILE],),
    "dead-letter replay": (
        ["dead-letter", "replay", FILE],
        ["dead-letter", "replay", "p.yaml", "--node", HOSTILE],
        ["dead-letter", "replay", "p.yaml", "--set", HOSTILE],
        ["dead-letter", "replay", "p.yaml", "--state", HOSTILE],
    ),
    "cache list": (["cache", "list", "--cache-dir", FILE],),
    "cache clear": (["cache", "clear", "--cache-dir", FILE],),
    "key generate": (["key", "generate", "absent/key", "--passphrase-file", FILE],),
    "key show": (["key", "show", FILE],),
}

LINES = {
    name: lines if name == "run" else (*lines, [*lines[0], "--principal", HOSTILE, "--access", FILE])
    for name, lines in _LINES.items()
}
