from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflare.wit.compat import Comparison, Level, compare
from dataflare.wit.model import WitError
from dataflare.wit.resolve import load
from dataflare.wit.standard import standard, standard_folder
from dataflare.wit.versions import Version
from wit_texts import EXAMPLE, catalog_of


def comparison(folder: Path, text: str, *, version: str = "1.2.0") -> Comparison:
    old = catalog_of(folder / "old", EXAMPLE)
    new = catalog_of(folder / "new", text.replace("@1.2.0", f"@{version}", 1))
    return compare(old, new, "acme:shop")


ADDITIVE = [
    ("  /// Look", "  /// New.\n  @since(version = 1.3.0)\n  count: func() -> u32;\n  /// Look"),
    ("  /// Look", "  /// New.\n  @since(version = 1.3.0)\n  type amount = u32;\n  /// Look"),
    ("    constructor();", "    constructor();\n    /// New.\n    @since(version = 1.3.0)\n    empty: func();"),
    ("/// A shop's", "/// New.\n@since(version = 1.3.0)\ninterface more {}\n/// A shop's"),
    ("/// A shop's", "/// New.\n@since(version = 1.3.0)\nworld second {}\n/// A shop's"),
    ("  import goods;", "  import goods;\n  import note: func();"),
]
BREAKING = [
    ("name: string,", ""),
    ("name: string,", "name: string, age: u8,"),
    ("name: string,", "title: string,"),
    ("name: string,", "name: list<u8>,"),
    ("    name: string,\n    /// Its price.\n    price: option<f64>,", "    price: option<f64>,\n    name: string,"),
    ("sold-out,", "sold-out, closed,"),
    ("sold-out,", "sold-out(string),"),
    ("post,", ""),
    ("post,", "post, pigeon,"),
    ("enum delivery", "flags delivery"),
    ("limit: u32", "limit: u16"),
    ("limit: u32", "most: u32"),
    ("text: string, limit: u32", "limit: u32, text: string"),
    ("result<list<item>, shop-error>", "result<list<item>>"),
    ("add: func(thing: item);", ""),
    ("add: func(thing: item);", "add: static func(thing: item);"),
    ("  import goods;", ""),
    ("export open-shop", "import open-shop"),
    ("export open-shop: func(name: string);", "export open-shop: func(name: string); export goods;"),
    ("export open-shop: func(name: string);", "export open-shop: func();"),
]
EXPORTED = EXAMPLE.replace("import goods;", "export goods;")
"""The same shop, whose plugins provide the goods."""


class TestChanges:
    @pytest.mark.parametrize("addition", [ADDITIVE[0], ADDITIVE[2]], ids=["function", "method"])
    def test_a_function_that_existing_plugins_lack_is_breaking(self, addition: tuple[str, str], tmp_path: Path) -> None:
        found = compare(
            catalog_of(tmp_path / "old", EXPORTED),
            catalog_of(tmp_path / "new", EXPORTED.replace(*addition, 1).replace("@1.2.0", "@1.3.0", 1)),
            "acme:shop",
        )
        assert found.level is Level.BREAKING
        assert [each.text for each in found.changes] == ["added"]

    def test_a_type_in_an_exported_interface_is_additive(self, tmp_path: Path) -> None:
        text = EXPORTED.replace(*ADDITIVE[1], 1).replace("@1.2.0", "@1.3.0", 1)
        found = compare(catalog_of(tmp_path / "old", EXPORTED), catalog_of(tmp_path / "new", text), "acme:shop")
        assert (found.level, found.faults) == (Level.ADDITIVE, ())

    def test_the_same_text_is_the_same(self, tmp_path: Path) -> None:
        found = comparison(tmp_path, EXAMPLE)
        assert (found.level, found.changes, found.faults) == (Level.SAME, (), ())

    def test_documentation_and_order_do_not_count(self, tmp_path: Path) -> None:
        text = EXAMPLE.replace("/// Its price.", "/// What it costs.")
        enum = text[text.index("  /// How to send it.") : text.index("  /// A basket.")]
        moved = text.replace(enum, "").replace("  /// What it is.", enum + "  /// What it is.")
        assert comparison(tmp_path, moved).level is Level.SAME

    @pytest.mark.parametrize(("old", "new"), ADDITIVE)
    def test_an_addition_is_additive(self, old: str, new: str, tmp_path: Path) -> None:
        found = comparison(tmp_path, EXAMPLE.replace(old, new, 1), version="1.3.0")
        assert (found.level, found.faults) == (Level.ADDITIVE, ())

    @pytest.mark.parametrize(("old", "new"), BREAKING)
    def test_anything_else_is_breaking(self, old: str, new: str, tmp_path: Path) -> None:
        assert old in EXAMPLE
        assert comparison(tmp_path, EXAMPLE.replace(old, new, 1)).level is Level.BREAKING

    def test_a_change_says_where_and_what(self, tmp_path: Path) -> None:
        changes = comparison(tmp_path, EXAMPLE.replace("limit: u32", "limit: u16")).changes
        assert [(change.level, change.where) for change in changes] == [(Level.BREAKING, "goods: func find")]
        assert changes[0].text.startswith(
            "changed from `function(text: string, limit: u32) -> result<list<acme:shop/goods@1"
        )
        assert "to `function(text: string, limit: u16) -> result<" in changes[0].text


class TestVersions:
    @pytest.mark.parametrize(
        ("edit", "version", "says"),
        [
            (ADDITIVE[0], "1.2.0", "1.2.0 is published"),
            (ADDITIVE[0], "1.2.1", "needs a new minor version"),
            (ADDITIVE[0], "1.1.0", "is older than"),
            (BREAKING[0], "1.2.0", "1.2.0 is published"),
            (BREAKING[0], "1.3.0", "needs a version that is not compatible"),
        ],
    )
    def test_a_version_that_promises_too_much_is_found(
        self, edit: tuple[str, str], version: str, says: str, tmp_path: Path
    ) -> None:
        text = EXAMPLE.replace(*edit).replace("version = 1.3.0", f"version = {version}")
        faults = comparison(tmp_path, text, version=version).faults
        assert len(faults) == 1
        assert says in faults[0]

    def test_a_breaking_change_may_come_with_a_new_major(self, tmp_path: Path) -> None:
        assert comparison(tmp_path, EXAMPLE.replace(*BREAKING[0]), version="2.0.0").faults == ()

    def test_a_new_item_says_since_when_it_is_there(self, tmp_path: Path) -> None:
        text = EXAMPLE.replace(*ADDITIVE[0]).replace("version = 1.3.0", "version = 1.0.0")
        assert comparison(tmp_path, text, version="1.3.0").faults == (
            "goods: func count is new, but not `@since(version = 1.3.0)`",
        )

    def test_a_package_that_is_not_there_is_an_error(self, tmp_path: Path) -> None:
        catalog = catalog_of(tmp_path, EXAMPLE)
        with pytest.raises(WitError, match="0 packages are called"):
            compare(catalog, catalog, "acme:other")

    def test_versions_are_ordered_by_precedence(self) -> None:
        texts = [
            "0.9.0",
            "1.0.0-1",
            "1.0.0-2",
            "1.0.0-10",
            "1.0.0-a",
            "1.0.0-a.1",
            "1.0.0-b",
            "1.0.0",
            "1.0.1",
            "1.10.0",
        ]
        versions = [Version.parse(text) for text in texts]
        assert sorted(reversed(versions)) == versions
        assert [str(version) for version in versions] == texts

    @pytest.mark.parametrize(
        ("text", "track"), [("1.2.3", "1"), ("0.2.3", "0.2"), ("0.0.3", "0.0.3"), ("1.0.0-a", "1.0.0-a")]
    )
    def test_a_track_is_what_compatible_versions_share(self, text: str, track: str) -> None:
        assert Version.parse(text).track == track

    @given(st.from_regex(r"[0-9.+a-z-]{0,12}", fullmatch=True))
    def test_any_text_is_a_version_or_refused(self, text: str) -> None:
        try:
            version = Version.parse(text)
        except WitError as error:
            assert "is not a version" in str(error)
        else:
            assert str(version) == text.partition("+")[0]


def edits() -> list[tuple[Path, int, str]]:
    """Every place of the standard where one word more, less or other changes what is binding."""
    places = []
    for file in sorted(standard_folder().rglob("*.wit")):
        text = file.read_text(encoding="utf-8")
        for number, line in enumerate(text.split("\n")):
            if not line.strip().startswith(("//", "@", "package", "use", "include")) and re.search(
                r"\bu32\b|\bstring\b", line
            ):
                places.append((file, number, line))
    return places


def test_every_changed_number_or_string_of_the_standard_is_breaking(tmp_path: Path) -> None:
    old = standard()
    for count, (file, number, line) in enumerate(edits()[::7]):
        folder = tmp_path / str(count)
        for each in standard_folder().rglob("*.wit"):
            target = folder / each.relative_to(standard_folder())
            target.parent.mkdir(parents=True, exist_ok=True)
            lines = each.read_text(encoding="utf-8").split("\n")
            if each == file:
                lines[number] = re.sub(r"\bu32\b|\bstring\b", "char", line, count=1)
            target.write_text("\n".join(lines), encoding="utf-8")
        catalog = load(folder)
        assert compare(old, catalog, f"dataflare:{file.parent.name}").level is Level.BREAKING, f"{file.name}: {line}"
