"""`dataflare state`: where the sources of a pipeline go on."""

from __future__ import annotations

import base64
import binascii
import json
import time
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer
from pydantic import Field, TypeAdapter, ValidationError

from dataflare.cli.editor import edited
from dataflare.cli.figures import count
from dataflare.cli.options import AsJson
from dataflare.cli.output import by_the_way, printed_errors, write_json
from dataflare.cli.screen import stdout
from dataflare.cli.security_options import GuardedTyper
from dataflare.cli.state_files import PipelineFile, StateOption, opened_state, time_text
from dataflare.cli.variables import EnvFiles, Settings
from dataflare.documents.models import StrictModel, first_problem
from dataflare.errors import ConfigError
from dataflare.json_values import parse_json
from dataflare.pipeline.pipeline_state import MOST_COUNTED, Checkpoint, NodeState
from dataflare.pipeline.report import SchemaChange
from dataflare.pipeline.run_errors import StateError
from dataflare.pipeline.schema_contracts import schema_from_text
from dataflare.pipeline.specification import Specification, base_name
from dataflare.user_files import read_file

__all__ = ["app"]

_MAX_BYTES = 64 * 2**20
Node: TypeAlias = Annotated[
    list[str] | None, typer.Option("--node", help="A source; may be repeated.", show_default="all")
]

app = GuardedTyper(help="Show and change the saved positions of a pipeline's sources.", no_args_is_help=True)


class _Source(StrictModel):
    node: str = Field(min_length=1)
    lineage: str = Field(min_length=1)
    reading: dict[str, Any]
    sequence: int = Field(ge=0, lt=MOST_COUNTED)
    state: str | None
    readable: Any = None
    complete: bool
    rows: int = Field(ge=0, lt=MOST_COUNTED)
    saved: str = ""
    pending: int = 0


class _Export(StrictModel):
    pipeline: str
    sources: list[_Source]


@app.command("list")
def list_states(
    pipeline: PipelineFile,
    as_json: AsJson = False,
    state: StateOption = None,
    settings: Settings = None,
    env_files: EnvFiles = None,
) -> None:
    """List the sources whose state is kept, with the rows up to it.

    Exit codes: 0 listed; 1 the state cannot be read, or a run is under way; 2 the pipeline is wrong.
    """
    with printed_errors(as_json=as_json):
        with opened_state(pipeline, state, settings, env_files, create=False) as (specification, file):
            found, path = file.nodes(), file.place
        if as_json:
            write_json({**_export(specification, found), "file": path})
            return
        _show_list(found, path)


@app.command("show")
def show(
    pipeline: PipelineFile,
    as_json: AsJson = False,
    nodes: Node = None,
    state: StateOption = None,
    settings: Settings = None,
    env_files: EnvFiles = None,
) -> None:
    """Show where sources continue: their own state, and what it belongs to.

    Also shows the columns that nodes gave in the last run, and how they changed.

    Exit codes: 0 shown; 1 the state cannot be read, or a run is under way; 2 the pipeline is wrong, or a node has none.
    """
    with printed_errors(as_json=as_json):
        with opened_state(pipeline, state, settings, env_files, create=False) as (specification, file):
            states = {each.node: each for each in file.nodes()}
            found = [states[name] for name in _chosen(list(states), nodes)]
            columns = {
                name: _columns(text) for name, text in file.known_schemas().items() if not nodes or name in nodes
            }
            changes = [
                {"node": name, "saved": time_text(at), **_change(text)}
                for name, text, at in file.schema_changes()
                if name in columns
            ]
        if as_json:
            write_json({**_export(specification, found), "columns": columns, "schema_changes": changes})
            return
        _show(found)
        _show_columns(columns, changes)


@app.command("export")
def export(
    pipeline: PipelineFile,
    as_json: AsJson = False,
    state: StateOption = None,
    settings: Settings = None,
    env_files: EnvFiles = None,
) -> None:
    """Write all states as JSON, which `import` reads; --json makes errors JSON too.

    Exit codes: 0 written; 1 the state cannot be read, or a run is under way; 2 the pipeline is wrong.
    """
    with printed_errors(as_json=as_json):
        with opened_state(pipeline, state, settings, env_files, create=False) as (specification, file):
            found = file.nodes()
        write_json(_export(specification, found))


@app.command("import")
def import_states(
    pipeline: PipelineFile,
    states: Annotated[Path, typer.Argument(help="What `export` wrote.", show_default=False)],
    as_json: AsJson = False,
    state: StateOption = None,
    settings: Settings = None,
    env_files: EnvFiles = None,
) -> None:
    """Say where sources continue: the states of a file take the place of what is kept, all of them or none.

    Where `readable` is changed, it counts, else `state`.
    Exit codes: 0 done; 1 the state cannot be written, or a run is under way; 2 the pipeline or the file is wrong.
    """
    with printed_errors(as_json=as_json):
        with opened_state(pipeline, state, settings, env_files) as (specification, file):
            given = _read(states, specification)
            file.put(given)
        with by_the_way():
            if as_json:
                write_json({"pipeline": specification.pipeline.name, "imported": [each.node for each in given]})
            else:
                _say("imported", [each.node for each in given])


@app.command("edit")
def edit(
    pipeline: PipelineFile,
    as_json: AsJson = False,
    state: StateOption = None,
    settings: Settings = None,
    env_files: EnvFiles = None,
) -> None:
    """Change where sources continue, in the editor of VISUAL or EDITOR: all states as JSON, as `export` writes them.

    Change `readable`, or `state` in Base64. A source that is taken out keeps its state. What you wrote stays in a file
    if it cannot be used.
    Exit codes: 0 done, or nothing was changed; 1 the state cannot be written, a run is under way, or one changed it
    meanwhile; 2 the pipeline or the text is wrong, or there is no editor.
    """
    with printed_errors(as_json=as_json):
        with opened_state(pipeline, state, settings, env_files, create=False) as (specification, file):
            before = file.nodes()
        text = json.dumps(_export(specification, before), indent=2, ensure_ascii=False) + "\n"
        given: list[NodeState] = []
        # The editor is open for as long as its user likes, and blocks no run.
        with edited(text, name="state.json") as found:
            if found.changed:
                given = _read(found.path, specification)
                with opened_state(pipeline, state, settings, env_files, create=False) as (_, file):
                    if file.nodes() != before:
                        what = f"the state was changed while you edited it; what you wrote is in {found.path}"
                        raise StateError(what, hint="edit it again")
                    file.put(given)
        with by_the_way():
            if as_json:
                write_json({"pipeline": specification.pipeline.name, "edited": [each.node for each in given]})
            elif given:
                _say("changed", [each.node for each in given])
            else:
                stdout().say("nothing was changed")


@app.command("reset")
def reset(
    pipeline: PipelineFile,
    as_json: AsJson = False,
    nodes: Node = None,
    state: StateOption = None,
    settings: Settings = None,
    env_files: EnvFiles = None,
) -> None:
    """Forget where sources continue, and the columns that nodes had: the next run begins at the beginning.

    Destinations stay as they are. Exit codes: 0 done; 1 the state cannot be written, or a run is under way; 2 the
    pipeline is wrong, or a node has none.
    """
    with printed_errors(as_json=as_json):
        with opened_state(pipeline, state, settings, env_files) as (specification, file):
            forgotten = file.reset(_chosen(file.kept(), nodes))
        with by_the_way():
            if as_json:
                write_json({"pipeline": specification.pipeline.name, "reset": forgotten})
            else:
                _say("forgot", forgotten)


def _say(done: str, nodes: list[str]) -> None:
    stdout().say(f"{done} what was kept of {', '.join(nodes)}" if nodes else f"{done} nothing: no state was kept")


def _show_list(found: list[NodeState], path: str) -> None:
    screen = stdout()
    for each in found:
        ended = "to its end" if each.checkpoint.last else "under way"
        screen.say(f"{each.node}: {count(each.rows)} rows, {ended}, kept {_document(each)['saved']}")
    screen.say(f"{len(found)} sources, in {path}")


def _show(found: list[NodeState]) -> None:
    screen = stdout()
    for each in found:
        shown = _document(each)
        text = shown["readable"] if shown["readable"] is not None else shown["state"]
        screen.say(f"{each.node}: {json.dumps(text)}")
        screen.say(f"  of {json.dumps(shown['reading'])}, checkpoint {shown['sequence']}, {shown['saved']}")


def _show_columns(columns: dict[str, Any], changes: list[dict[str, Any]]) -> None:
    screen = stdout()
    for node, known in columns.items():
        listed = ", ".join(f"{each['name']}: {each['type']}" for each in known)
        screen.say(f"{node}: columns {listed}")
    for each in changes:
        types = " -> ".join(each[key] for key in ("before", "now") if each[key])
        screen.say(f"{each['node']}: {each['saved']}: {each['change']} {each['column']} ({types}), {each['result']}")


def _export(specification: Specification, found: list[NodeState]) -> dict[str, Any]:
    return {"pipeline": specification.pipeline.name, "sources": [_document(each) for each in found]}


def _document(state: NodeState) -> dict[str, Any]:
    """Write the state of a source as what JSON can hold, to be read by `dataflare state import` too."""
    point = state.checkpoint
    return {
        "node": state.node,
        "lineage": state.lineage,
        "reading": _parsed(state.reading),
        "sequence": point.sequence,
        "state": None if point.state is None else base64.b64encode(point.state).decode(),
        "readable": _readable(point.state),
        "complete": point.last,
        "rows": state.rows,
        "saved": time_text(state.saved_at),
        "pending": len(state.pending),
    }


def _readable(state: bytes | None) -> Any:
    """A state as people read it: JSON where it is that, else the text; `None` where it is neither."""
    if state is None:
        return None
    try:
        return _parsed(state.decode())
    except UnicodeDecodeError:
        return None


def _parsed(text: str) -> Any:
    try:
        return parse_json(text)
    except ValueError:
        return text


def _columns(text: str) -> Any:
    schema_from_text(text)  # raises where it is something else
    return parse_json(text)


def _change(text: str) -> dict[str, Any]:
    try:
        return TypeAdapter(SchemaChange).validate_json(text).to_json()
    except ValidationError as error:
        what = f"a change of columns in the state file cannot be read: {first_problem(error)}"
        raise StateError(what, hint="name another file") from error


def _chosen(known: list[str], nodes: list[str] | None) -> list[str]:
    if nodes is None:
        return known
    for name in nodes:
        if name not in known:
            hint = f"there is {', '.join(known)}" if known else "no state is kept yet"
            raise ConfigError(f"no state is kept for node {name!r}", where="--node", hint=hint)
    return list(dict.fromkeys(nodes))


def _read(file: Path, specification: Specification) -> list[NodeState]:
    where = str(file)
    try:
        export = _Export.model_validate_json(read_file(file, _MAX_BYTES))
    except ValidationError as error:
        hint = "give what `dataflare state export` wrote"
        raise ConfigError(first_problem(error), where=where, hint=hint) from error
    name = specification.pipeline.name
    if export.pipeline != name:
        raise ConfigError(f"it has the states of pipeline {export.pipeline!r}, not of {name!r}", where=where)
    for each in export.sources:
        node = specification.pipeline.nodes.get(base_name(each.node))
        if node is None:
            raise ConfigError(f"the pipeline has no node {each.node!r}", where=where)
        if node.inputs:
            raise ConfigError(
                f"node {each.node!r} is not a source: it takes the rows of {node.inputs[0]!r}", where=where
            )
    if len({each.node for each in export.sources}) < len(export.sources):
        raise ConfigError("it has a node twice", where=where)
    return [_state(each, where) for each in export.sources]


def _state(given: _Source, where: str) -> NodeState:
    state = None
    if given.state is not None:
        try:
            state = base64.b64decode(given.state, validate=True)
        except (binascii.Error, ValueError) as error:
            raise ConfigError(f"the state of node {given.node!r} is not Base64", where=where) from error
    if given.readable is not None and given.readable != _readable(state):
        text = given.readable if isinstance(given.readable, str) else json.dumps(given.readable)
        state = text.encode()
    reading = json.dumps(given.reading, sort_keys=True)
    point = Checkpoint(given.sequence, state, given.complete)
    return NodeState(given.node, given.lineage, reading, point, given.rows, time.time())
