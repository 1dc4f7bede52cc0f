"""Programs that use the package pass mypy and pyright, both strict, those of the documentation among them."""

from __future__ import annotations

import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import dataflare
from dataflare.toolchain.javascript import npm_packages
from dataflare.toolchain.run_tool import ToolchainMissing

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


def programs(folder: Path) -> list[Path]:
    """Programs that have to pass, copied into a folder, and one of mistakes."""
    own = [HERE / name for name in ("snippets.py", "embedder.py", "mistakes.py")]
    files = [*own, ROOT / "examples" / "embed" / "embed.py"]
    made = [Path(shutil.copy(file, folder)) for file in files]
    for page in PAGES:
        blocks = _BLOCK.findall((ROOT / page).read_text())
        assert blocks
        made.append(folder / f"{Path(page).stem.lower()}_page.py")
        made[-1].write_text("\n".join(blocks))
    return made


def marked() -> list[tuple[int, str]]:
    """The lines of the program of mistakes that have one, each with mypy's name for it."""
    lines = (HERE / "mistakes.py").read_text().splitlines()
    return [(number, line.partition("# error: ")[2]) for number, line in enumerate(lines, 1) if "# error: " in line]


def test_mypy_finds_the_mistakes_and_nothing_else(tmp_path):
    lines = checked(tmp_path, *programs(tmp_path))
    assert [line for line in lines if "mistakes.py" not in line] == []
    errors = [re.search(r"(\w+)\.py:(\d+): error: .*\[(.+)\]$", line) for line in lines]
    found = sorted({(each[1], int(each[2]), each[3]) for each in errors if each})
    assert found == [("mistakes", number, name) for number, name in marked()]


def test_the_type_checker_of_editors_finds_the_mistakes_and_nothing_else(tmp_path):
    try:
        packages = npm_packages(HERE)
    except ToolchainMissing as error:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(str(error))
    programs(tmp_path)
    # pyarrow carries no types: what is known of its values is not the package's to say.
    unknown = [f"reportUnknown{what}Type" for what in ("Member", "Argument", "Variable", "Parameter", "Lambda")]
    settings = {"typeCheckingMode": "strict", "extraPaths": [str(Path(dataflare.__file__).parents[1])]}
    settings |= dict.fromkeys([*unknown, "reportMissingTypeStubs"], False)
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings))
    command: list[str | Path] = ["node", packages / "node_modules/pyright/index.js", "--outputjson"]
    command += ["--pythonpath", sys.executable, "-p", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode in (0, 1), done.stderr
    report = json.loads(done.stdout)
    assert report["summary"]["filesAnalyzed"] == len(list(tmp_path.glob("*.py")))
    problems = [(Path(each["file"]).name, each["range"]["start"]["line"] + 1) for each in report["generalDiagnostics"]]
    assert sorted(set(problems)) == [("mistakes.py", number) for number, _ in marked()]


def test_every_page_uses_the_package_as_its_types_say(tmp_path):
    files = []
    for page in sorted((ROOT / "docs").rglob("*.md")):
        if blocks := _BLOCK.findall(page.read_text()):
            files.append(tmp_path / f"{page.stem.replace('-', '_')}_page.py")
            files[-1].write_text("\n".join(blocks))
    assert len(files) > 3
    assert [line for line in checked(tmp_path, *files) if _USES.search(line)] == []


@pytest.mark.parametrize("package", ["dataflare", "dataflare_plugin"])
def test_the_packages_are_marked_as_typed(package):
    assert (Path(str(importlib.import_module(package).__file__)).parent / "py.typed").is_file()
