"""Where the suite's own files are: beside the package's source, or within an installed one."""

from __future__ import annotations

from pathlib import Path

__all__ = ["probe_file", "suite_folder"]


def suite_folder() -> Path:
    """The folder with `SPEC.md`, `cases` and `probes`."""
    package = Path(__file__).parents[1]
    installed = package / "_conformance"
    return installed if installed.is_dir() else package.parents[1] / "conformance"


def probe_file(kind: str = "processor") -> Path:
    """The component that cases for hosts load, a plugin of a kind."""
    return suite_folder() / "probes" / ("host-probe.wasm" if kind == "processor" else f"{kind}-probe.wasm")
