"""C++: Zig's compiler, and the SDK for C with what is nicer in C++."""

from __future__ import annotations

from dataflare.toolchain.c import CDriver, tools
from dataflare.toolchain.guests import Guest

__all__ = ["CppDriver", "driver", "tools"]


class CppDriver(CDriver):
    """Builds the file `plugin.cpp` and the other files in C++ and C of a plugin's folder, but those of `tests`."""

    language = "cpp"
    main = "plugin.cpp"
    patterns = ("*.cpp", "*.c")
    headers = ("*.h", "*.hpp")
    libraries = ("-lc++",)


def driver(_: Guest) -> CppDriver:
    """Make the driver for a guest."""
    return CppDriver()
