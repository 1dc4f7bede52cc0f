"""WIT and components by strangers: what is in them cannot become code, and does not end in half a folder."""

from __future__ import annotations

import ast
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bindings_kit import check_style, check_types, files_of, imported
from dataflare.bindgen.folder import differences, write_folder
from dataflare.bindgen.generate import generate
from dataflare.bindgen.names import UniqueNames, camel, require_plain, snake
from dataflare.bindgen.reflected import reflected_catalog
from dataflare.bindgen.source import choose_world, read_component_world, read_wit
from dataflare.bindgen.text import docstring, quote
from dataflare.engine.abi.types import ComponentType, EnumT, FuncT, Interface, PrimT, RecordT
from dataflare.errors import ConfigError, DataflareError, NotAComponent
from dataflare.wit.model import WitError

TRICKS = (
    '"""',
    '"',
    "\\",
    '\\"""',
    "'''",
    "{x}",
    "\r",
    "\x0c",
    "\u2028",
    "\x85",
    '""""',
    "\\N{DASH}",
    "\\x",
    "#",
    "\t",
    "import os",
    "a" * 100,
)
DOCS = st.lists(st.one_of(st.sampled_from(TRICKS), st.text(max_size=5)), max_size=12).map(" ".join)


@settings(max_examples=300, deadline=None)
@given(DOCS, st.sampled_from([0, 4, 8]))
def test_a_docstring_is_one_expression_whatever_it_holds(text: str, indent: int) -> None:
    lines = docstring([text], indent)
    body = "\n".join(lines) if lines else f'{" " * indent}"""."""'
    source = (
        body if indent == 0 else f"{'class A:' if indent == 4 else 'class A:' + chr(10) + '    def f(self):'}\n{body}"
    )
    tree = ast.parse(source)
    body_of = tree.body
    while not isinstance(body_of[0], ast.Expr):
        assert len(body_of) == 1
        body_of = body_of[0].body  # type: ignore[attr-defined]
    assert len(body_of) == 1 and isinstance(body_of[0].value, ast.Constant)


def test_a_docstring_of_every_length_is_as_formatters_write_it(tmp_path: Path) -> None:
    lines = [
        line for n in range(70, 95) for line in ("", "", f"class A{n}:", *docstring(["word " * 9 + "x" * (n - 45)], 4))
    ]
    (tmp_path / "x.py").write_text("\n".join(["x = 1", *lines, ""]))
    assert check_style(tmp_path) == ""


@settings(max_examples=300)
@given(st.text())
def test_a_quoted_text_is_that_text(text: str) -> None:
    assert ast.literal_eval(quote(text)) == text and quote(text).isascii()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(DOCS, min_size=6, max_size=6))
def test_documentation_cannot_become_code(docs: list[str]) -> None:
    lines = [["/// " + line for line in text.split("\n")] for text in docs]
    parts = ["\n".join(each) for each in lines]
    text = f"""
{parts[0]}
package a:b@1.0.0;
{parts[1]}
interface i {{
  {parts[2]}
  record r {{
    {parts[3]}
    x: u8,
  }}
  {parts[4]}
  f: func(r: r) -> result<u8, r>;
}}
{parts[5]}
world w {{ import i; export i; export g: func(); }}
"""
    try:
        files = files_of(text)
    except WitError:
        return  # a character that WIT does not allow
    plain = files_of(
        "package a:b@1.0.0; interface i { record r { x: u8 } f: func(r: r) -> result<u8, r>; }"
        "world w { import i; export i; export g: func(); }"
    )
    for name, source in files.items():
        if name.endswith(".py"):
            assert _code(source) == _code(plain[name])


def _code(source: str) -> str:
    """A module without its docstrings."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(body := getattr(node, "body", None), list):
            node.body = [each for each in body if not _is_text(each)] or [ast.Pass()]  # type: ignore[attr-defined]
    return ast.dump(tree)


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


@pytest.mark.parametrize("name", ["a-b\nimport os", 'x"', "", "a b", "é", "a--b", "-a", "1a", "__class__", "a" * 300])
def test_a_name_that_is_not_one_is_refused(name: str) -> None:
    with pytest.raises(ConfigError):
        require_plain(name, "here")
    shape = ComponentType(exports={"a:b/c": Interface(funcs={name: FuncT((), None)})})
    with pytest.raises(DataflareError):
        catalog, world = reflected_catalog(shape, component="x.wasm", name="x")
        generate(catalog, world)


def test_names_of_python_and_of_generated_code_are_no_clash(tmp_path: Path) -> None:
    words = "class def lambda none true self cls result int str list bytes float bool tuple type property super l o i"
    words += " print object any optional enum dataclass df t abc builtins interface errors abi match case import-x mro"
    fields = ", ".join(f"%{word}: u8" for word in words.split())
    methods = " ".join(f"%{word}: func(%{word}: list<u8>, self-x: string) -> list<string>;" for word in words.split())
    cases = ", ".join(f"%{word}(list<f64>)" for word in words.split())
    flags = ", ".join(f"%{word}" for word in words.split()[:32])
    types = " ".join(f"type %{word}-t = list<%{word}>; record %{word} {{ x: u8 }}" for word in words.split())
    text = f"""package a:b@1.0.0;
    interface errors {{ record r {{ {fields} }} variant v {{ {cases} }} enum e {{ {flags} }} flags f {{ {flags} }}
      resource res {{ constructor(%self: u8); {methods} close: func(); drop: func(); }} }}
    interface abi {{ use errors.{{res, v}}; {methods} f: func(r: borrow<res>) -> result<u8, v>; }}
    interface %types {{ {types} {methods.replace("%", "%fn-")} }}
    world %import {{ import errors; import abi; import %types; export errors; export abi; export %types;
      export close: func(); export stats: func(); import property: func(); export %errors-x: func() -> result; }}"""
    files = files_of(text)
    write_folder(tmp_path / "words", files)
    assert check_types(tmp_path / "words") == ""
    assert check_style(tmp_path / "words") == ""
    with imported(files, tmp_path) as bindings:
        assert bindings.Import.close_ and bindings.Import.stats_


def test_versions_and_packages_of_one_interface_stand_side_by_side(tmp_path: Path) -> None:
    interface = "interface store { record item { x: u8 } get: func() -> item; }"
    text = f"""package a:main@1.0.0; world w {{
      import b:kv/store@1.0.0; import b:kv/store@2.0.0; import c:kv/store@1.0.0; export b:kv/store@2.0.0;
      import d:x/other@1.0.0-rc.1; }}
    package b:kv@1.0.0 {{ {interface} }} package b:kv@2.0.0 {{ {interface} }} package c:kv@1.0.0 {{ {interface} }}
    package d:x@1.0.0-rc.1 {{ interface other {{ f: func(); }} }}"""
    files = files_of(text)
    assert len([name for name in files if name.startswith(("b_kv_store", "c_kv_store"))]) == 3
    write_folder(tmp_path / "versions", files)
    assert check_types(tmp_path / "versions") == ""
    with imported(files, tmp_path):
        pass


def test_interfaces_that_the_host_has_are_not_to_be_implemented(tmp_path: Path) -> None:
    text = """package a:main@1.0.0;
    interface i { use wasi:io/streams@0.2.0.{stream-error, moment};
      read: func(m: moment) -> result<moment, stream-error>; }
    world w { import i; }
    package wasi:io@0.2.0 { interface streams { resource input-stream { read: func(n: u64) -> list<u8>; }
      type moment = u64; variant stream-error { closed }
      skip: func(s: input-stream) -> result<u64, stream-error>; } }"""
    files = files_of(text)
    assert "streams" not in files["__init__.py"]
    write_folder(tmp_path / "offered", files)
    assert check_types(tmp_path / "offered") == ""
    assert check_style(tmp_path / "offered") == ""
    with imported(files, tmp_path):
        pass


def test_types_that_would_grow_without_end_are_refused_in_time() -> None:
    chain = " ".join(f"type a{n} = tuple<a{n - 1}, a{n - 1}>;" for n in range(1, 40))
    text = f"package a:b; interface i {{ type a0 = list<string>; {chain} f: func(x: a39); }} world w {{ import i; }}"
    with pytest.raises(WitError, match="more than 4000 characters"):
        files_of(text)


def test_long_chains_of_types_are_written() -> None:
    chain = " ".join(f"record r{n} {{ x: r{n - 1} }}" for n in range(1, 3000))
    files = files_of(f"package a:b; interface i {{ record r0 {{ x: u8 }} {chain} }} world w {{ import i; }}")
    assert "class R2999:" in files["i.py"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("package a:b; world w { import f: func(x: list<u8, 4>); }", "fixed length"),
        ("package a:b; world w { import f: func(x: u9); }", "there is no type `u9` here"),
        ("package a:b; world w { import f: async func(); }", "not supported"),
        ("package a:b; world w { import f: func() -> stream<u8>; }", "not supported"),
        ("package a:b; interface i { }", "has no world"),
        ("package a:b; world w { } world v { }", "has 2 worlds"),
    ],
)
def test_what_cannot_be_written_is_said_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "x.wit").write_text(text)
    with pytest.raises(ConfigError, match=said) as raised:
        catalog = read_wit(tmp_path)
        generate(catalog, choose_world(catalog, None, where=str(tmp_path)))
    assert str(tmp_path) in str(raised.value)


def test_33_flags_are_refused() -> None:
    flags = ", ".join(f"b{n}" for n in range(33))
    with pytest.raises(WitError, match="33 flags"):
        files_of(f"package a:b; interface i {{ flags f {{ {flags} }} }} world w {{ import i; }}")


def test_a_world_that_is_not_there_brings_suggestions(tmp_path: Path) -> None:
    (tmp_path / "x.wit").write_text("package a:b@1.0.0; world calculator { } world other { }")
    catalog = read_wit(tmp_path)
    with pytest.raises(ConfigError, match="did you mean calculator"):
        choose_world(catalog, "calculater", where="x")
    for name in ("calculator", "a:b/calculator", "a:b/calculator@1.0.0"):
        assert choose_world(catalog, name, where="x") == "a:b/calculator@1.0.0"


def test_a_file_that_is_not_a_component_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.wasm").write_bytes(b"\0asm\1\0\0\0")
    with pytest.raises(NotAComponent):
        read_component_world(tmp_path / "x.wasm")


def test_a_type_without_a_name_is_refused() -> None:
    func = FuncT((("x", RecordT((("a", PrimT("u8")),))), ("y", EnumT(("b",)))), None)
    shape = ComponentType(exports={"a:b/c": Interface(funcs={"f": func})})
    with pytest.raises(DataflareError, match="a record without a name"):
        reflected_catalog(shape, component="x.wasm", name="x")


# The folder.

FILES = {"__init__.py": "# Written by `dataflare bindgen`. Write it anew rather than change it.\n", "py.typed": ""}


def test_a_folder_with_other_files_is_left_as_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "mine.py").write_text("x = 1\n")
    with pytest.raises(ConfigError, match=r"was not generated: mine\.py"):
        write_folder(folder, FILES)
    assert os.listdir(folder) == ["mine.py"] and os.listdir(tmp_path) == ["out"]


def test_generated_files_are_replaced_and_old_ones_go(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    write_folder(folder, {**FILES, "old.py": FILES["__init__.py"]})
    (folder / "__pycache__").mkdir()
    assert differences(folder, FILES) == ["old.py"]
    write_folder(folder, FILES)
    assert sorted(os.listdir(folder)) == sorted(FILES) and os.listdir(tmp_path) == ["out"]
    assert differences(folder, FILES) == []


@pytest.mark.parametrize("kind", ["link", "file", "link inside"])
def test_nothing_is_written_through_links(tmp_path: Path, kind: str) -> None:
    target = tmp_path / "target"
    target.mkdir()
    folder = tmp_path / "out"
    if kind == "link":
        folder.symlink_to(target)
    elif kind == "file":
        folder.write_text("mine")
    else:
        folder.mkdir()
        (folder / "a.py").symlink_to(target)
    with pytest.raises(ConfigError):
        write_folder(folder, FILES)
    assert os.listdir(target) == []


@pytest.mark.parametrize("folder", [".", "", "..", "/", "x/.."])
def test_the_folder_that_one_is_in_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    (tmp_path / "here" / "x").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(ConfigError, match="the folder that you are in"):
        write_folder(Path(folder), FILES)
    assert (tmp_path / "here" / "x").is_dir()


def test_interfaces_called_as_what_a_world_has_do_not_replace_it(tmp_path: Path) -> None:
    words = ("close", "stats", "alive", "interrupt", "property", "match", "case")
    items = " ".join(f"export {each}: interface {{ f: func(); }}" for each in words)
    files = files_of(f"package a:b; world w {{ {items} import property: interface {{ f: func(); }} }}")
    write_folder(tmp_path / "words", files)
    assert check_types(tmp_path / "words") == ""
    assert check_style(tmp_path / "words") == ""
    assert "self.close_ = _close_.Close(" in files["__init__.py"]


def test_thousands_of_functions_and_deep_types_are_written() -> None:
    deep = "list<" * 60 + "u8" + ">" * 60
    many = " ".join(f"g{n}: func(a: u8, b: {deep}) -> string;" for n in range(1000))
    files = files_of(f"package a:b; interface i {{ {many} }} world w {{ export i; import i; }}")
    assert files["i.py"].count("def g999") == 2
    for text in files.values():
        compile(text, "bindings", "exec")


def test_a_folder_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file" / "out", tmp_path / "a\0b"):
        with pytest.raises(ConfigError, match=r"cannot be written|is not a folder"):
            write_folder(folder, FILES)


def test_spellings() -> None:
    assert [snake("list-all-HTTP"), snake("class"), camel("HTTP-code"), camel("none")] == [
        "list_all_http",
        "class_",
        "HTTPCode",
        "None_",
    ]
    scope = UniqueNames({"a"})
    assert [scope.add("a"), scope.add("a"), scope.add("b", "c"), scope.add("b", "c")] == ["a_", "a__", "b", "c"]
