"""Programs that use the package pass a strict type checker, those of the documentation among them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import dataflare

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PAGES = ["README.md", "docs/how-to/embed.md"]
_USES = re.compile(r"\[(?:attr-defined|call-arg)\]$")
_BLOCK = re.compile(r"^```python run.*?\n(.*?)^```", re.DOTALL | re.MULTILINE)
_SETTINGS = "[mypy]\nstrict = True\n[mypy-pyarrow.*]\nignore_missing_imports = True\n"


def checked(folder: Path, *files: Path) -> list[str]:
    """What mypy finds in programs of somebody who has installed the package."""
    settings = folder / "mypy.ini"
    settings.write_text(_SETTINGS)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", settings, "--no-error-summary", *files],
        capture_output=True,
        text=True,
        cwd=folder,
        env={
            "MYPYPATH": str(Path(dataflare.__file__).parents[1]),
            "MYPY_CACHE_DIR": str(Path(os.environ.get("MYPY_CACHE_DIR", ROOT / ".mypy_cache")) / "typing"),
        },
        timeout=600,
    )
    assert done.returncode in (0, 1), done.stderr
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("typing")
    files = [HERE / "snippets.py", HERE / "mistakes.py", ROOT / "examples" / "embed" / "embed.py"]
    for page in PAGES:
        blocks = _BLOCK.findall((ROOT / page).read_text())
        assert blocks
        files.append(folder / f"{Path(page).stem.lower()}_page.py")
        files[-1].write_text("\n".join(blocks))
    return checked(folder, *files)


@pytest.mark.parametrize("program", ["snippets", "readme_page", "embed_page", "embed"])
def test_a_program_passes_strictly(found, program):
    assert [line for line in found if f"{program}.py:" in line] == []


def test_every_page_uses_the_package_as_its_types_say(tmp_path):
    files = []
    for page in sorted((ROOT / "docs").rglob("*.md")):
        if blocks := _BLOCK.findall(page.read_text()):
            files.append(tmp_path / f"{page.stem.replace('-', '_')}_page.py")
            files[-1].write_text("\n".join(blocks))
    assert len(files) > 3
    assert [line for line in checked(tmp_path, *files) if _USES.search(line)] == []


def test_mistakes_are_found_each_in_its_line(found):
    lines = (HERE / "mistakes.py").read_text().splitlines()
    expected = {(number, line.partition("# error: ")[2]) for number, line in enumerate(lines, 1) if "# error: " in line}
    errors = [re.search(r"mistakes\.py:(\d+): error: .*\[(.+)\]$", line) for line in found]
    assert {(int(each[1]), each[2]) for each in errors if each} == expected


def test_only_mistakes_are_found(found):
    assert [line for line in found if "mistakes.py" not in line] == []


def test_the_package_is_marked_as_typed():
    assert (Path(dataflare.__file__).parent / "py.typed").is_file()
