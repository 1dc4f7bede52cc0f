"""A plugin's own unit tests, in its language's runner."""

from __future__ import annotations

from pathlib import Path

from dataflare.toolchain.guests import guest_of
from dataflare.toolchain.languages import load_driver

__all__ = ["run_unit_tests"]


def run_unit_tests(folder: Path) -> str:
    """Run the unit tests of a plugin's folder, natively.

    Returns:
        The runner's last line; empty if there are no tests, or the language's driver runs none.

    Raises:
        ConfigError: The `plugin.yaml` is wrong.
        ToolchainMissing: The runner is not on this machine.
        BuildFailed: A test failed; the message has the runner's own words.
    """
    guest = guest_of(folder)
    driver = load_driver(guest.language)(guest)
    run = getattr(driver, "unit_tests", None)
    return "" if run is None else str(run(guest))
