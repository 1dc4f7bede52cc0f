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
            ("type t = u8; f: func(a: borrow<t>);", "not a resource"),
            ("resource r; f: func() -> option<borrow<r>>;", "no borrowed handle"),
            ("resource r; record q { a: borrow<r> } f: func() -> list<q>;", "no borrowed handle"),
            ("record r { a: list<s> } record s { a: option<r> }", "holds itself"),
            ("type t = t;", "holds itself"),
            ("type t = u; type u = t; f: func(a: borrow<t>);", "not a resource"),
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


class TestGates:
    GATED = "interface i { @unstable(feature = new) type t = u8; @unstable(feature = new) f: func(a: t); g: func(); }"

    def test_items_of_a_feature_that_is_off_are_left_out(self, tmp_path: Path) -> None:
        interface = catalog_of(tmp_path, f"package a:b; {self.GATED}").interface("a:b/i")
        assert (interface.types, [each.name for each in interface.functions]) == ((), ["g"])

    def test_items_of_a_feature_that_is_on_are_kept(self, tmp_path: Path) -> None:
        (tmp_path / "a.wit").write_text(f"package a:b; {self.GATED}")
        interface = load(tmp_path, features=["new"]).interface("a:b/i")
        assert [each.name for each in interface.functions] == ["f", "g"]

    @pytest.mark.parametrize(
        ("text", "line", "says"),
        [
            ("interface i {\n@unstable(feature = x) type t = u8;\nf: func(a: t); }", 3, "`t` is left out"),
            ("interface i {\n@unstable(feature = x) type t = u8;\nrecord r { a: t } }", 3, "feature `x` is off"),
            ("interface i { @unstable(feature = x) type t = u8; } interface j {\nuse i.{t}; }", 2, "`t` is left out"),
            ("@unstable(feature = x) interface i {}\nworld w { import i; }", 2, "`a:b/i@1.0.0` is left out"),
            ("@unstable(feature = x) world v {}\nworld w { include v; }", 2, "`a:b/v@1.0.0` is left out"),
            ("@unstable(feature = x) interface i {\ntype t = u8; }", 2, "what it is part of is left out"),
            ("interface i { @unstable(feature = x) resource r {\nm: func(); } }", 2, "what it is part of is left out"),
            ("\n@since(version = 1.0.1) interface i {}", 2, "above the package's own"),
            ("interface i {\n@since(version = 2.0.0) f: func(); }", 2, "above the package's own"),
            ("world w {\n@since(version = 2.0.0) import i: interface {} }", 2, "above the package's own"),
        ],
    )
    def test_a_gate_that_cannot_hold_is_refused(self, text: str, line: int, says: str, tmp_path: Path) -> None:
        with pytest.raises(WitError, match=says) as raised:
            catalog_of(tmp_path, f"package a:b@1.0.0; {text}")
        assert raised.value.position.line == line

    def test_a_release_candidate_is_below_its_release(self, tmp_path: Path) -> None:
        with pytest.raises(WitError, match="above the package's own"):
            catalog_of(tmp_path, "package a:b@1.0.0-rc.1; @since(version = 1.0.0) interface i {}")

    def test_a_package_without_a_version_has_no_since(self, tmp_path: Path) -> None:
        with pytest.raises(WitError, match="has none"):
            catalog_of(tmp_path, "package a:b; @since(version = 1.0.0) interface i {}")


class TestLayouts:
    def test_a_file_is_a_package(self, tmp_path: Path) -> None:
        (tmp_path / "a.wit").write_text("package a:b; interface i {}")
        (tmp_path / "b.wit").write_text("package a:c; interface i {}")
        assert list(load(tmp_path / "b.wit").packages) == ["a:c"]

    def test_each_file_of_deps_is_a_package(self, tmp_path: Path) -> None:
        (tmp_path / "deps" / "folder").mkdir(parents=True)
        (tmp_path / "w.wit").write_text("package a:w; world w { import a:c/i; import a:e/i; import a:f/i; }")
        (tmp_path / "deps" / "c.wit").write_text("package a:c; interface i {}")
        (tmp_path / "deps" / "e.wit").write_text("package a:e; interface i {}")
        (tmp_path / "deps" / "folder" / "f.wit").write_text("package a:f; interface i {}")
        assert set(load(tmp_path).packages) == {"a:w", "a:c", "a:e", "a:f"}

    def test_a_package_is_documented_once(self, tmp_path: Path) -> None:
        (tmp_path / "a.wit").write_text("/// One.\npackage a:b;")
        (tmp_path / "b.wit").write_text("/// Two.\npackage a:b;")
        with pytest.raises(WitError, match="documented twice"):
            load(tmp_path)

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ("use nothing as n;", "no interface `a:b/nothing`"),
            ("use c:d/e;", "no package `c:d`"),
            ("use a:other/w;", "no interface `a:other/w`"),
        ],
    )
    def test_a_use_that_nothing_needs_is_resolved_too(self, text: str, says: str, tmp_path: Path) -> None:
        with pytest.raises(WitError, match=says):
            catalog_of(tmp_path, f"package a:b; {text}", "package a:other; world w {}")

    def test_records_and_flags_may_be_empty(self, tmp_path: Path) -> None:
        types = catalog_of(tmp_path, "package a:b; interface i { record r {} flags f {} type t = tuple<>; }")
        assert [each.name for each in types.interface("a:b/i").types] == ["r", "f", "t"]


CHAIN = """package a:b;
interface one { type t = u32; }
interface two { use one.{t}; }
interface three { use two.{t}; }
"""


class TestNamesOfWorlds:
    @pytest.mark.parametrize(
        "world",
        [
            "world w { export one; export three; }",
            "world w { import three; export one; export three; }",
            "world w { export one; export x: interface { use one.{t}; use two.{t as u}; } }",
            "world v { export one; export three; } world w { include v; }",
        ],
    )
    def test_an_export_takes_a_type_from_one_side(self, world: str, tmp_path: Path) -> None:
        with pytest.raises(WitError, match="depends on `a:b/one`, which is exported, and on `a:b/two`"):
            catalog_of(tmp_path, CHAIN + world)

    @pytest.mark.parametrize(
        "world",
        [
            "world w { export three; }",
            "world w { export one; export two; export three; }",
            "world w { import one; export three; }",
            "world w { import three; export one; }",
        ],
    )
    def test_exports_whose_types_come_from_one_side_are_fine(self, world: str, tmp_path: Path) -> None:
        assert catalog_of(tmp_path, CHAIN + world).world("a:b/w").exports

    @pytest.mark.parametrize(
        "world",
        [
            "world w { export get-it: func(); export GET-IT: func(); }",
            "world w { import get-it: func(); import GET-IT: interface {} }",
            "world w { record it {} import IT: func(); }",
            "world v { import it: func(); } world w { include v; import IT: func(); }",
            "world u { import it: func(); } world v { import it: func(); } world w { include u; include v; }",
            "world u { import it: func(); } world v { import IT: func(); } world w { include u; include v; }",
        ],
    )
    def test_names_that_differ_in_case_alone_clash(self, world: str, tmp_path: Path) -> None:
        with pytest.raises(WitError, match="there twice"):
            catalog_of(tmp_path, f"package a:b; {world}")

    @pytest.mark.parametrize(
        "world",
        [
            "world w { import it: func(); export it: func(); }",
            "world w { import it: func(); export it: interface {} }",
            "interface i {} world v { import i; } world u { import i; } world w { include u; include v; import i; }",
            "world u { import it: func(); } world v { import it: func(); } "
            "world w { include u with { it as other } include v; }",
        ],
    )
    def test_the_same_name_in_both_directions_is_fine(self, world: str, tmp_path: Path) -> None:
        unfolded = catalog_of(tmp_path, f"package a:b; {world}").world("a:b/w")
        assert unfolded.imports
