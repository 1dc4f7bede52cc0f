"""The structure of the code is as `make lint` wants it, and each check finds what it is for."""

from __future__ import annotations

import re
import subprocess
import tomllib

import pytest

from check import ROOT, Module, cycles, duplicates, faults, imports_of, modules_below

TEN = [f"value_{n} = call({n})" for n in range(10)]


def modules(**texts: str) -> dict[str, Module]:
    named = {name.replace("__", "."): text for name, text in texts.items()}
    return {name: Module(name, f"{name}.py", text) for name, text in named.items()}


def test_this_repository_is_as_it_should_be() -> None:
    assert faults(modules_below(ROOT / "host"), modules_below(ROOT / "tests").values()) == []


def test_readme_says_what_each_folder_at_the_top_is_for() -> None:
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files"], capture_output=True, text=True, check=True, timeout=60
    ).stdout.splitlines()
    folders = {path.partition("/")[0] for path in listed if "/" in path and not path.startswith(".")}
    assert folders
    text = (ROOT / "README.md").read_text()
    table = text[text.index("## Where things are") : text.index("| in host/dataflare/ |")]
    named = set(re.findall(r"(?<![\w./(-])([a-z-]+)/", table))
    assert folders == named


def test_cycle_through_an_import_for_types_is_found() -> None:
    host = modules(
        p__a="from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from p.b import B\n",
        p__b="def f():\n    from p import c\n",
        p__c="import p.a\n",
        p__d="from p.a import x\n",
    )
    assert cycles({name: imports_of(module, host) for name, module in host.items()}) == [["p.a", "p.b", "p.c"]]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("from p.other import _hidden\n", "takes _hidden of p.other"),
        ("from p import other\nother._hidden()\n", "takes _hidden of p.other"),
        ("from p import other as o\nprint(o._hidden)\n", "takes _hidden of p.other"),
        ("import subprocess\n", "subprocess starts a process"),
        ("from multiprocessing.pool import Pool\n", "multiprocessing.pool starts a process"),
        ("import os\nos.execv('x', [])\n", "execv starts a process"),
        ("from os import fork\n", "fork starts a process"),
        ("import os as system\nsystem.fork()\n", "fork starts a process"),
        ("from concurrent.futures import ProcessPoolExecutor\n", "ProcessPoolExecutor starts a process"),
        ("import asyncio\nasyncio.create_subprocess_exec('x')\n", "create_subprocess_exec starts a process"),
        ("def f(other):\n    return other.part._inner\n", "takes _inner of other.part"),
        ("".join(f"x{n} = 1\n" for n in range(501)), "has 501 lines"),
    ],
    ids=[
        "import",
        "attribute",
        "alias",
        "subprocess",
        "multiprocessing",
        "exec",
        "fork",
        "alias-of-os",
        "pool",
        "asyncio",
        "object",
        "long",
    ],
)
def test_what_a_module_may_not_do_is_found(text: str, says: str) -> None:
    other = "class Other:\n    def __init__(self):\n        self._inner = 1\n"
    (found,) = faults(modules(p="", p__other=other, p__one=text), [])
    assert says in found


@pytest.mark.parametrize(
    "text",
    [
        "from p.other import shown\n",
        "self._own = 1\n",
        "def f(same):\n    same._own = 1\n    return same._own\n",
        "class Sub(Other):\n    def f(self):\n        return self._inner\n",
        "import wasmtime\nwasmtime.WasmtimeError._from_ptr(1)\n",
        "from p import other\nother.__name__\n",
        "# Over 500 lines: a table.\n" + "".join(f"x{n} = 1\n" for n in range(600)),
    ],
    ids=["public", "own", "same-class", "inherited", "library", "special", "reason"],
)
def test_what_a_module_may_do_is_left_alone(text: str) -> None:
    assert faults(modules(p="", p__other="self._inner = 1\n", p__one=text), []) == []


def test_module_that_may_start_processes_may() -> None:
    assert faults(modules(dataflare__toolchain__process="import subprocess\n"), []) == []


def test_ten_lines_in_two_places_are_found_once_and_nine_are_not() -> None:
    inner = "\n".join(f"    {line}  # why" for line in TEN)
    twice = modules(a="\n".join([*TEN, "x = 1"]), b=f'def f():\n    """Text."""\n{inner}\n    y = 2\n')
    assert duplicates(twice.values()) == ["a.py:1-10: stands in b.py:3 too"]
    assert duplicates(modules(a="\n".join(TEN), b="\n".join([*TEN[:9], "other = 1"])).values()) == []


def test_run_of_more_than_ten_lines_is_said_once() -> None:
    text = "\n".join([*TEN, "x = 1", "y = 2"])
    assert len(duplicates(modules(a=text, b=f"z = 0\n{text}").values())) == 1


def test_long_test_file_is_found() -> None:
    (found,) = faults({}, modules(long="x = 1\n" * 501).values())
    assert "split it" in found


def test_the_page_about_the_architecture_has_the_layers_of_the_contract() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = (each["layers"] for each in contracts if each.get("containers") == ["dataflare"])
    page = (ROOT / "docs/explanation/architecture.md").read_text()
    text = page.split("```text\n")[1].split("```")[0]
    shown = [
        {name for line in layer.splitlines() if line[0] != " " for name in re.split(" {2,}", line)[0].split(", ")}
        for layer in text.split("\n\n")
    ]
    assert shown == [{name.strip(" ()") for name in layer.split("|")} for layer in layers]


def test_every_place_in_the_table_of_contributing_exists() -> None:
    table = (ROOT / "CONTRIBUTING.md").read_text().split("## Where does this change belong?")[1].split("## Rules")[0]
    rows = [line.split("|")[2] for line in table.splitlines() if line.startswith("| ")][2:]
    missing = []
    for row in rows:
        around = [ROOT / "host/dataflare"]
        for name in re.findall(r"`([^`]+)`", row):
            if re.search("[A-Z]{5}", name) or not re.search(r"/|\.", name):
                continue
            places = [ROOT / name[1:]] if name[0] == "/" else [folder / name for folder in around]
            found = next((place for place in places if place.exists()), None)
            if found is None:
                missing.append(name)
            else:
                around.insert(0, found if found.is_dir() else found.parent)
    assert len(rows) >= 20 and missing == []
