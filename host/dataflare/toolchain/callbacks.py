"""Compiles `engine/native/callbacks.c`, the engine's only native code of its own, into `engine/native/callbacks.json`.

The result is committed: installing the package needs no compiler.
"""

from __future__ import annotations

import base64
import hashlib
import json
import tempfile
from pathlib import Path
from typing import Any, Final

from dataflare.toolchain.run_tool import BuildFailed, run

__all__ = ["SOURCE", "compile_callbacks", "compilers", "source_digest", "write"]

SOURCE: Final = Path(__file__).parents[1] / "engine" / "native" / "callbacks.c"
_MACHINES: Final = {
    "x86_64": ("x86_64-linux-gnu-", ("-fcf-protection=none", "-mno-sse")),
    # Register x18 is the system's on macOS.
    "aarch64": ("aarch64-linux-gnu-", ("-ffixed-x18", "-mno-outline-atomics", "-mcmodel=tiny", "-mgeneral-regs-only")),
}
_FLAGS: Final = (
    *("-Os", "-std=c11", "-ffreestanding", "-fPIC", "-fno-stack-protector", "-fno-asynchronous-unwind-tables"),
    *("-fno-jump-tables", "-fno-ident", "-Wall", "-Wextra", "-Werror", "-nostdlib", "-static"),
    "-Wl,-Ttext=0,-e,run,--build-id=none,-z,noexecstack",
)
_HINT: Final = "install gcc and binutils for x86_64-linux-gnu and aarch64-linux-gnu"


def source_digest() -> str:
    """The digest of the source, which tells whether what is committed was made of it."""
    return hashlib.sha256(SOURCE.read_bytes()).hexdigest()


def compilers() -> dict[str, str]:
    """The compiler for each machine, as it names itself.

    Raises:
        ToolchainMissing: One is not installed.
    """
    return {
        machine: run([f"{prefix}gcc", "--version"], cwd=SOURCE.parent, hint=_HINT).splitlines()[0]
        for machine, (prefix, _) in _MACHINES.items()
    }


def compile_callbacks() -> dict[str, Any]:
    """Compile the source for each machine.

    Returns:
        By machine `code`, in base64, and `symbols`, the offset of each function that others may call.

    Raises:
        ToolchainMissing: A compiler is not installed.
        BuildFailed: The source cannot be compiled, or would need data or other code.
    """
    return {machine: _compile(prefix, flags) for machine, (prefix, flags) in _MACHINES.items()}


def write() -> Path:
    """Compile, and write the result beside the source."""
    target = SOURCE.with_suffix(".json")
    document = {"source": source_digest(), "compilers": compilers(), "machines": compile_callbacks()}
    target.write_text(json.dumps(document, indent=1) + "\n")
    return target


def _compile(prefix: str, flags: tuple[str, ...]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run([f"{prefix}gcc", *_FLAGS, *flags, "-o", "linked", SOURCE], cwd=folder, hint=_HINT)
        sections = run([f"{prefix}objdump", "-h", "linked"], cwd=folder, hint=_HINT)
        if any(f" {section} " in sections for section in (".data", ".rodata", ".bss", ".got", ".rela.dyn")):
            raise BuildFailed("callbacks.c needs data, which has no place", output=sections)
        run([f"{prefix}objcopy", "-O", "binary", "-j", ".text", "linked", "code"], cwd=folder, hint=_HINT)
        symbols = {}
        for line in run([f"{prefix}nm", "linked"], cwd=folder, hint=_HINT).splitlines():
            address, kind, symbol = line.split()
            if kind == "T" and not symbol.startswith("_"):
                symbols[symbol] = int(address, 16)
        return {"code": base64.b64encode((folder / "code").read_bytes()).decode(), "symbols": symbols}
