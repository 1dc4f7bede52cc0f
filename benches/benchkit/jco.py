"""Calls as jco makes them: a component turned into JavaScript, in a Node process that answers one request a line."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from benchkit.guests import ROOT
from benchkit.measure import Elsewhere
from dataflare.toolchain.javascript import npm_packages
from dataflare.toolchain.run_tool import BuildFailed, run

__all__ = ["JcoCall", "jco_calls"]

# Many calls for one line: what the pipe takes is not measured, and the compiler of Node has something to work with.
_SCRIPT: Final = """
import {{ createInterface }} from 'node:readline';
import {{ api }} from './calls.js';

const args = {args};
if (JSON.stringify(api.{name}(...args)) !== '{expected}') throw new Error('a wrong answer');
for await (const line of createInterface({{ input: process.stdin }})) {{
  const count = Number(line), before = process.cpuUsage();
  for (let each = 0; each < count; each++) api.{name}(...args);
  const {{ user, system }} = process.cpuUsage(before);
  console.log((user + system) / 1e6);
}}
"""


class JcoCall(Elsewhere):
    """A call that a Node process makes."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def repeat(self, count: int) -> float:
        """Make some calls; returns the seconds of processors that they took."""
        assert self._process.stdin is not None and self._process.stdout is not None
        print(count, file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        if not answer:
            raise BuildFailed("Node ended: what it wrote is above")
        return float(answer)


@contextmanager
def jco_calls(binary: bytes, name: str, args: str, expected: str, folder: Path) -> Iterator[JcoCall]:
    """Have calls of an export of the interface `api` in Node.

    Args:
        binary: The component.
        name: The function.
        args: Its arguments, an array as JSON.
        expected: What it returns for them, as JSON.
        folder: An empty folder for what jco writes.

    Raises:
        ToolchainMissing: There is no Node.js or no npm, or jco cannot be downloaded.
        BuildFailed: jco does not take the component.
    """
    packages = npm_packages(ROOT / "guest-sdks" / "javascript") / "node_modules"
    (folder / "calls.wasm").write_bytes(binary)
    run(["node", packages / ".bin" / "jco", "transpile", "calls.wasm", "-o", ".", "--name", "calls"], cwd=folder)
    (folder / "package.json").write_text('{"type": "module"}')
    (folder / "run.js").write_text(_SCRIPT.format(name=name, args=args, expected=expected))
    with subprocess.Popen(
        ["node", "run.js"], cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield JcoCall(process)
        finally:
            process.kill()
