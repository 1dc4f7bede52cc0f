"""Tables with a key, and the runs that write them, as one JSON document that is replaced in one step."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from typing import Any

DELETE = 2
OPERATIONS = (None, 0, 1, DELETE)


class Superseded(Exception):
    """A newer run of the pipeline has begun."""


@dataclass
class Staged:
    """What a run wrote to a table and did not commit yet: rows by key, `None` for one that is removed."""

    name: str
    key: list[str]
    columns: list[str]
    operation: str | None
    replace: bool
    rows: dict[str, dict[str, Any] | None] = field(default_factory=dict)

    def add(self, lines: str) -> list[tuple[int, str, str]]:
        """Stage rows; returns those with a null in the key or an operation that does not exist: row, column, reason."""
        rejected = []
        # Not `splitlines`: texts may hold U+2028 and other characters that it takes for ends of lines.
        for number, line in enumerate(lines.split("\n")[:-1]):
            row = json.loads(line)
            missing = next((name for name in self.key if row.get(name) is None), None)
            if missing is not None:
                rejected.append((number, missing, "the key is null"))
                continue
            operation = row.pop(self.operation, None) if self.operation else None
            if self.operation and operation not in OPERATIONS:
                rejected.append((number, self.operation, f"the operation is {operation}, not 0, 1 or 2"))
                continue
            key = json.dumps([row[name] for name in self.key])
            # The last of several rows with a key counts: it comes last in the order of the rows too.
            self.rows.pop(key, None)
            self.rows[key] = None if operation == DELETE else row
        return rejected


def empty() -> dict[str, Any]:
    """The document before the first run."""
    return {"tables": {}, "pipelines": {}}


def claim(document: dict[str, Any], pipeline: str, run: str, generation: int) -> bytes | None:
    """Make a run the one that writes; returns the token that the last one kept."""
    known = document["pipelines"].get(pipeline)
    if known and (known["generation"] > generation or (known["generation"] == generation and known["run"] != run)):
        raise Superseded(f"run {known['run']} of {pipeline} has begun")
    token = known["token"] if known else None
    document["pipelines"][pipeline] = {"generation": generation, "run": run, "token": token}
    return None if token is None else base64.b64decode(token)


def commit(
    document: dict[str, Any], pipeline: str, run: str, generation: int, staged: list[Staged], token: bytes
) -> None:
    """Put what is staged, and the token, into the document."""
    known = document["pipelines"].get(pipeline)
    if not known or (known["generation"], known["run"]) != (generation, run):
        raise Superseded(f"another run of {pipeline} has begun")
    for table in staged:
        old = {} if table.replace else document["tables"].get(table.name, {}).get("rows", {})
        rows = {key: row for key, row in {**old, **table.rows}.items() if row is not None}
        document["tables"][table.name] = {"key": table.key, "columns": table.columns, "rows": rows}
    known["token"] = base64.b64encode(token).decode()
