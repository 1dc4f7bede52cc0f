"""Tools that packages for pip bring: downloaded on first use, into a folder of their own."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

from dataflare.toolchain.run_tool import BuildFailed, ToolchainMissing, run

__all__ = ["download", "has_pip"]

_ANSWER_S = 15
"""Wall seconds that the index of packages has to answer, or to go on with its answer."""


def has_pip() -> bool:
    """Whether this interpreter has pip."""
    return importlib.util.find_spec("pip") is not None


def download(package: str, folder: Path, *, hint: str) -> None:
    """Put a package into a folder, without what it depends on.

    Args:
        package: Its name and version, as for pip.
        folder: An existing folder.
        hint: What to do when it cannot be downloaded.

    Raises:
        ToolchainMissing: It cannot be downloaded.
    """
    command: list[str | Path] = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", folder]
    # Without a network, pip would ask again and again, for minutes.
    command += ["--retries", "1", "--timeout", str(_ANSWER_S)]
    try:
        run([*command, package], cwd=folder, hint=hint)
    except BuildFailed as error:
        raise ToolchainMissing(f"{package} cannot be downloaded: {error.message}", hint=hint) from error
