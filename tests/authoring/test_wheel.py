"""The wheel alone is enough to write a plugin, and to embed a component: no repository, no file of it."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

from doc_pages import ROOT, as_pattern, parse, trimmed

IN_CI = os.environ.get("CI") == "true"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a new environment with the wheel, and with what it depends on from this one."""
    if importlib.util.find_spec("hatchling") is None and not IN_CI:
        pytest.skip("hatchling is not installed")
    place = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", str(ROOT), "--no-deps", "--no-build-isolation", "-q", "-w", place]
    subprocess.run(command, check=True, timeout=300)
    (wheel,) = place.glob("*.whl")
    venv.create(place / "env", symlinks=True)
    python = place / "env" / "bin" / "python"
    (site,) = (place / "env" / "lib").glob("python3*/site-packages")
    zipfile.ZipFile(wheel).extractall(site)
    # An entry of a path file is not a place for path files: the editable installation of the repository stays out.
    (site / "others.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    command_line = python.with_name("dataflare")
    command_line.write_text(f'#!/bin/sh\nexec "{python}" -m dataflare.cli.main "$@"\n')
    command_line.chmod(0o755)
    return python


def run_in(folder: Path, python: Path, *command: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a command with the tools of the new environment; those of this one come after them."""
    path = os.pathsep.join([str(python.parent), str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {"PATH": path}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)


def test_package_in_the_wheel_is_not_the_repositorys(installed: Path, tmp_path: Path) -> None:
    code = (
        "import dataflare; from dataflare.built_in_plugins import built_in_file; "
        "from dataflare.toolchain.guests import sdks_folder; "
        "print(dataflare.__file__, sdks_folder(), built_in_file('builtin:jq'))"
    )
    done = subprocess.run([installed, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert all(each.startswith(str(installed.parents[1])) for each in done.stdout.split()), done.stderr
    assert len(done.stdout.split()) == 3


def test_programs_of_the_readme_pass_mypy_with_the_typing_extra_alone(installed: Path, tmp_path: Path) -> None:
    (stubs,) = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["typing"]
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", tmp_path / "stubs", stubs]
    if subprocess.run(command, timeout=300).returncode and not IN_CI:
        pytest.skip(f"{stubs} cannot be installed")
    (site,) = (installed.parents[1] / "lib").glob("python3*/site-packages")
    shutil.copytree(tmp_path / "stubs" / "pyarrow-stubs", site / "pyarrow-stubs")
    programs = [block.text for block in parse((ROOT / "README.md").read_text()) if block.language == "python"]
    (tmp_path / "program.py").write_text("\n".join(programs))
    shutil.copy(ROOT / "examples" / "embed" / "embed.py", tmp_path)
    command = [sys.executable, "-m", "mypy", "--strict", "--python-executable", installed, "program.py", "embed.py"]
    done = run_in(tmp_path, installed, *command)
    assert (done.returncode, done.stdout) == (0, "Success: no issues found in 2 source files\n"), done.stderr
    # Types are known, not just taken for anything.
    (tmp_path / "wrong.py").write_text("from dataflare import Host\nHost(cache_dir=5).load(7)\n")
    done = run_in(tmp_path, installed, *command[:-2], "wrong.py")
    assert "Found 2 errors" in done.stdout, done.stdout


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("componentize_py") is None and not IN_CI, reason="no componentize-py")
def test_plugin_is_written_built_packaged_and_run_with_the_wheel_alone(installed: Path, tmp_path: Path) -> None:
    def run(*words: str) -> str:
        done = run_in(tmp_path, installed, "dataflare", *words)
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout

    run("new", "clean-names", "--kind", "transformer", "--lang", "python")
    assert "2 of 2 cases passed" in run("test", "clean-names")
    assert "up to date" in run("build", "clean-names")
    assert "clean-names 0.1.0, a transformer" in run("package", "clean-names")
    assert "transformer-plugin" in run("inspect", "clean-names/dist/clean-names-0.1.0.wasm")
    (tmp_path / "in.jsonl").write_text('{"amount": 3, "quantity": 2}\n')
    (tmp_path / "pipeline.yaml").write_text(
        "name: ratios\nnodes:\n  read: { connector: jsonl, read: in.jsonl }\n"
        "  ratio:\n    plugin: clean-names/dist/clean-names-0.1.0.wasm\n    input: read\n"
        "    config: { of: amount, to: quantity }\n"
        "  write: { connector: jsonl, input: ratio, write: out.jsonl }\n"
    )
    run("run", "pipeline.yaml")
    assert (tmp_path / "out.jsonl").read_text() == '{"amount":3,"quantity":2,"ratio":1.5}\n'


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("componentize_py") is None and not IN_CI, reason="no componentize-py")
def test_guide_to_embedding_a_component_works_with_the_wheel_alone(installed: Path, tmp_path: Path) -> None:
    printed = ""
    blocks = list(parse((ROOT / "docs" / "how-to" / "embed-any-world.md").read_text()))
    for block in blocks:
        if target := block.marks.get("file"):
            (tmp_path / target).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / target).write_text(block.text)
        if "run" in block.marks:
            command = [installed, "-c"] if block.language == "python" else ["sh", "-euc"]
            done = run_in(tmp_path, installed, *command, block.text)
            assert done.returncode == 0, f"line {block.line}: {done.stdout}{done.stderr}"
            printed = done.stdout
        if "output" in block.marks:
            assert as_pattern(block.text).fullmatch(trimmed(printed)), (
                f"line {block.line}: this was printed:\n{printed}"
            )
    assert sum("output" in block.marks for block in blocks) >= 3


PEOPLE = '{"id": 1, "name": " Ada ", "amount": 3, "quantity": 2}\n'
_READ = "  read: { connector: jsonl, read: in.jsonl }\n"
_WRITE = "  write: { connector: jsonl, input: plugin, write: out.jsonl }\n"
IN_A_PIPELINE = {
    "source": f"  plugin: {{ plugin: WASM, config: {{ rows: 2 }} }}\n{_WRITE}",
    "destination": f"{_READ}  plugin: {{ plugin: WASM, input: read, grants: {{ state: true }} }}\n",
    "processor": f"{_READ}  plugin: {{ plugin: WASM, input: read }}\n{_WRITE}",
    "transformer": f"{_READ}  plugin: {{ plugin: WASM, input: read, config: {{ of: amount, to: quantity }} }}\n"
    f"{_WRITE}",
    "validator": f"{_READ}  plugin: {{ plugin: WASM, input: read, config: {{ column: amount }} }}\n{_WRITE}",
}
"""What a pipeline does with the plugin that `dataflare new` writes of each kind."""
WRITTEN = {
    "source": '{"id":0,"square":0}\n{"id":1,"square":1}\n',
    "processor": '{"id":1,"name":"Ada","amount":3,"quantity":2}\n',
    "transformer": '{"id":1,"name":" Ada ","amount":3,"quantity":2,"ratio":1.5}\n',
    "validator": '{"id":1,"name":" Ada ","amount":3,"quantity":2}\n',
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("language", "tool", "kind"),
    # A component in TypeScript takes a minute to build and to compile: the other kinds are checked without.
    [
        *((language, tool, kind) for language, tool in (("rust", "cargo"), ("c", "npm")) for kind in IN_A_PIPELINE),
        ("cpp", "npm", "transformer"),
        ("go", "npm", "transformer"),
        ("typescript", "npm", "processor"),
    ],
)
def test_plugin_goes_all_the_way_with_the_wheel_alone(
    installed: Path, tmp_path: Path, language: str, tool: str, kind: str
) -> None:
    if shutil.which(tool) is None and not IN_CI:
        pytest.skip(f"there is no {tool}")

    def run(*words: str) -> str:
        done = run_in(tmp_path, installed, "dataflare", *words)
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout

    run("new", "a-plugin", "--kind", kind, "--lang", language)
    told = run("test", "a-plugin")
    assert "unit tests passed: " in told or not list((tmp_path / "a-plugin" / "tests").glob("*.*"))
    assert "cases passed" in told and "FAILED" not in told
    assert "up to date" in run("build", "a-plugin")
    assert f"a-plugin 0.1.0, a {kind}" in run("package", "a-plugin")
    assert f"{kind}-plugin" in run("inspect", "a-plugin/dist/a-plugin-0.1.0.wasm")
    (tmp_path / "in.jsonl").write_text(PEOPLE)
    nodes = IN_A_PIPELINE[kind].replace("WASM", "a-plugin/dist/a-plugin-0.1.0.wasm")
    (tmp_path / "pipeline.yaml").write_text(f"name: all-the-way\nnodes:\n{nodes}")
    run("run", "pipeline.yaml")
    if kind in WRITTEN:
        assert (tmp_path / "out.jsonl").read_text() == WRITTEN[kind]
