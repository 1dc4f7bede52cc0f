"""A destination that merges rows by key into small tables, which the host keeps as the plugin's state."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from componentize_py_types import Err
from tables import Staged, Superseded, claim, commit, empty
from wit_world import exports
from wit_world.exports import destination
from wit_world.imports import datasets, state, types
from wit_world.imports.batches import Batch
from wit_world.imports.schemas import Schema

from dataflare_plugin.raw import guarded, healthy, parse_object

KEY = "tables"
TRIES = 20
CONFIG_SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "additionalProperties": False,
    "properties": {},
}
MODES = (datasets.WritingMode.MERGE, datasets.WritingMode.REPLACE)
Result = TypeVar("Result")


@dataclass
class Run:
    """The run that is under way."""

    pipeline: str
    run: str
    generation: int
    staged: list[Staged] = field(default_factory=list)
    finished: bool = False


class Plugin:
    """What the instance knows."""

    run: Run | None = None


def swapped(change: Callable[[dict[str, Any]], Result]) -> Result:
    """Change the document in one step; begin again where somebody else changed it at the same time."""
    for _ in range(TRIES):
        try:
            old = state.get(KEY)
            document = empty() if old is None else json.loads(old)
            result = change(document)
            if state.compare_and_swap(KEY, old, json.dumps(document, separators=(",", ":")).encode()):
                return result
        except Superseded as exc:
            raise Err(types.Error_Superseded(str(exc))) from None
        except Err as exc:
            match exc.value:
                case state.StateError_ValueTooLarge(value=limit) | state.StateError_QuotaExceeded(value=limit):
                    raise Err(types.Error_Other(f"the tables would take more than {limit} bytes")) from None
                case state.StateError_Unavailable(value=why):
                    raise Err(types.Error_Unavailable(why)) from None
            raise
    raise Err(types.Error_Unavailable("others change the tables all the time"))


def staged_table(target: destination.Target) -> Staged:
    """What a target will be written to, checked."""
    parts = [part for part in (target.dataset.namespace, target.dataset.name) if part]
    # A dot would not do: the dataset `shop.people` is not `people` in the namespace `shop`.
    name = "/".join(part.replace("%", "%25").replace("/", "%2F") for part in parts)
    if target.mode not in MODES:
        raise Err(types.Error_Unsupported(f"dataset {name!r}: rows are merged or replaced, not appended"))
    roles = {
        value: each.name for each in target.schema.fields for key, value in each.metadata if key == "dataflare.role"
    }
    columns = [each.name for each in target.schema.fields]
    if not target.key or not set(target.key) <= set(columns):
        raise Err(types.Error_InvalidConfig(f"dataset {name!r}: its key is not among its columns"))
    operation = roles.get("operation")
    kept = [column for column in columns if column != operation]
    return Staged(name, list(target.key), kept, operation, target.mode == datasets.WritingMode.REPLACE)


def running(*, finished_too: bool = False) -> Run:
    """The run that is under way."""
    run = Plugin.run
    if run is None or (run.finished and not finished_too):
        raise Err(types.Error_Unsupported("no run is under way: `open` comes first"))
    return run


def table_of(run: Run, target: int) -> Staged:
    """What a target is written to."""
    if target >= len(run.staged):
        raise Err(types.Error_InvalidInput(f"there is no target {target}, only {len(run.staged)}"))
    return run.staged[target]


class Lifecycle(exports.Lifecycle):
    """The plugin's life."""

    def get_metadata(self) -> types.Metadata:
        """What the plugin says of itself."""
        description = "Merges rows by key into small tables that the host keeps"
        return types.Metadata(
            "table-destination", "1.0.0", types.Kind.DESTINATION, description, json.dumps(CONFIG_SCHEMA)
        )

    @guarded
    def configure(self, config: str) -> None:
        """There is nothing to configure."""
        if given := parse_object(config):
            raise Err(types.Error_InvalidConfig(f"unknown keys: {', '.join(sorted(given))}"))

    def initialize(self) -> None:
        """Nothing is to be opened."""

    def shutdown(self) -> None:
        """What was not committed goes."""
        Plugin.run = None

    def health_check(self) -> types.Health:
        """It always works."""
        return healthy()


class Destination(exports.Destination):
    """The tables."""

    @guarded
    def abilities(self) -> destination.Ability:
        """All but to append."""
        able = destination.Ability
        changes = able.ADD_COLUMNS | able.WIDEN_COLUMNS
        return able.REPLACE | able.MERGE | able.DELETE | able.KEEP_TOKEN | able.SHUT_OUT | changes

    @guarded
    def plan(self, targets: list[destination.Target]) -> list[destination.PlannedChange]:
        """Tables that are made or replaced, and columns that are added."""
        old = state.get(KEY)
        known = (empty() if old is None else json.loads(old))["tables"]
        kinds = destination.ChangeKind
        changes = []
        for index, target in enumerate(targets):
            table = staged_table(target)
            found = known.get(table.name)
            if found is None:
                changes.append(destination.PlannedChange(index, kinds.CREATE, table.name))
                continue
            if table.replace:
                changes.append(destination.PlannedChange(index, kinds.REPLACE_ROWS, table.name))
            for column in table.columns:
                if column not in found["columns"]:
                    changes.append(destination.PlannedChange(index, kinds.ADD_COLUMN, column))
        return changes

    @guarded
    def open(self, run: destination.RunName, targets: list[destination.Target]) -> bytes | None:
        """Shut older runs out, and begin."""
        staged = [staged_table(target) for target in targets]
        Plugin.run = None
        token = swapped(lambda document: claim(document, run.pipeline, run.run, run.generation))
        Plugin.run = Run(run.pipeline, run.run, run.generation, staged)
        return token

    @guarded
    def write(self, target: int, rows: Batch) -> list[destination.RejectedRow]:
        """Stage rows, apart from those without a key or with an operation that does not exist."""
        rejected = table_of(running(), target).add(rows.to_json_lines())
        return [destination.RejectedRow(row, column, reason) for row, column, reason in rejected]

    @guarded
    def change_schema(self, target: int, schema: Schema) -> None:
        """A row is what its batch says: any columns will do."""
        table = table_of(running(), target)
        table.columns = [each.name for each in schema.fields if each.name != table.operation]

    @guarded
    def flush(self, token: bytes) -> bool:
        """Commit what is staged, unless rows of a table are to be replaced at the end, all at once."""
        run = running(finished_too=True)
        if run.finished:
            return True
        if any(table.replace for table in run.staged):
            return False
        swapped(lambda document: commit(document, run.pipeline, run.run, run.generation, run.staged, token))
        for table in run.staged:
            table.rows.clear()
        return True

    @guarded
    def finish(self, token: bytes) -> None:
        """Commit all of it."""
        run = running(finished_too=True)
        if not run.finished:
            swapped(lambda document: commit(document, run.pipeline, run.run, run.generation, run.staged, token))
            run.finished = True

    def abort(self) -> None:
        """Forget what is staged."""
        if Plugin.run is not None and not Plugin.run.finished:
            Plugin.run = None
