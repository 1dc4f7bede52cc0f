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
from dataflare.pipeline.databases.nodes import SqlRead
from dataflare.pipeline.models import PluginNode
from dataflare.pipeline.nodes import ReadNode
from dataflare.pipeline.run_errors import StateError
from dataflare.pipeline.specification import Specification, load_specification
from dataflare.pipeline.state_file import StateFile, default_place

__all__ = ["PipelineFile", "StateOption", "keeps_state", "open_state", "opened_state", "state_place", "time_text"]

PipelineFile: TypeAlias = Annotated[Path, typer.Argument(help="The pipeline, a YAML file.", show_default=False)]
StateOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--state",
        help="The file with the pipeline's state (SQLite).",
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


def state_place(specification: Specification, path: Path | None) -> Path:
    """Where the state of a pipeline is; `None` is where it is by default."""
    return default_place(specification.folder, specification.pipeline.name) if path is None else path


def open_state(specification: Specification, path: Path | None, *, create: bool = True) -> StateFile:
    """Open the state of a pipeline; `None` is where it is by default.

    Args:
        specification: The pipeline.
        path: The file.
        create: Make it where it is absent.

    Raises:
        StateError: It cannot be opened, a run has it, or it is absent and not made.
    """
    name = specification.pipeline.name
    path = state_place(specification, path)
    if not create and not os.path.lexists(path):
        hint = "a run that keeps a state makes it, unless another file is named with --state"
        raise StateError(f"{path}: there is no state file", hint=hint)
    return StateFile(path, pipeline=name)


@contextmanager
def opened_state(
    pipeline: Path,
    state: Path | None,
    settings: list[str] | None,
    env_files: list[Path] | None,
    *,
    create: bool = True,
) -> Iterator[tuple[Specification, StateFile]]:
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
