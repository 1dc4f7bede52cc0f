"""`dataflare schema`: the columns of files as a pipeline would read them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from pydantic import BaseModel
from rich.table import Table

from dataflare.cli.figures import count
from dataflare.cli.options import AsJson
from dataflare.cli.output import printed_errors, write_json
from dataflare.cli.screen import stdout
from dataflare.documents.reader import parse_document
from dataflare.errors import ConfigError
from dataflare.pipeline.connectors.registry import BUILT_IN
from dataflare.pipeline.readers import describe, guess_connector
from dataflare.pipeline.reading.file_schema import FileSchema
from dataflare.pipeline.reading.inputs import find_files
from dataflare.pipeline.specification import json_schema

__all__ = ["command"]


class _Dumper(yaml.SafeDumper):
    """Writes every key on one line, the empty one too."""

    def check_simple_key(self) -> bool:
        return True


def command(
    files: Annotated[
        list[str] | None, typer.Argument(metavar="FILE...", help="Files, or patterns such as 'data/*.csv'.")
    ] = None,
    connector: Annotated[
        str | None,
        typer.Option(help=f"What they are: {', '.join(BUILT_IN)}.", show_default="by the first file's name"),
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option(help="An option of the connector, as `name=value`; may be repeated.")
    ] = None,
    pipeline: Annotated[
        bool, typer.Option("--pipeline", help="Instead, write the JSON Schema of pipeline files, for editors.")
    ] = False,
    policy: Annotated[bool, typer.Option("--policy", help="The same for policy files.")] = False,
    trust: Annotated[bool, typer.Option("--trust", help="The same for trust files.")] = False,
    roles: Annotated[bool, typer.Option("--roles", help="The same for the roles files that --access takes.")] = False,
    manifest: Annotated[bool, typer.Option("--manifest", help="The same for manifest files.")] = False,
    plugin: Annotated[bool, typer.Option("--plugin", help="The same for plugin.yaml, a plugin's own file.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show the columns of files as a pipeline would read them, ready to paste into `options`.

    Only as much is read as types are inferred from: 16 MiB, unless `--option sample=all` says otherwise. Exit codes: 0
    shown; 1 a file cannot be read, or is not what it should be; 2 the command line is wrong.
    """
    with printed_errors(as_json=as_json):
        kinds = {"pipeline": pipeline, "policy": policy, "trust": trust, "roles": roles, "manifest": manifest}
        kinds["plugin"] = plugin
        wanted = [kind for kind, given in kinds.items() if given]
        if len(wanted) > 1:
            what = f"{' and '.join(f'--{kind}' for kind in wanted)} are given together"
            raise ConfigError(what, where="schema", hint="one JSON Schema at a time")
        if wanted:
            write_json(_json_schema(wanted[0]))
            return
        if not files:
            raise ConfigError("no file is named", where="FILE", hint="such as: dataflare schema data/orders.csv")
        paths = find_files(Path.cwd(), files)
        name = connector or guess_connector(paths[0])
        options = _options(option or [])
        found = describe(name, paths, options, read=files, folder=Path.cwd())
        if as_json:
            write_json(_document(name, paths, found))
        else:
            _show(name, paths, found, options)


def _json_schema(kind: str) -> dict[str, Any]:
    # Only here: what files are described with needs none of it.
    from dataflare.documents.models import json_schema_of
    from dataflare.security.access import AccessDocument
    from dataflare.security.manifest import Manifest
    from dataflare.security.policy import PolicyDocument
    from dataflare.security.trust import TrustDocument
    from dataflare.toolchain.manifest_file import PluginFile

    models: dict[str, type[BaseModel]] = {
        "policy": PolicyDocument,
        "trust": TrustDocument,
        "roles": AccessDocument,
        "manifest": Manifest,
        "plugin": PluginFile,
    }
    return json_schema() if kind == "pipeline" else json_schema_of(models[kind])


def _options(texts: Sequence[str]) -> dict[str, Any]:
    """Read `name=value`, each value as YAML in a pipeline would be."""
    options: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(f"{text!r} is not name=value", where="--option", hint="such as --option delimiter=';'")
        options[name] = parse_document(f"value: {value}".encode(), name="--option").value["value"]
    return options


def _document(connector: str, paths: Sequence[Path], found: FileSchema) -> dict[str, Any]:
    return {
        "connector": connector,
        "files": [str(path) for path in paths],
        "columns": [
            {"name": column.name, "type": str(column.type), "inferred": column.inferred, "note": column.note}
            for column in found.columns
        ],
        "sampled_rows": found.sampled_rows,
        "whole": found.whole,
    }


def _show(connector: str, paths: Sequence[Path], found: FileSchema, options: dict[str, Any]) -> None:
    console = stdout()
    table = Table(box=None, padding=(0, 1))
    for title in ("column", "type", "how it is known"):
        table.add_column(title, overflow="fold")
    for column in found.columns:
        how = "inferred" if column.inferred else "given"
        if column.name in found.of_folders:
            how = "in the names of folders"
        table.add_row(column.name, str(column.type), f"{how}: {column.note}".rstrip(": "))
    console.print(table)
    if any(column.inferred for column in found.columns):
        rows = f"all {count(found.sampled_rows)} rows" if found.whole else f"the first {count(found.sampled_rows)} rows"
        console.say("")
        name = paths[0].name if len(paths) == 1 else f"{paths[0].name}, the first of {count(len(paths))} files"
        console.say(f"inferred from {rows} of {name} ({connector}); as options of a node:")
        console.say("")
        given = {**options, "columns": {column.name: str(column.type) for column in found.columns}}
        text = yaml.dump({"options": given}, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10_000)
        for line in text.splitlines():
            console.say(line)
