"""Where the state of pipelines is, for the commands that use it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from dataflare.cli.variables import gather_variables
from dataflare.errors import ConfigError
from dataflare.pipeline.databases.nodes import SqlRead
from dataflare.pipeline.models import PluginNode
from dataflare.pipeline.nodes import ReadNode
from dataflare.pipeline.pipeline_state import PipelineState
from dataflare.pipeline.run_errors import StateError
from dataflare.pipeline.specification import Specification, load_specification
from dataflare.pipeline.state_database import StateDatabase, find_state_database, is_state_url
from dataflare.pipeline.state_file import StateFile, default_place
from dataflare.user_files import as_path

__all__ = ["PipelineFile", "StateOption", "find_state", "keeps_state", "open_state", "opened_state", "time_text"]

PipelineFile: TypeAlias = Annotated[Path, typer.Argument(help="The pipeline, a YAML file.", show_default=False)]
StateOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--state",
        metavar="PLACE",
        help="Where the pipeline's state is: a file (SQLite), or the URL of a PostgreSQL database.",
        envvar="DATAFLARE_STATE",
        show_default=".dataflare/NAME.state beside the pipeline's file",
    ),
]


def keeps_state(specification: Specification) -> bool:
    """Whether a run has anything to keep.

    It has if a node is a source that continues, or holds its columns to those of the last run, or if a plugin has state
    of its own.
    """
    for name, node in specification.pipeline.nodes.items():
        if isinstance(node, SqlRead) or (isinstance(node, ReadNode) and node.contract is not None):
            return True
        if isinstance(node, PluginNode):
            is_source = node.input is None and bool(specification.consumers(name))
            if is_source or specification.grants[name].state:
                return True
    return False


def find_state(specification: Specification, place: str | None) -> PipelineState | None:
    """Open the state of a pipeline; `None` where it has none. Otherwise as `open_state`."""
    name = specification.pipeline.name
    if is_state_url(place):
        return find_state_database(place, pipeline=name, password=_password())
    file = _file(specification, place)
    return StateFile(file, pipeline=name) if os.path.lexists(file) else None


def open_state(specification: Specification, place: str | None, *, create: bool = True) -> PipelineState:
    """Open the state of a pipeline; `None` is where it is by default.

    Args:
        specification: The pipeline.
        place: The file, or the URL of a database.
        create: Make it where it is absent.

    Raises:
        ConfigError: The place is a wrong URL.
        StateError: It cannot be opened, a run has it, or it is absent and not made.
    """
    name = specification.pipeline.name
    if not create:
        if (found := find_state(specification, place)) is not None:
            return found
        if is_state_url(place):
            what = f"{place}: there is no state of pipeline {name!r}"
        else:
            what = f"{_file(specification, place)}: there is no state file"
        raise StateError(what, hint="a run that keeps a state makes it, unless another place is named with --state")
    if is_state_url(place):
        return StateDatabase(place, pipeline=name, password=_password())
    return StateFile(_file(specification, place), pipeline=name)


def _file(specification: Specification, place: str | None) -> Path:
    if place is None:
        return default_place(specification.folder, specification.pipeline.name)
    if "://" in place:  # it may have a password, so it is not shown
        hint = "give the name of a file, or postgresql://USER@HOST/NAME"
        raise ConfigError("it is a URL of a kind in which no state is kept", where="--state", hint=hint)
    return as_path(place, where="--state")


def _password() -> str | None:
    return os.environ.get("DATAFLARE_SECRET_STATE_PASSWORD")


@contextmanager
def opened_state(
    pipeline: Path,
    state: str | None,
    settings: list[str] | None,
    env_files: list[Path] | None,
    *,
    create: bool = True,
) -> Iterator[tuple[Specification, PipelineState]]:
    """Read a pipeline's file and open its state, as the options of a command say; the state is closed at the end.

    Raises:
        ConfigError: The pipeline or a variable is wrong.
        StateError: As in `open_state`.
    """
    specification = load_specification(
        pipeline,
        variables=gather_variables(settings or (), env_files or (), policy=bool(os.environ.get("DATAFLARE_POLICY"))),
    )
    with open_state(specification, state, create=create) as file:
        yield specification, file


def time_text(seconds: float) -> str:
    """Write a time, in seconds since 1970, as UTC in ISO format."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
