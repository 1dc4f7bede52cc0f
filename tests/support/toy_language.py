"""A guest language of somebody else's package: WebAssembly text. One module is all that it takes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import wasmtime

from dataflare.toolchain.guests import Guest


class TextDriver:
    def identity(self) -> str:
        return "text 1"

    def sources(self, guest: Guest) -> Iterator[Path]:
        yield guest.folder / "plugin.wat"

    def build(self, guest: Guest, work: Path) -> bytes:
        return bytes(wasmtime.wat2wasm((guest.folder / "plugin.wat").read_text()))


def driver(guest: Guest) -> TextDriver:
    return TextDriver()
