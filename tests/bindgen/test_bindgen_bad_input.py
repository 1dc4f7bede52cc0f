"""What newcomers get wrong: folders with other files, options of the other form, implementations that do not fit."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType, SimpleNamespace
from typing import Any

import pytest
import wasmtime
from typer.testing import CliRunner

from bindings_kit import catalog_of, files_of, imported
from dataflare import folder_exchange
from dataflare.bindgen import folder as folder_module
from dataflare.bindgen.folder import differences, write_folder
from dataflare.bindgen.generate import generate_types
from dataflare.bindgen.implementations import host_resource
from dataflare.cli.app import app
from dataflare.errors import ConfigError, ValueTypeError
from dataflare.runtime.host import Host

MARK = "# Written by `dataflare bindgen`. Write it anew rather than change it.\n"
FILES = {"__init__.py": MARK, "a.py": MARK, "py.typed": ""}
WIT = """package t:k@1.0.0;
interface log { write: func(n: u32); @unstable(feature = counting) count: func() -> u32; }
world w { import log; export go: func(n: u32); }"""
COMPONENT = bytes(
    wasmtime.wat2wasm("""(component
      (import "t:k/log@1.0.0" (instance $log (export "write" (func (param "n" u32)))))
      (alias export $log "write" (func $write))
      (core func $lowered (canon lower (func $write)))
      (core module $m (import "l" "w" (func $w (param i32))) (func (export "go") (param i32) local.get 0 call $w))
      (core instance $i (instantiate $m (with "l" (instance (export "w" (func $lowered))))))
      (func (export "go") (param "n" u32) (canon lift (core func $i "go"))))""")
)


# The folder.


@pytest.mark.parametrize("name", ["__pycache__/notes.txt", "py.typed/notes.txt", "py.typed", "sub/__pycache__/x.py"])
def test_a_file_of_the_user_stays_wherever_it_is(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "out"
    (folder / name).parent.mkdir(parents=True)
    (folder / name).write_text("mine\n")
    with pytest.raises(ConfigError, match="was not generated"):
        write_folder(folder, FILES)
    assert (folder / name).read_text() == "mine\n" and os.listdir(tmp_path) == ["out"]


def test_compiled_modules_are_no_files_of_the_user(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    write_folder(folder, FILES)
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "a.cpython-311.pyc").write_bytes(b"\0")
    assert differences(folder, FILES) == []
    assert write_folder(folder, {**FILES, "b.py": MARK}) == ["b.py"]
    assert sorted(os.listdir(folder)) == ["__init__.py", "a.py", "b.py", "py.typed"]


def test_a_pipe_in_the_folder_is_not_waited_for(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    write_folder(folder, FILES)
    (folder / "a.py").unlink()
    os.mkfifo(folder / "a.py")
    os.mkfifo(folder / "more")
    assert differences(folder, FILES) == ["a.py", "more"]
    with pytest.raises(ConfigError, match="was not generated"):
        write_folder(folder, FILES)


def test_a_folder_keeps_its_mode(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    write_folder(folder, FILES)
    folder.chmod(0o700)
    write_folder(folder, {**FILES, "b.py": MARK})
    assert folder.stat().st_mode & 0o777 == 0o700


class _Stop(BaseException):
    pass


@contextmanager
def _interrupted_at(number: int) -> Iterator[list[int]]:
    """An interrupt before the line of this number of what writes folders; the list has how many lines there were."""
    files = {folder_module.__file__, folder_exchange.__file__}
    seen = [0]

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        if frame.f_code.co_filename not in files:
            return None
        if event == "line":
            seen[0] += 1
            if seen[0] == number:
                raise _Stop
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield seen
    finally:
        sys.settrace(before)


def _no_exchange(*_: Any, **__: Any) -> None:
    raise OSError


@pytest.mark.parametrize("in_steps", [False, True])
def test_an_interrupt_at_any_line_leaves_the_old_files_or_the_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_steps: bool
) -> None:
    if in_steps:
        monkeypatch.setattr(ctypes, "CDLL", _no_exchange)
    folder = tmp_path / "out"
    new = {**FILES, "b.py": MARK}
    outcomes = set()
    number = 0
    while True:
        number += 1
        write_folder(folder, FILES)
        with _interrupted_at(number) as seen, suppress(_Stop):
            write_folder(folder, new)
        outcomes.add(tuple(sorted(os.listdir(folder))))
        if seen[0] < number:
            break
    assert number > 40 and outcomes == {tuple(sorted(FILES)), tuple(sorted(new))}


# The command line.


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("x.wasm --feature counting", "--feature: is for --wit"),
        ("x.wasm --world other", "has no world 'other'"),
        ("--wit x.wasm", "is WebAssembly, not the text of WIT"),
        ("x.wit", "--wit x.wit"),
        (".", "is WIT, not a component"),
        ("--wit x.wit --feature countin", "did you mean counting?"),
        ("--wit bare.wit --types", "bare.wit: has no types"),
        ("--wit x.wit --types --guest", "cannot be combined with --types"),
        ("--wit x.wit --types --world v", "has no world 'v'"),
        ("--wit empty.wit", "empty.wit: no file says the package"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("x.wasm").write_bytes(COMPONENT)
    Path("x.wit").write_text(WIT)
    Path("bare.wit").write_text("package a:b; interface i { f: func(); }")
    Path("empty.wit").write_text("")
    result = CliRunner().invoke(app, ["bindgen", *arguments.split(), "-o", "out"])
    assert result.exit_code == 2 and said in result.stderr
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("name", "said", "meant"),
    [
        ("class", "a keyword of Python", "class_bindings"),
        ("my-bindings", "letters, digits and underscores", "my_bindings"),
        ("a.b", "letters, digits and underscores", "a_b"),
        ("out.py", "letters, digits and underscores", "out"),
        ("1a", "letters, digits and underscores", "_1a"),
        ("\ufb01", "letters, digits and underscores", "fi"),  # Python looks for the two letters of the ligature
        ("types", "would hide the module 'types'", "types_bindings"),
        ("dataflare", "would hide the module 'dataflare'", "dataflare_bindings"),
        ("__main__", "Python's own", "main"),
    ],
)
@pytest.mark.parametrize("option", ["", "--types", "--check"])
def test_a_folder_that_no_import_can_name_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, said: str, meant: str, option: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("x.wit").write_text(WIT)
    result = CliRunner().invoke(app, ["bindgen", "--wit", "x.wit", "-o", f"sub/{name}", *option.split()])
    assert result.exit_code == 2 and said in result.stderr and f"-o sub/{meant}" in result.stderr
    assert os.listdir(tmp_path) == ["x.wit"]


def test_a_package_within_a_package_may_have_the_name_of_a_module(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    Path("x.wit").write_text(WIT)
    Path("shop").mkdir()
    Path("shop/__init__.py").touch()
    assert CliRunner().invoke(app, ["bindgen", "--wit", "x.wit", "-o", "shop/types"]).exit_code == 0
    assert CliRunner().invoke(app, ["bindgen", "--guest", "--wit", "x.wit", "-o", "stubs-1.0"]).exit_code == 0


def test_types_are_written_and_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("x.wit").write_text("package a:b; interface i { record r { x: u8 } }")
    result = CliRunner().invoke(app, ["bindgen", "--types", "--wit", "x.wit", "-o", "out"])
    assert (result.exit_code, result.stdout) == (0, "out: 3 files, types of x.wit\n")
    result = CliRunner().invoke(app, ["bindgen", "--types", "--wit", "x.wit", "-o", "out", "--check"])
    assert result.exit_code == 0
    with Path("out/i.py").open("a") as file:
        file.write("# mine\n")
    result = CliRunner().invoke(app, ["bindgen", "--types", "--wit", "x.wit", "-o", "out", "--check"])
    assert result.exit_code == 1


# Implementations.


async def _async(n: int) -> None:
    pass


def _generator(n: int) -> Any:
    yield n


class _Log:
    def write(self, n: int) -> None:
        pass


@pytest.mark.parametrize(
    ("log", "said"),
    [
        (lambda: SimpleNamespace(write=_async), "imports.log.write: is async"),
        (lambda: SimpleNamespace(write=_generator), "imports.log.write: is a generator"),
        (lambda: _Log, "imports.log: is the class _Log, whose methods need an instance"),
    ],
)
def test_an_implementation_that_would_do_nothing_is_refused(
    host: Host, tmp_path: Path, log: Callable[[], Any], said: str
) -> None:
    with imported(files_of(WIT), tmp_path) as bindings, pytest.raises(ConfigError, match=said):
        bindings.W(COMPONENT, imports=SimpleNamespace(log=log()), host=host)


class _Lazy:
    """Imports whose parts are made when they are first needed."""

    @property
    def log(self) -> Any:
        return self.database  # type: ignore[attr-defined]


class _LazyLog:
    @property
    def write(self) -> Any:
        raise AttributeError("no database")


class _Proxy:
    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)


@pytest.mark.parametrize(
    ("imports", "error", "said"),
    [
        (_Lazy, AttributeError, "has no attribute 'database'"),
        (lambda: SimpleNamespace(log=_LazyLog()), AttributeError, "no database"),
        (_Proxy, ConfigError, "the _Proxy has no attribute 'log'"),
        (lambda: SimpleNamespace(log=_Proxy()), ConfigError, "imports.log: the _Proxy has no method 'write'"),
        (lambda: SimpleNamespace(log=None), ConfigError, "imports.log: None has no method 'write'"),
        (lambda: SimpleNamespace(log=SimpleNamespace(write=5)), ConfigError, "imports.log.write: is a int, not a"),
    ],
)
def test_the_error_of_a_property_is_not_taken_for_a_missing_import(
    host: Host, tmp_path: Path, imports: Callable[[], Any], error: type[Exception], said: str
) -> None:
    with imported(files_of(WIT), tmp_path) as bindings, pytest.raises(error, match=said):
        bindings.W(COMPONENT, imports=imports(), host=host)


def test_the_error_of_a_property_of_a_resource_is_not_taken_for_a_missing_method() -> None:
    class Thing:
        @property
        def read(self) -> Any:
            raise AttributeError("no disk")

    with pytest.raises(AttributeError, match="no disk"):
        host_resource(type("File", (), {}), "read").check(Thing())
    with pytest.raises(ValueTypeError, match="the method 'read' of SimpleNamespace is a int, not a plain function"):
        host_resource(type("File", (), {}), "read").check(SimpleNamespace(read=5))


def test_static_methods_of_a_class_are_an_implementation(host: Host, tmp_path: Path) -> None:
    class Log:
        @staticmethod
        def write(n: int) -> None:
            written.append(n)

    written: list[int] = []
    with (
        imported(files_of(WIT), tmp_path) as bindings,
        bindings.W(COMPONENT, imports=SimpleNamespace(log=Log), host=host) as world,
    ):
        world.go(3)
    assert written == [3]


def test_an_option_that_does_not_exist_is_named(host: Host, tmp_path: Path) -> None:
    said = "W has no option 'limit', did you mean 'limits'"
    imports = SimpleNamespace(log=_Log())
    with imported(files_of(WIT), tmp_path) as bindings:
        with pytest.raises(TypeError, match=said):
            bindings.W(COMPONENT, imports=imports, host=host, limit=1)
        with pytest.raises(ConfigError, match="host: a int is not a Host"):
            bindings.W(COMPONENT, imports=imports, host=1)


# Names of types alone.


def test_names_of_python_and_of_generated_modules_are_written_as_types() -> None:
    words = (
        "literal",
        "any",
        "variant",
        "type-alias",
        "df",
        "t",
        "dataclasses",
        "value-types",
        "values",
        "none",
        "int",
    )
    fields = ", ".join(f"%{each}: option<string>" for each in ("self", "str", "bytes", "int", "class", "t", "none"))
    kinds = " ".join(f"record %{each} {{ {fields} }}" for each in words)
    modules = " ".join(f"interface %{each} {{ {kinds} enum %enum {{ mro, name, none }} }}" for each in words)
    files = generate_types(catalog_of(f"package a:b; {modules}"))
    assert len(files) == len(words) + 2
    for text in files.values():
        space: dict[str, Any] = {"__name__": "written"}
        exec(compile(text, "types", "exec"), space)
        assert all(name in space for name in space.get("__all__", ()))
