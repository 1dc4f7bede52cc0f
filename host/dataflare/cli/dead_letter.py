"""`dataflare dead-letter`: rows on which a plugin failed."""

from __future__ import annotations

import json
import logging
import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from dataflare.cli.figures import count
from dataflare.cli.options import AsJson, CacheDir, Quiet, Verbose
from dataflare.cli.output import printed_errors, write_json
from dataflare.cli.run import execute
from dataflare.cli.screen import stdout
from dataflare.cli.security_options import GuardedTyper
from dataflare.cli.state_files import StateOption, keeps_state
from dataflare.cli.variables import EnvFiles, Settings, gather_variables
from dataflare.errors import ConfigError
from dataflare.pipeline.replay import LetterFile, LetterLine, replaying
from dataflare.pipeline.run_errors import DataError
from dataflare.pipeline.specification import load_specification
from dataflare.security.settings import Security
from dataflare.texts import cut, cut_name
from dataflare.user_files import opened_file

__all__ = ["app"]

_SHOWN = 10

app = GuardedTyper(help="Show and replay rows on which a plugin failed.", no_args_is_help=True)


@dataclass(slots=True)
class _Group:
    """Letters of one node with one error."""

    rows: int = 0
    first: str = ""
    last: str = ""
    messages: Counter[str] = field(default_factory=Counter)

    def add(self, letter: LetterLine) -> None:
        self.rows += 1
        time = cut_name(letter.time)
        self.first = min(self.first or time, time)
        self.last = max(self.last, time)
        message = cut(letter.message)
        if len(self.messages) < 1000 or message in self.messages:
            self.messages[message] += 1


@app.command("show")
def show(
    file: Annotated[Path, typer.Argument(help="A file of dead letters.", show_default=False)],
    as_json: AsJson = False,
    limit: Annotated[int, typer.Option("--limit", min=0, max=100_000, help="Show at most this many rows.")] = _SHOWN,
) -> None:
    """Show the dead letters of a file: how many there are of each error, and the first of them.

    Exit codes: 0 shown; 2 the file cannot be read, or is not one of dead letters.
    """
    with printed_errors(as_json=as_json):
        groups: dict[tuple[str, str], _Group] = {}
        first: list[LetterLine] = []
        with opened_file(file) as (descriptor, _):
            try:
                for _, letter in LetterFile(file, lambda: os.fdopen(os.dup(descriptor), "rb")).letters():
                    groups.setdefault((cut_name(letter.node), cut_name(letter.error)), _Group()).add(letter)
                    if len(first) < limit:
                        first.append(letter)
            except DataError as error:
                where = f"{file}:{error.line}" if error.line else str(file)
                raise ConfigError(error.message.removeprefix(f"{where}: "), where=where, hint=error.hint) from error
        if as_json:
            write_json({"file": str(file), "errors": _errors(groups), "rows": [_row(each) for each in first]})
        else:
            _show(file, groups, first)


@app.command("replay")
def replay(
    security: Security,
    pipeline: Annotated[Path, typer.Argument(help="The pipeline, a YAML file.", show_default=False)],
    node: Annotated[
        str | None,
        typer.Option("--node", help="The node whose rows failed.", show_default="the only one with dead letters"),
    ] = None,
    as_json: AsJson = False,
    state: StateOption = None,
    settings: Settings = None,
    env_files: EnvFiles = None,
    verbose: Verbose = False,
    quiet: Quiet = False,
    cache_dir: CacheDir = None,
) -> None:
    """Give a node the rows of its dead letters, and pass them on to the nodes after it.

    Output is added to existing files and tables; a node that can only replace its output is refused before a row moves.
    Afterwards the file has the rows that failed again, with their new errors; the others are removed from it.

    Exit codes: as for `run`.
    """
    if quiet:
        logging.getLogger("dataflare").setLevel(logging.ERROR)
    with printed_errors(as_json=as_json):
        variables = gather_variables(settings or (), env_files or (), policy=security.policy is not None)
        specification = load_specification(pipeline, variables=variables)
        # A run of the pipeline would add to the same outputs: whoever has the state is the only one.
        keeps = state is not None or keeps_state(specification)
        execute(
            specification,
            security,
            as_json=as_json,
            verbose=verbose,
            quiet=quiet,
            state=state,
            keeps=keeps,
            cache_dir=cache_dir,
            prepare=lambda: replaying(specification, node),
        )


def _errors(groups: dict[tuple[str, str], _Group]) -> list[dict[str, Any]]:
    return [
        {
            "node": node,
            "error": error,
            "rows": group.rows,
            "first": group.first,
            "last": group.last,
            "messages": dict(group.messages.most_common(_SHOWN)),
        }
        for (node, error), group in groups.items()
    ]


def _row(letter: LetterLine) -> dict[str, Any]:
    texts = {name: cut(getattr(letter, name) or "") for name in ("time", "node", "plugin", "error", "message")}
    column = None if letter.column is None else cut(letter.column)
    return {**texts, "row": letter.row, "column": column, "values": letter.values}


def _show(file: Path, groups: dict[tuple[str, str], _Group], first: list[LetterLine]) -> None:
    screen = stdout()
    total = sum(group.rows for group in groups.values())
    screen.say(f"{file}: {count(total)} dead letters")
    for (node, error), group in groups.items():
        screen.say(f"  {node}: {count(group.rows)} rows, {error}, from {group.first} to {group.last}")
    for letter in first:
        column = "" if letter.column is None else f", column {cut_name(letter.column)}"
        place = f"{cut_name(letter.time)} {cut_name(letter.node)}, row {letter.row}{column}"
        screen.say(f"{place}: {cut(letter.message)}")
        screen.say(f"    {cut(json.dumps(letter.values, ensure_ascii=False, separators=(',', ':')))}")
    if total > len(first):
        screen.say(f"... and {count(total - len(first))} more: --limit")
