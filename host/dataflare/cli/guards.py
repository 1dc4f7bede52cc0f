"""Options that say what plugins and people may do."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

__all__ = ["AccessFile", "AuditFile", "PolicyFile", "Principal", "TrustFile"]

PolicyFile: TypeAlias = Annotated[
    Path | None, typer.Option(help="What each plugin gets (YAML).", envvar="DATAFLARE_POLICY", show_default="no policy")
]
TrustFile: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        help="Whose signatures plugins need (YAML); each needs a .sig file beside it.",
        envvar="DATAFLARE_TRUST",
        show_default="no signature is needed",
    ),
]
AuditFile: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        help="Append every use of a capability to this file (JSON Lines).",
        envvar="DATAFLARE_AUDIT",
        show_default="no audit",
    ),
]
AccessFile: TypeAlias = Annotated[
    Path | None,
    typer.Option(help="Who may do what (YAML); with --principal.", envvar="DATAFLARE_ACCESS", show_default="no roles"),
]
Principal: TypeAlias = Annotated[
    str | None, typer.Option(help="Who runs this, as under `members` of --access.", show_default="nobody in particular")
]
