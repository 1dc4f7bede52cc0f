from __future__ import annotations

import json

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from dataflare.documents.reader import MAX_BYTES, MAX_DEPTH, parse_document
from dataflare.errors import ConfigError

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4)
        # YAML takes keys of 1,024 characters, escapes included.
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=80), inner)
    ),
    max_leaves=20,
)


def parse(text: str | bytes) -> object:
    return parse_document(text if isinstance(text, bytes) else text.encode(), name="p.yaml").value


@given(PLAIN)
def test_json_is_read_as_json(value):
    assert parse(json.dumps(value)) == value


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_whatever_comes_gives_a_value_or_a_configuration_error(data):
    try:
        json.dumps(parse(data), allow_nan=False).encode()
    except ConfigError as error:
        assert error.where.startswith("p.yaml")


@given(st.text(st.sampled_from("ab:-[]{},&*!|>'\"%@`#?~ \n\t01."), max_size=60))
def test_marks_of_yaml_in_any_order_give_a_value_or_a_configuration_error(text):
    try:
        parse(text)
    except ConfigError as error:
        assert error.where.startswith("p.yaml")


@given(st.dictionaries(st.from_regex(r"[a-z]{1,8}", fullmatch=True), PLAIN, min_size=1, max_size=8))
def test_every_key_of_a_dumped_mapping_is_found_at_its_line(value):
    text = yaml.safe_dump(value, allow_unicode=True, sort_keys=False)
    if "\u0085" in text or "\u2028" in text or "\u2029" in text or "!!" in text or "&id" in text:
        return  # line ends that editors count otherwise, and tags
    try:
        document = parse_document(text.encode(), name="p.yaml")
    except ConfigError:
        return  # characters that YAML writes but does not read
    lines = text.split("\n")
    for key in value:
        assert key in lines[document.lines[(key,)] - 1]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("2013-01-01", "2013-01-01"),
        ("1:30", "1:30"),
        ("1_000", "1_000"),
        ("0o10", 8),
        ("0x1F", 31),
        ("~", None),
        ("True", True),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("'1'", "1"),
        ("\ufeffa: 1", {"a": 1}),
        ("a: |\n  x\n  y\n", {"a": "x\ny\n"}),
    ],
)
def test_a_scalar_means_what_yaml_1_2_says(text, value):
    result = parse(text)
    assert result == value
    assert type(result) is type(value)


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a: 1\nb: 2\na: 3\n", 3, "'a' is there twice, first in line 1"),
        ("a:\n  b: &x 1\n", 2, "the anchor &x"),
        ("a: 1\nb: *x\n", 2, "*x"),
        ("a: &a [*a]\n", 1, "the anchor &a"),
        ("- a\n- !!python/object/apply:os.system [x]\n", 2, "the tag"),
        ("a: !x 1\n", 1, "the tag !x"),
        ("a: {b: 1}\nc:\n  <<: {b: 1}\n", 3, "merge key"),
        ("1: a\n", 1, "the key '1' is not a text"),
        ("? [a]\n: 1\n", 1, "not a text"),
        ("a\n---\nb\n", 2, "second document"),
        ("a: 010\n", 1, "the number 010 can be read in more than one way"),
        ("a: .nan\n", 1, ".nan"),
        ("a: -.inf\n", 1, "-.inf"),
        ("\na: 1e999\n", 2, "beyond a 64-bit float"),
        ("a: 18446744073709551616\n", 1, "does not fit 64 bits"),
        ("a: 0.1000000000000000055\n", 1, "more digits than a 64-bit float keeps"),
        ("a: 9007199254740993.0\n", 1, "more digits than a 64-bit float keeps"),
        ("a: -1e-400\n", 1, "more digits than a 64-bit float keeps"),
        ("a: 1e-99999999999999999999\n", 1, "more digits than a 64-bit float keeps"),
        ("a: -9223372036854775809\n", 1, "does not fit 64 bits"),
        (f"a: {'9' * 10_000}\n", 1, "does not fit 64 bits"),
        ("a:\n  - b\n c\n", 3, "not YAML"),
        ("a: [1\n", 2, "not YAML"),
        ("a: \x01\n", 1, "U+0001"),
        ('a: "\\ud800"\n', 1, "surrogate"),
        ("a: 1\nb: \t- x: y: z\n", 2, "not YAML"),
        ("[" * (MAX_DEPTH + 1), 1, "deeper"),
        ("[" * 400_000, 1, "deeper"),
        ("{a: " * 100_000, 1, "deeper"),
        ("- " * 100_000, 1, "deeper"),
    ],
)
def test_what_is_refused_is_named_with_its_line(text, line, words):
    with pytest.raises(ConfigError) as caught:
        parse(text)
    assert caught.value.where == f"p.yaml:{line}"
    assert words in str(caught.value)


def test_a_component_in_place_of_yaml_says_where_it_belongs():
    with pytest.raises(ConfigError, match="is WebAssembly, not YAML") as caught:
        parse(b"\0asm\x0d\0\x01\0")
    assert "`plugin: FILE`" in caught.value.hint


@pytest.mark.parametrize("text", ["0.1", "1e23", "5e-324", "123456789012345.6", "0.30000000000000004", "-0.0", "0e999"])
def test_a_number_that_a_float_keeps_is_read(text):
    assert parse(f"a: {text}") == {"a": float(text)}


@pytest.mark.parametrize("text", ["", "# only a comment\n", "\n\n"])
def test_an_empty_document_is_refused(text):
    with pytest.raises(ConfigError, match="is empty"):
        parse(text)


def test_a_document_of_many_aliases_never_unfolds():
    bomb = "a: &a [x, x]\n" + "".join(f"{b}: &{b} [*{a}, *{a}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True))
    with pytest.raises(ConfigError, match="anchor &a"):
        parse(bomb)


def test_a_document_that_is_too_long_is_refused():
    with pytest.raises(ConfigError, match=f"longer than {MAX_BYTES}"):
        parse(b"#" * (MAX_BYTES + 1))


def test_bytes_that_are_not_utf_8_are_refused_with_their_line():
    with pytest.raises(ConfigError) as caught:
        parse(b"a: 1\nb: \xff\n")
    assert caught.value.where == "p.yaml:2"


def test_a_path_that_is_not_there_is_found_at_the_nearest_one_around_it():
    document = parse_document(b"a:\n  b:\n    - 1\n    - 2\n", name="p.yaml")
    assert document.where(("a", "b", 1)) == "p.yaml:4"
    assert document.where(("a", "b", 7, "x")) == "p.yaml:2"
    assert document.where(("z",)) == "p.yaml:1"
