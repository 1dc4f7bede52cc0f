"""The examples of Markdown pages, and how they are run.

What stands after a fence's language says what the block is for:

- `run`: it is run, in the order of the page, in a copy of the repository's `guest-sdks`, `wit` and `examples`. Python
  blocks of a page share their names. With `exit=2` a shell block has to end with that exit code.
- `file=PATH`: it is written to that file first.
- `output`: what the block before it prints; a line of `...` stands for any lines, `...` within one for any text.
- `shown`: it is not run, as it takes too long or changes the machine; Python in it must still be Python.
- `slow`: the page's test is marked so.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import dataflare

ROOT = Path(__file__).resolve().parents[2]
LANGUAGES_TO_RUN = ("python", "sh")
_FENCE = re.compile(r"^( *)```(.*)$")


@dataclass
class Block:
    """A fenced block: its language, the marks after it, its text, and the line in the page where the text begins."""

    language: str
    marks: dict[str, str]
    text: str
    line: int


@dataclass
class Page:
    """A page with the blocks of it."""

    path: Path
    blocks: list[Block] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.path.relative_to(ROOT).as_posix()

    @property
    def is_slow(self) -> bool:
        return any("slow" in block.marks for block in self.blocks)

    @property
    def is_runnable(self) -> bool:
        return any("run" in block.marks for block in self.blocks)


def pages() -> list[Page]:
    """All pages that this project writes for people."""
    found = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
    found += sorted((ROOT / "docs").rglob("*.md")) + sorted((ROOT / "examples").rglob("*.md"))
    return [Page(path, list(parse(path.read_text(encoding="utf-8")))) for path in found]


def parse(text: str) -> Iterator[Block]:
    """Find a page's fenced blocks."""
    opened: Block | None = None
    indent, lines = "", []
    for number, line in enumerate(text.splitlines(), 1):
        fence = _FENCE.match(line)
        if fence and opened is None:
            language, *marks = fence[2].split() or [""]
            opened = Block(language, dict(mark.partition("=")[::2] for mark in marks), "", number + 1)
            indent, lines = fence[1], []
        elif fence and fence[2] == "" and opened is not None:
            opened.text = "".join(f"{each}\n" for each in lines)
            yield opened
            opened = None
        elif opened is not None:
            lines.append(line.removeprefix(indent))


def run_page(page: Page, folder: Path) -> None:
    """Run a page's blocks in an empty folder."""
    for name in ("guest-sdks", "wit", "examples"):
        # A copy: what an example writes must not reach the repository.
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("target", "node_modules", "build"))
    names: dict[str, object] = {"__name__": "__main__"}
    printed = ""
    with contextlib.chdir(folder):
        for block in page.blocks:
            where = f"{page.name}:{block.line}"
            if target := block.marks.get("file"):
                Path(target).parent.mkdir(parents=True, exist_ok=True)
                Path(target).write_text(block.text, encoding="utf-8")
            if "run" in block.marks:
                if block.language == "python":
                    printed = run_python(block.text, names, page, block.line)
                else:
                    printed = run_shell(block.text, where, int(block.marks.get("exit", "0")))
            if "output" in block.marks:
                assert as_pattern(block.text).fullmatch(trimmed(printed)), f"{where}: this was printed:\n{printed}"


def run_python(code: str, names: dict[str, object], page: Page, line: int) -> str:
    """Run Python code here; returns what it printed."""
    stream = io.StringIO()
    # Line feeds in front, so that a traceback shows the line of the page.
    compiled = compile("\n" * (line - 1) + code, str(page.path), "exec")
    with contextlib.redirect_stdout(stream):
        exec(compiled, names)
    return stream.getvalue()


def run_shell(commands: str, where: str, exit_code: int) -> str:
    """Run shell commands; returns what they wrote, errors in between."""
    scripts, host = str(Path(sys.executable).parent), str(Path(dataflare.__file__).parents[1])
    environment = {
        **os.environ,
        "PATH": os.pathsep.join([scripts, os.environ["PATH"]]),
        "PYTHONPATH": host,
        "COLUMNS": "120",
    }
    done = subprocess.run(
        ["sh", "-euc", commands], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert done.returncode == exit_code, f"{where}: exit code {done.returncode}, not {exit_code}:\n{done.stdout}"
    return done.stdout


def as_pattern(expected: str) -> re.Pattern[str]:
    """What an `output` block stands for."""
    lines = trimmed(expected).split("\n")
    patterns = ["(?s:.*)" if line == "..." else ".*".join(map(re.escape, line.split("..."))) for line in lines]
    return re.compile("\n".join(patterns))


def trimmed(text: str) -> str:
    """A text without spaces at the ends of its lines, and without empty lines at its end."""
    return "\n".join(line.rstrip() for line in text.splitlines()).rstrip("\n")
