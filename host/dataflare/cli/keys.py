"""`dataflare key`: keys that sign plugins."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from dataflare.cli.options import AsJson
from dataflare.cli.output import by_the_way, printed_errors, write_json
from dataflare.cli.screen import stdout
from dataflare.cli.security_options import GuardedTyper
from dataflare.errors import ConfigError
from dataflare.security.keys import PublicKey, generate_key_files
from dataflare.user_files import read_file

__all__ = ["PassphraseFile", "app", "read_passphrase"]

app = GuardedTyper(help="Create and show keys that sign plugins.", no_args_is_help=True)

PassphraseFile: TypeAlias = Annotated[
    Path | None,
    typer.Option(help="A file with the key's passphrase on its first line.", show_default="the key has none"),
]


def read_passphrase(file: Path | None) -> str | None:
    """The passphrase in a file: its first line.

    Raises:
        ConfigError: It cannot be read, is empty, or is not UTF-8: other bytes would all count as the same one.
    """
    if file is None:
        return None
    try:
        lines = read_file(file, 4096).decode().splitlines()
    except UnicodeDecodeError as error:
        raise ConfigError("has no passphrase: it is not UTF-8", where=str(file)) from error
    if not lines or not lines[0]:
        raise ConfigError("has no passphrase on its first line", where=str(file))
    return lines[0]


@app.command("generate")
def generate(
    path: Annotated[Path, typer.Argument(help="The private key's file; the public one is beside it, in .pub.")],
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Make an Ed25519 key. Keep the private one; give the public one to people who should trust your plugins.

    Exit codes: 0 made; 2 one of the files exists or cannot be written.
    """
    with printed_errors(as_json=as_json):
        public = generate_key_files(path, passphrase=read_passphrase(passphrase_file))
        with by_the_way():
            _show(path.parent / f"{path.name}.pub", public, as_json=as_json)


@app.command("show")
def show(
    path: Annotated[Path, typer.Argument(help="A public key's file (.pub).", show_default=False)],
    as_json: AsJson = False,
) -> None:
    """Show a public key, and its id in signatures and revocations.

    Exit codes: 0 shown; 2 the file cannot be read, or holds no such key.
    """
    with printed_errors(as_json=as_json):
        _show(path, PublicKey.read(path), as_json=as_json)


def _show(path: Path, public: PublicKey, *, as_json: bool) -> None:
    if as_json:
        write_json({"file": str(path), "key": str(public), "id": public.id})
    else:
        screen = stdout()
        for line in (path, f"key {public}", f"id  {public.id}"):
            screen.say(str(line))
