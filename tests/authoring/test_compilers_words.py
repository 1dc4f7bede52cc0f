"""What authors are told when their plugin cannot be built: file, line and the language's own words, nothing else."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from dataflare.authoring.building import build_plugin
from dataflare.authoring.templates import kinds_of, new_plugin
from dataflare.runtime.host import Host
from dataflare.toolchain.guests import Guest, guest_of
from dataflare.toolchain.javascript import JavaScriptDriver
from dataflare.toolchain.python import PythonDriver, own_modules
from dataflare.toolchain.python_syntax import late_imports
from dataflare.toolchain.run_tool import BuildFailed, ToolchainMissing, run

NODE = pytest.mark.skipif(shutil.which("npm") is None, reason="there is no Node.js")


def python_plugin(tmp_path: Path, text: str) -> Guest:
    new_plugin(tmp_path / "plug in é" / "a", kind="transformer", language="python")
    folder = tmp_path / "plug in é" / "a"
    (folder / "plugin.py").write_text(text)
    return guest_of(folder)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("x = 1\ndef broken(:\n", "plugin.py:2: SyntaxError: "),
        ("if True:\nx = 1\n", "plugin.py:2: IndentationError: "),
        ("x = '\n", "plugin.py:1: SyntaxError: "),
        ("x = 1\0\n", "plugin.py"),
    ],
)
def test_syntax_error_in_python_is_told_with_its_line(tmp_path: Path, text: str, says: str) -> None:
    guest = python_plugin(tmp_path, text)
    (tmp_path / "work").mkdir()
    with pytest.raises(BuildFailed) as caught:
        PythonDriver().build(guest, tmp_path / "work")
    assert says in str(caught.value)
    assert "Traceback" not in str(caught.value) and "componentize" not in str(caught.value)


def test_plugin_without_its_module_says_where_it_belongs(tmp_path: Path) -> None:
    guest = python_plugin(tmp_path, "")
    (guest.folder / "plugin.py").unlink()
    (tmp_path / "work").mkdir()
    with pytest.raises(BuildFailed, match=r"there is no plugin\.py"):
        PythonDriver().build(guest, tmp_path / "work")


def test_tests_and_what_is_built_are_no_part_of_a_plugin(tmp_path: Path) -> None:
    guest = python_plugin(tmp_path, "")
    for name in (
        "helpers.py",
        "test_plugin.py",
        "conftest.py",
        "tests/test_more.py",
        "build/copy.py",
        "own/__init__.py",
        "own/deep.py",
    ):
        (guest.folder / name).parent.mkdir(exist_ok=True)
        (guest.folder / name).write_text("")
    found = [path.relative_to(guest.folder).as_posix() for path in own_modules(guest.folder)]
    assert sorted(found) == ["helpers.py", "own/__init__.py", "own/deep.py", "plugin.py"]


def test_unit_tests_in_python_that_fail_are_shown(tmp_path: Path) -> None:
    guest = python_plugin(tmp_path, "")
    (guest.folder / "tests" / "test_plugin.py").unlink()
    (guest.folder / "tests" / "test_it.py").write_text("def test_it():\n    assert 1 == 2\n")
    with pytest.raises(BuildFailed, match="assert 1 == 2"):
        PythonDriver().unit_tests(guest)
    (guest.folder / "tests" / "test_it.py").write_text("def test_it():\n    assert 1 == 1\n")
    assert "1 passed" in PythonDriver().unit_tests(guest)


@pytest.mark.parametrize("kind", kinds_of("python"))
def test_unit_tests_that_new_writes_in_python_pass_natively(tmp_path: Path, kind: str) -> None:
    new_plugin(tmp_path / "a b é" / "my-plugin", kind=kind, language="python")
    folder = tmp_path / "a b é" / "my-plugin"
    assert re.match(r"\d+ passed in ", PythonDriver().unit_tests(guest_of(folder)))
    # An author may call the runner too, in the folder or in that of the tests.
    command = [sys.executable, "-P", "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    assert " passed in " in run(command, cwd=folder / "tests")


LATE = """from dataflare_plugin import Processor

class A(Processor):
    def process(self, record):
        from csv import reader
        def inner():
            import json, own.deep as deep
            from . import nothing
        try:
            import no_such_module
        except ImportError:
            return {"row": next(reader(["a,b"]))}
"""


def test_imports_within_functions_are_found_with_their_lines(tmp_path: Path) -> None:
    (tmp_path / "plugin.py").write_text(LATE)
    (tmp_path / "deep.py").write_text("async def f():\n    from .. import above\n    from .near import b\nimport top\n")
    found = late_imports({"plugin.py": str(tmp_path / "plugin.py"), "own/deep.py": str(tmp_path / "deep.py")})
    assert {(each["name"], each["line"], each["module"]) for each in found} == {
        ("plugin.py", 5, "csv"),
        ("plugin.py", 5, "csv.reader"),
        ("plugin.py", 7, "json"),
        ("plugin.py", 7, "own.deep"),
        ("plugin.py", 8, "nothing"),
        ("plugin.py", 10, "no_such_module"),
        ("own/deep.py", 2, "above"),
        ("own/deep.py", 3, "own.near"),
        ("own/deep.py", 3, "own.near.b"),
    }


def test_host_interface_that_a_function_imports_without_need_is_told_with_its_line(tmp_path: Path) -> None:
    guest = python_plugin(tmp_path, "def process():\n    from dataflare_plugin import errors, http\n")
    (tmp_path / "work").mkdir()
    with pytest.raises(
        BuildFailed, match=r"^plugin\.py:2: it imports http, which plugin\.yaml does not list"
    ) as caught:
        PythonDriver().build(guest, tmp_path / "work")
    assert caught.value.hint == "plugin.yaml: add http to `needs`"


@pytest.mark.slow
@pytest.mark.guests
def test_imports_within_functions_work_in_a_component(tmp_path: Path) -> None:
    new_plugin(tmp_path / "a", kind="processor", language="python")
    (tmp_path / "a" / "plugin.py").write_text(LATE)
    with Host() as host:
        built, _ = build_plugin(tmp_path / "a", host)
        with host.load(built.guest.output) as plugin:
            started: Any = plugin.start()
            assert started.process("{}") == '{"row":["a","b"]}'


@NODE
@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("export default class {\n  a b\n}\n", "plugin.js:2: SyntaxError: "),
        ("let a = 1;\nlet a = 2;\n", "plugin.js:2: SyntaxError: Identifier 'a' has already been declared"),
        ("\nexport default class A extends Proccesor {}\n", "plugin.js:2: ReferenceError: Proccesor is not defined"),
        ("let a = 1;\n", "plugin.js: it has to export the plugin's class as its default"),
        ("export default class {}\n", "plugin.js: its default export has to be a class of the kind processor"),
        ("import 'lodash';\n", 'there is no module "lodash" to import'),
        ("import { send } from 'dataflare:host/http@1.0.0';\nexport default send;\n", "add http to `needs`"),
        ("export default 1;\nthrow new Error('no\\nmore');\n", "plugin.js:2: Error: no"),
    ],
)
def test_mistake_in_javascript_is_told_with_its_line(tmp_path: Path, text: str, says: str) -> None:
    folder = tmp_path / "plug in é" / "a"
    new_plugin(folder, kind="processor", language="javascript")
    (folder / "plugin.js").write_text(text)
    (tmp_path / "work").mkdir()
    try:
        JavaScriptDriver().build(guest_of(folder), tmp_path / "work")
    except ToolchainMissing as missing:
        pytest.skip(str(missing))
    except BuildFailed as error:
        assert says in f"{error}\n{error.hint}"
        assert "node:internal" not in str(error) and "componentize" not in str(error)
    else:
        pytest.fail("it was built")


@NODE
def test_unit_tests_in_javascript_run_in_node(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    new_plugin(folder, kind="processor", language="javascript")
    assert JavaScriptDriver().unit_tests(guest_of(folder)) == "pass 2"
    (folder / "tests" / "it.test.js").write_text(
        "import test from 'node:test';\ntest('it', () => { throw new Error('wrong'); });\n"
    )
    with pytest.raises(BuildFailed, match="wrong"):
        JavaScriptDriver().unit_tests(guest_of(folder))
