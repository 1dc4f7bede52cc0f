"""`dataflare verify`: check a plugin's signature."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from dataflare.cli.options import AsJson
from dataflare.cli.output import by_the_way, printed_errors, write_json
from dataflare.cli.screen import stdout
from dataflare.security.audit import utc_now
from dataflare.security.trust import TrustPolicy

__all__ = ["command"]


def command(
    component: Annotated[
        Path, typer.Argument(help="A component (.wasm), its .sig file beside it.", show_default=False)
    ],
    trust: Annotated[
        Path, typer.Option(help="Whose signatures are accepted (YAML).", envvar="DATAFLARE_TRUST", show_default=False)
    ],
    as_json: AsJson = False,
) -> None:
    """Verify a component's signature. Nothing of the component is compiled or run.

    Exit codes: 0 it is good; 2 a file cannot be read or is wrong; 3 no component; 4 it is not good, and why.
    """
    with printed_errors(as_json=as_json):
        verified = TrustPolicy.read(trust).verify_file(component, now=utc_now())
        with by_the_way():
            if as_json:
                write_json(
                    {
                        "file": str(component),
                        "name": verified.name,
                        "version": verified.version,
                        "digest": verified.digest,
                        "publishers": list(verified.publishers),
                        "keys": list(verified.key_ids),
                        "signed_at": verified.signed_at.isoformat(),
                    }
                )
            else:
                _say_good(component, verified.name, verified.version, verified.publishers)


def _say_good(file: Path, name: str, version: str, publishers: Iterable[str]) -> None:
    stdout().say(f"{file}: {name} {version}, signed by {', '.join(publishers)}, is good")
