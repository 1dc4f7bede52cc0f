"""Where the suite's own files are: beside the package's source, or within an installed one."""

from __future__ import annotations

from pathlib import Path

__all__ = ["suite_folder"]


def suite_folder() -> Path:
    """The folder with `SPEC.md` and `cases`."""
    package = Path(__file__).parents[1]
    installed = package / "_conformance"
    return installed if installed.is_dir() else package.parents[1] / "conformance"
