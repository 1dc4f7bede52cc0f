from __future__ import annotations

from pathlib import Path

import pytest

from dataflare.wit.naming_rules import check_catalog, check_layout
from wit_texts import EXAMPLE, catalog_of


def messages(folder: Path, text: str) -> list[str]:
    return [problem.message for problem in check_catalog(catalog_of(folder, text))]


def test_the_example_keeps_the_rules(tmp_path: Path) -> None:
    assert messages(tmp_path, EXAMPLE) == []
    assert check_layout(EXAMPLE, "example.wit") == []


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("  /// What it is.\n", "", "the type `item` has no documentation"),
        ("    /// Its name.\n", "", "the field `name` has no documentation"),
        ("    /// Nothing left.\n", "", "the case `sold-out` has no documentation"),
        ("    /// Put something in.\n", "", "the function `add` has no documentation"),
        ("/// Goods.\n", "", "the interface `goods` has no documentation"),
        ("/// A shop's world.\n", "", "the world `shop` has no documentation"),
        ("/// Goods.\n@since(version = 1.0.0)", "/// Goods.", "the interface `goods` has no `@since`"),
        ("/// Look for things.\n  @since(version = 1.0.0)", "/// Look.", "the function `find` has no `@since`"),
        ("sold-out", "SOLD-out", "`SOLD-out` is not in kebab-case"),
        ("name: string,", "bytes: string,", "`bytes` is a word of a guest's language"),
        ("limit: u32", "%type: u32", "`type` is a word of a guest's language"),
        ("limit: u32", "limit: u64", "the parameter `limit` is a bare 64-bit integer"),
        ("-> result<list<item>, shop-error>", "-> s64", "`find` returns a bare 64-bit integer"),
        ("price: option<f64>", "timeout: option<f64>", "`timeout` does not end in its unit"),
        ("limit: u32", "size: u32", "`size` does not end in its unit"),
        ("limit: u32", "wait-msec: u32", "write out the unit of `wait-msec`"),
        ("other(string)", "otherwise(string)", "does not end with the case other(string)"),
    ],
)
def test_a_broken_rule_is_found(old: str, new: str, says: str, tmp_path: Path) -> None:
    assert old in EXAMPLE
    found = messages(tmp_path, EXAMPLE.replace(old, new, 1))
    assert len(found) == 1
    assert says in found[0]


def test_a_bare_64_bit_integer_is_found_behind_another_name(tmp_path: Path) -> None:
    text = EXAMPLE.replace("limit: u32", "limit: count").replace(
        "  /// Look", "  /// How many.\n  @since(version = 1.0.0)\n  type count = u64;\n  /// Look"
    )
    assert messages(tmp_path, text) == ["the parameter `limit` is a bare 64-bit integer: put it into a record"]


def test_64_bit_integers_within_something_are_fine(tmp_path: Path) -> None:
    text = EXAMPLE.replace("limit: u32", "limit: list<u64>").replace("price: option<f64>", "price: u64")
    assert messages(tmp_path, text) == []


def test_a_problem_says_where(tmp_path: Path) -> None:
    problem = check_catalog(catalog_of(tmp_path, EXAMPLE.replace("limit: u32", "bytes: u32")))[0]
    assert (problem.line, problem.column) == (41, 28)
    assert str(problem).startswith(f"{tmp_path / 'package-0' / 'package.wit'}:41:28: ")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("    name: string,", "   name: string,", "indent by 4 spaces"),
        ("    /// Its name.", "      /// Its name.", "indent by 4 spaces"),
        ("  record item {", "record item {", "indent by 2 spaces"),
        ("    name: string,", "    name:\tstring,", "a tab"),
        ("    name: string,", "    name: string, ", "spaces at the end"),
    ],
)
def test_a_line_that_is_laid_out_otherwise_is_found(old: str, new: str, says: str) -> None:
    assert old in EXAMPLE
    assert [problem.message.startswith(says) for problem in check_layout(EXAMPLE.replace(old, new, 1), "x.wit")] == [
        True
    ]
