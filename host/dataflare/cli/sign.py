"""`dataflare sign`: sign a plugin."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from dataflare.cli.keys import PassphraseFile, read_passphrase
from dataflare.cli.options import AsJson
from dataflare.cli.output import by_the_way, printed_errors, write_json
from dataflare.cli.screen import stdout
from dataflare.errors import ConfigError
from dataflare.security.atomic_files import write_atomically
from dataflare.security.keys import PrivateKey
from dataflare.security.signatures import (
    add_signature,
    parse_signature,
    read_signature,
    sign_file,
    signature_path,
)
from dataflare.user_files import read_component

__all__ = ["command"]


def command(
    component: Annotated[Path, typer.Argument(help="A component (.wasm).", show_default=False)],
    key: Annotated[Path, typer.Option(help="The private key's file.", envvar="DATAFLARE_KEY", show_default=False)],
    name: Annotated[str, typer.Option(help="The plugin's name, if it has no manifest.", show_default=False)] = "",
    version: Annotated[str, typer.Option(help="The plugin's version, if it has no manifest.", show_default=False)] = "",
    add: Annotated[bool, typer.Option("--add", help="Add a signature to the existing ones.")] = False,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Sign a component: write its signature beside it, into a file with .sig added to its name.

    What is signed is the component, its manifest, its name and its version; `dataflare package` first. With --add, the
    signature that is there has to be genuine, and for this component, name and version.

    Exit codes: 0 signed; 2 the key, the name or the version is wrong or missing, or the signature is another
    component's; 3 no component; 4 the signature that is there is malformed or not genuine.
    """
    with printed_errors(as_json=as_json):
        private = PrivateKey.read(key, passphrase=read_passphrase(passphrase_file))
        if add:
            present = read_signature(component)
            if present is None:
                raise ConfigError("there is no signature to add to", where=str(component), hint="leave --add out")
            data = read_component(component)
            path = signature_path(component)
            more = add_signature(data, present, private, name=name, version=version, file=str(component))
            write_atomically(path, more)
        else:
            path = sign_file(component, private, name=name, version=version)
        written = read_signature(component)
        signed = parse_signature(b"" if written is None else written)
        with by_the_way():
            if as_json:
                statement = signed.statement
                write_json(
                    {
                        "file": str(path),
                        "name": statement.name,
                        "version": statement.version,
                        "digest": statement.component,
                        "keys": list(signed.key_ids),
                    }
                )
            else:
                _say_signed(path, signed.statement.name, signed.statement.version, signed.key_ids)


def _say_signed(file: Path, name: str, version: str, key_ids: Iterable[str]) -> None:
    stdout().say(f"{file}: {name} {version}, signed by {', '.join(key_ids)}")
