from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataflare.wit.model import (
    PRIMITIVES,
    Alias,
    Borrow,
    Case,
    Enum,
    Flags,
    Function,
    Gate,
    Interface,
    InterfaceRef,
    ListOf,
    Named,
    OptionOf,
    PackageName,
    Parameter,
    Primitive,
    Record,
    RecordField,
    Resource,
    ResultOf,
    TupleOf,
    Variant,
    WitError,
)
from dataflare.wit.parser import Document, parse, parse_file
from dataflare.wit.standard import standard_folder
from dataflare.wit.tokens import KEYWORDS
from wit_texts import EXAMPLE

FILES = sorted(standard_folder().rglob("*.wit"))


def interface(body: str) -> Interface:
    return parse(f"interface i {{ {body} }}").interfaces[0]


def error_of(text: str) -> WitError:
    with pytest.raises(WitError) as raised:
        parse(text, file="x.wit")
    return raised.value


class TestPackages:
    def test_a_package_has_a_namespace_a_name_and_a_version(self) -> None:
        assert parse("package a:b@1.2.3-rc.1+x;").name == PackageName("a", "b", "1.2.3-rc.1+x")

    def test_the_version_may_be_absent(self) -> None:
        assert parse("package a:b;").name == PackageName("a", "b")

    def test_a_file_may_leave_the_package_to_another(self) -> None:
        assert parse("interface i {}").name is None

    def test_packages_may_be_nested(self) -> None:
        document = parse("package a:b { interface i {} } package c:d@1.0.0 { world w {} }")
        assert [str(each.name) for each in document.nested] == ["a:b", "c:d@1.0.0"]

    def test_a_use_of_the_file_stands_for_an_interface(self) -> None:
        document = parse("use a:b/c@1.0.0 as d; interface i { use d.{t}; } world w { import d; }")
        named = InterfaceRef("c", PackageName("a", "b", "1.0.0"))
        assert document.interfaces[0].uses[0].source == named
        assert document.worlds[0].items[0].item == named

    def test_documentation_of_a_package_is_kept(self) -> None:
        assert parse(EXAMPLE).docs == "A package."


class TestInterfaces:
    def test_documentation_and_gates_come_in_either_order(self) -> None:
        for text in ("/// Doc.\n@since(version = 1.0.0)\n", "@since(version = 1.0.0)\n/// Doc.\n"):
            found = parse(text + "interface i {}").interfaces[0]
            assert (found.docs, found.gate) == ("Doc.", Gate(since="1.0.0"))

    def test_documentation_in_blocks_loses_its_stars(self) -> None:
        assert parse("/**\n * One.\n * Two.\n */ interface i {}").interfaces[0].docs == "One.\nTwo."

    def test_an_unstable_item_names_its_feature(self) -> None:
        found = interface("@unstable(feature = new-things) @deprecated(version = 2.0.0) f: func();").functions[0]
        assert found.gate == Gate(unstable="new-things", deprecated="2.0.0")

    def test_types_of_another_interface_may_get_other_names(self) -> None:
        found = interface("use other.{a, b as c,};").uses[0]
        assert found.names == (("a", "a"), ("b", "c"))

    def test_a_percent_sign_makes_a_keyword_a_name(self) -> None:
        assert interface("%list: func(%type: u8);").functions == (
            Function(name="list", parameters=(Parameter(name="type", type=Primitive("u8")),)),
        )

    def test_comments_may_be_nested(self) -> None:
        assert interface("/* a /* b */ c */ // d\n f: func();").functions[0].name == "f"


class TestTypes:
    def test_a_record_has_fields(self) -> None:
        assert interface("record r { a: u8, b: string }").types[0] == Record(
            name="r",
            fields=(RecordField(name="a", type=Primitive("u8")), RecordField(name="b", type=Primitive("string"))),
        )

    def test_a_variants_cases_may_carry_a_value(self) -> None:
        assert interface("variant v { a, b(u8) }").types[0] == Variant(
            name="v", cases=(Case(name="a"), Case(name="b", payload=Primitive("u8")))
        )

    def test_enums_and_flags_have_names_only(self) -> None:
        assert interface("enum e { a, b } flags f { c, d, }").types == (
            Enum(name="e", cases=(Case(name="a"), Case(name="b"))),
            Flags(name="f", flags=(Case(name="c"), Case(name="d"))),
        )

    def test_a_resource_has_a_constructor_methods_and_static_functions(self) -> None:
        found = interface("resource r { constructor(a: u8); m: func() -> u8; s: static func(); } resource q;").types
        assert isinstance(found[0], Resource)
        assert [(each.name, each.kind) for each in found[0].functions] == [
            ("constructor", "constructor"),
            ("m", "method"),
            ("s", "static"),
        ]
        assert found[1] == Resource(name="q")

    def test_results_may_lack_either_side(self) -> None:
        texts = ("result", "result<u8>", "result<_, u8>", "result<u8, u8>")
        found = [each.type for each in interface(" ".join(f"type t{i} = {t};" for i, t in enumerate(texts))).types]
        u8 = Primitive("u8")
        assert found == [ResultOf(), ResultOf(u8), ResultOf(None, u8), ResultOf(u8, u8)]


def types() -> st.SearchStrategy[object]:
    label = st.from_regex(r"[a-z][a-z0-9]{0,4}(-[a-z0-9]{1,3}){0,2}", fullmatch=True).filter(
        lambda name: name not in KEYWORDS
    )
    names = label.map(Named)
    leaves = st.sampled_from(PRIMITIVES).map(Primitive) | names | names.map(Borrow)

    def wrap(inner: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
        maybe = st.none() | inner
        return (
            st.builds(ListOf, inner, st.none() | st.integers(1, 2**32 - 1))
            | st.builds(OptionOf, inner)
            | st.builds(ResultOf, maybe, maybe)
            | st.lists(inner, min_size=1, max_size=4).map(lambda items: TupleOf(tuple(items)))
        )

    return st.recursive(leaves, wrap, max_leaves=20)


@given(types())
def test_every_type_reads_back_as_it_was_written(value: object) -> None:
    alias = interface(f"type t = {value};").types[0]
    assert isinstance(alias, Alias)
    assert alias.type == value


class TestErrors:
    @pytest.mark.parametrize(
        ("text", "line", "column", "says"),
        [
            ("interface i {\n  f: func(a: u9);\n", 3, 1, "the end of the file"),
            ("interface i {\n  enum e {}\n}", 2, 8, "at least a case"),
            ("interface i {\n  variant v {}\n}", 2, 11, "at least a case"),
            ("interface i { type t = map<string, u8>; }", 1, 24, "`map` is not supported"),
            ("interface i {\n  f: func(a: u8, a: u8);\n}", 2, 18, "twice"),
            ("interface i { enum e { a-b, ab } }", 1, 29, "twice"),
            ("interface record {}", 1, 11, "write `%record`"),
            ("interface i { f: async func(); }", 1, 18, "`async` is not supported"),
            ("interface i { type t = stream<u8>; }", 1, 24, "`stream` is not supported"),
            ("interface i { type t = list<u8, 0>; }", 1, 33, "length is 1 to"),
            ("interface i { type t = result<_>; }", 1, 31, "write `result`"),
            ("interface Foo-bAr {}", 1, 11, "not a name"),
            ("package a:b; package c:d;", 1, 14, "comes once"),
            ("/* no end", 1, 1, "no end"),
            ("interface i { \u202e }", 1, 15, "not allowed"),
            ("interface i { f: func() -> # }", 1, 28, "no place"),
            ("@since(version = 1.0) interface i {}", 1, 18, "a version"),
            ("@since(version = 1.0.0) @unstable(feature = a) interface i {}", 1, 48, "not both"),
            ("@never interface i {}", 1, 1, "not a gate"),
            ("world w { import a:b; }", 1, 21, "`/`"),
            ("interface i { flags f { " + ", ".join(f"x{i}" for i in range(33)) + " } }", 1, 21, "33 flags"),
            ("package a:b@01.0.0;", 1, 13, "a version"),
        ],
    )
    def test_an_error_says_where_and_what(self, text: str, line: int, column: int, says: str) -> None:
        error = error_of(text)
        assert (error.position.line, error.position.column) == (line, column)
        assert error.where == f"x.wit:{line}:{column}"
        assert says in str(error)

    def test_types_cannot_be_nested_without_end(self) -> None:
        assert "nested more than 100" in str(error_of(f"interface i {{ type t = {'list<' * 100_000}"))

    def test_nested_packages_cannot_be_nested_without_end(self) -> None:
        assert "holds no package" in str(error_of("package a:b { " * 100_000))

    def test_comments_nested_deeply_are_read(self) -> None:
        assert parse("/*" * 50_000 + "*/" * 50_000).interfaces == ()

    def test_a_file_that_is_not_there_is_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(WitError, match="cannot be read"):
            parse_file(tmp_path / "none.wit")

    def test_a_file_that_is_no_text_is_an_error_with_its_line(self, tmp_path: Path) -> None:
        (tmp_path / "x.wit").write_bytes(b"interface i {\n  \xff }")
        with pytest.raises(WitError, match=r"x\.wit:2:3: is not UTF-8"):
            parse_file(tmp_path / "x.wit")

    def test_a_file_that_is_too_large_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "x.wit").write_bytes(b" " * (4 * 2**20 + 1))
        with pytest.raises(WitError, match="longer than"):
            parse_file(tmp_path / "x.wit")


def parsed_or_refused(text: str) -> None:
    try:
        assert isinstance(parse(text), Document)
    except WitError as error:
        lines = text.split("\n")
        assert 1 <= error.position.line <= len(lines)
        assert 1 <= error.position.column <= len(lines[error.position.line - 1]) + 1


WORDS = [
    *sorted(KEYWORDS),
    *"{}()<>:,;=./@_%-",
    "->",
    "///x\n",
    "/*",
    "*/",
    "//\n",
    "a",
    "b-c",
    "1.0.0",
    "7",
    "\n",
    " ",
]


@settings(max_examples=400)
@given(st.text() | st.lists(st.sampled_from(WORDS)).map(" ".join) | st.lists(st.sampled_from(WORDS)).map("".join))
def test_any_text_is_parsed_or_refused_with_a_place_in_it(text: str) -> None:
    parsed_or_refused(text)


@settings(max_examples=200)
@given(st.sampled_from(FILES), st.randoms(use_true_random=False))
def test_a_damaged_file_is_parsed_or_refused_with_a_place_in_it(file: Path, chance: random.Random) -> None:
    text = file.read_text(encoding="utf-8")
    for _ in range(chance.randint(1, 4)):
        start = chance.randrange(len(text))
        end = min(len(text), start + chance.choice([0, 1, 20]))
        text = text[:start] + chance.choice(["", *WORDS]) + text[end:]
    parsed_or_refused(text)
