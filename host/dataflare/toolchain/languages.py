"""Languages that guests are written in: one module each.

A driver is a function `driver(guest)` that gives a `Driver`. A package adds a language by an entry point of the group
`dataflare.languages`, whose name is the language's. A driver is imported when a guest of its language is built.

Some more things are optional. A driver may have `prepare(guest)`, which writes what belongs to the sources and no
author writes, such as a lock of versions, and `unit_tests(guest)`, which runs a plugin's own tests natively and returns
the runner's last line. `in_node(guest)` returns what writes the plugin as modules for Node into a folder, or `None`.
With `runtime()` it names what is in each of its components beside the sources, such as
`{"pypi:componentize-py": "0.25.1"}`. The module may have a function `tools()`, which returns the names and versions of
the tools, or raises `ToolchainMissing`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final

from dataflare.errors import ConfigError

__all__ = ["GROUP", "load_driver", "load_tools", "names"]

GROUP: Final = "dataflare.languages"
_BUILT_IN: Final = {
    name: EntryPoint(name, f"dataflare.toolchain.{name}:driver", GROUP)
    for name in ("c", "cpp", "go", "javascript", "python", "rust", "typescript", "zig")
}


def names() -> tuple[str, ...]:
    """The names of all languages, sorted."""
    return tuple(sorted(_all()))


def load_driver(language: str) -> Any:
    """Import a language's function `driver`.

    Raises:
        ConfigError: No driver has the language, or the package that brings it is broken.
    """
    points = _all()
    if language not in points:
        raise ConfigError(f"there is no language {language!r}", hint=f"there are {', '.join(names())}")
    try:
        return points[language].load()
    except Exception as error:
        raise ConfigError(
            f"the driver of the language {language!r} cannot be imported: {error!r}",
            hint=f"look at {points[language].value}",
        ) from error


def load_tools(language: str) -> Callable[[], str]:
    """A language's function `tools`; for one without, a function that names its driver.

    Raises:
        ConfigError: As `load_driver`.
    """
    driver = load_driver(language)
    found: Callable[[], str] = getattr(sys.modules.get(driver.__module__), "tools", lambda: driver.__module__)
    return found


def _all() -> dict[str, EntryPoint]:
    return {each.name: each for each in entry_points(group=GROUP)} | _BUILT_IN
