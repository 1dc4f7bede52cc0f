from __future__ import annotations

from pathlib import Path

import pytest

from dataflare.wit.model import Alias, Function, Interface, ListOf, Named, Record, WitError
from dataflare.wit.resolve import load
from wit_texts import EXAMPLE, catalog_of

BASE = "package a:base@1.0.0; interface types { record r { x: u8 } resource h; }"


class TestNames:
    def test_a_used_type_is_bound_to_the_interface_that_defines_it(self, tmp_path: Path) -> None:
        middle = "package a:middle@1.0.0; interface m { use a:base/types@1.0.0.{r as q}; }"
        last = "package a:last@1.0.0; interface l { use a:middle/m@1.0.0.{q}; type t = list<q>; }"
        types = catalog_of(tmp_path, BASE, middle, last).interface("a:last/l@1.0.0").types
        assert isinstance(types[0], Alias)
        assert types[0].type == ListOf(Named("r", "a:base/types@1.0.0"))

    def test_an_owned_handle_is_the_resources_name(self, tmp_path: Path) -> None:
        catalog = catalog_of(tmp_path, "package a:b; interface i { resource r; f: func() -> own<r>; }")
        assert catalog.interface("a:b/i").functions[0].result == Named("r", "a:b/i")

    def test_a_resource_under_another_name_can_be_borrowed(self, tmp_path: Path) -> None:
        catalog = catalog_of(tmp_path, "package a:b; interface i { resource r; type s = r; f: func(a: borrow<s>); }")
        assert catalog.interface("a:b/i").functions[0].parameters[0].name == "a"

    def test_files_of_one_folder_are_one_package(self, tmp_path: Path) -> None:
        (tmp_path / "a.wit").write_text("package a:b; interface i { record r { x: u8 } }")
        (tmp_path / "b.wit").write_text("interface j { use i.{r}; f: func(a: r); }")
        catalog = load(tmp_path)
        assert [name for name, _ in catalog.interfaces()] == ["a:b/i", "a:b/j"]

    def test_dependencies_may_lie_in_a_folder_of_their_own(self, tmp_path: Path) -> None:
        (tmp_path / "deps" / "base").mkdir(parents=True)
        (tmp_path / "deps" / "base" / "base.wit").write_text(BASE)
        (tmp_path / "w.wit").write_text("package a:b; interface i { use a:base/types@1.0.0.{r}; f: func() -> r; }")
        result = load(tmp_path).interface("a:b/i").functions[0].result
        assert result == Named("r", "a:base/types@1.0.0")

    @pytest.mark.parametrize(
        ("body", "says"),
        [
            ("f: func(a: nothing);", "no type `nothing`"),
            ("f: func(); f: func();", "`f` is there twice"),
            ("type t = u8; use other.{t};", "`t` is there twice"),
            ("use other.{none};", "has no type `none`"),
            ("use elsewhere.{t};", "no interface `a:b/elsewhere`"),
            ("use c:d/e.{t};", "no package `c:d`"),
            ("type t = u8; f: func(a: borrow<t>);", "no resource"),
            ("resource r; f: func() -> option<borrow<r>>;", "no borrowed handle"),
            ("resource r; record q { a: borrow<r> } f: func() -> list<q>;", "no borrowed handle"),
            ("record r { a: list<s> } record s { a: option<r> }", "holds itself"),
            ("type t = t;", "holds itself"),
            ("type t = u; type u = t; f: func(a: borrow<t>);", "no resource"),
            ("resource r { constructor() -> u8; }", "a constructor returns"),
        ],
    )
    def test_an_interface_that_means_nothing_is_refused(self, body: str, says: str, tmp_path: Path) -> None:
        with pytest.raises(WitError, match=says):
            catalog_of(tmp_path, f"package a:b; interface i {{ {body} }} interface other {{ type t = u8; }}")

    def test_interfaces_cannot_use_each_other(self, tmp_path: Path) -> None:
        with pytest.raises(WitError, match="use each other"):
            catalog_of(
                tmp_path,
                "package a:b; interface i { use j.{t}; type u = u8; } interface j { use i.{u}; type t = u8; }",
            )

    def test_a_package_comes_once(self, tmp_path: Path) -> None:
        with pytest.raises(WitError, match="there twice"):
            catalog_of(tmp_path, BASE, BASE)

    def test_a_folder_is_one_package(self, tmp_path: Path) -> None:
        (tmp_path / "a.wit").write_text("package a:b;")
        (tmp_path / "b.wit").write_text("package a:c;")
        with pytest.raises(WitError, match="two packages: a:b and a:c"):
            load(tmp_path)

    def test_a_folder_without_wit_is_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(WitError, match=r"no \.wit file"):
            load(tmp_path)

    def test_a_folder_that_says_no_package_is_an_error(self, tmp_path: Path) -> None:
        (tmp_path / "a.wit").write_text("interface i {}")
        with pytest.raises(WitError, match="no file says the package"):
            load(tmp_path)

    def test_a_long_chain_of_uses_is_followed(self, tmp_path: Path) -> None:
        links = " ".join(f"interface i{n} {{ use i{n + 1}.{{t}}; }}" for n in range(3000))
        text = f"package a:b; {links} interface i3000 {{ type t = u8; }} world w {{ import i0; }}"
        assert len(catalog_of(tmp_path, text).world("a:b/w").imports) == 3001

    def test_a_long_chain_of_types_is_followed(self, tmp_path: Path) -> None:
        links = " ".join(f"record r{n} {{ a: r{n + 1} }}" for n in range(3000))
        catalog = catalog_of(tmp_path, f"package a:b; interface i {{ {links} record r3000 {{ a: u8 }} }}")
        assert isinstance(catalog.interface("a:b/i").types[0], Record)


class TestWorlds:
    def test_an_include_brings_imports_and_exports(self, tmp_path: Path) -> None:
        text = """package a:b; interface i {} interface j {}
            world inner { import i; export j; } world outer { include inner; import f: func(); }"""
        world = catalog_of(tmp_path, text).world("a:b/outer")
        assert (list(world.imports), list(world.exports)) == (["a:b/i", "f"], ["a:b/j"])

    def test_an_include_may_rename(self, tmp_path: Path) -> None:
        text = "package a:b; world inner { import f: func(); } world outer { include inner with { f as g } }"
        world = catalog_of(tmp_path, text).world("a:b/outer")
        assert isinstance(world.imports["g"], Function)
        assert world.imports["g"].name == "g"

    def test_types_of_an_import_bring_their_interface(self, tmp_path: Path) -> None:
        text = "package a:b; interface i { use a:base/types@1.0.0.{r}; } world w { import i; }"
        assert list(catalog_of(tmp_path, BASE, text).world("a:b/w").imports) == ["a:base/types@1.0.0", "a:b/i"]

    def test_types_of_an_export_are_imported_unless_they_are_exported(self, tmp_path: Path) -> None:
        text = """package a:b; interface i { use a:base/types@1.0.0.{r}; }
            world w { export i; } world v { export i; export a:base/types@1.0.0; }"""
        catalog = catalog_of(tmp_path, BASE, text)
        assert list(catalog.world("a:b/w").imports) == ["a:base/types@1.0.0"]
        assert list(catalog.world("a:b/v").imports) == []

    def test_an_interface_may_be_written_in_a_world(self, tmp_path: Path) -> None:
        text = """package a:b; world w {
            use a:base/types@1.0.0.{r}; record own-one { a: r } export f: func(a: own-one);
            import i: interface { use a:base/types@1.0.0.{h}; f: func(a: h); } }"""
        imports = catalog_of(tmp_path, BASE, text).world("a:b/w").imports
        inline = imports["i"]
        assert isinstance(inline, Interface)
        assert inline.functions[0].parameters[0].type == Named("h", "a:base/types@1.0.0")

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ("world w { include w; }", "includes itself"),
            ("world w { include v; } world v { include w; }", "includes itself"),
            ("world w { include nothing; }", "no world"),
            ("world w { import nothing; }", "no interface"),
            ("world w { import f: func(); import f: func(); }", "`f` is there twice"),
            ("interface i {} world w { export i; export i; }", "there twice"),
            ("world w { type f = u8; import f: func(); }", "`f` is there twice"),
            ("world v {} world w { include v with { f as g } }", "no plain name `f`"),
            (
                "world u { import f: func(); } world v { import f: func() -> u8; } world w { include u; include v; }",
                "`f` is there twice",
            ),
            ("interface i {} world i {}", "`i` is there twice"),
        ],
    )
    def test_a_world_that_means_nothing_is_refused(self, text: str, says: str, tmp_path: Path) -> None:
        with pytest.raises(WitError, match=says):
            catalog_of(tmp_path, f"package a:b; {text}")

    def test_worlds_cannot_include_each_other_without_end(self, tmp_path: Path) -> None:
        links = " ".join(f"world w{n} {{ include w{n + 1}; }}" for n in range(3000))
        with pytest.raises(WitError, match="more than 100 deep"):
            catalog_of(tmp_path, f"package a:b; {links} world w3000 {{}}")

    def test_what_is_not_there_is_an_error_that_names_what_is(self, tmp_path: Path) -> None:
        catalog = catalog_of(tmp_path, EXAMPLE)
        with pytest.raises(WitError, match="there is: acme:shop/shop@"):
            catalog.world("acme:shop/stop@1.2.0")
        with pytest.raises(WitError, match="there is: acme:shop/goods@"):
            catalog.interface("goods")
