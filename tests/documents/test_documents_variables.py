from __future__ import annotations

import re

import pytest

from dataflare.cli.variables import gather_variables
from dataflare.documents.reader import parse_document
from dataflare.documents.variables import Variables
from dataflare.errors import ConfigError
from dataflare.pipeline.specification import parse_specification


def parse(text: str, **values: str):
    return parse_document(text.encode(), name="p.yaml", variables=Variables(values)).value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${A}", "x"),
        ("${A}/${B}.csv", "x/7.csv"),
        ("${B}", 7),
        ("'${B}'", "7"),
        ('"${B}"', "7"),
        ("${B}0", "70"),
        ("${T}", True),
        ("${N}", None),
        ("${E}", ""),
        ("a${E}b", "ab"),
        ("${E:-d}", "d"),
        ("${MISSING:-10}", 10),
        ("${MISSING:-}", ""),
        ("'${MISSING:-10}'", "10"),
        ("${MISSING:-a:b-c d}", "a:b-c d"),
        ("$${A}", "${A}"),
        ("$$${A}", "$${A}"),
        ("$A $ {A} $$", "$A $ {A} $$"),
        ("|\n  one ${A}\n  two", "one x\ntwo"),
    ],
)
def test_variable_is_put_into_its_value(text, value):
    found = parse(f"k: {text}", A="x", B="7", T="true", N="null", E="")
    assert found == {"k": value} and type(found["k"]) is type(value)


@pytest.mark.parametrize(
    "value",
    [
        "a: b",
        "x\nother: 1",
        "- a",
        "{a: b}",
        "[1, 2]",
        "&a",
        "*a",
        "!!python/object:x",
        "# no",
        "'",
        '"',
        "${A}",
        "\t",
        "key:",
        "a\n---\nb",
    ],
)
def test_value_stays_one_value_whatever_is_in_it(value):
    for text in ("${V}", "'${V}'", '"${V}"'):
        assert parse(f"k: {text}\nm: [1]", V=value) == {"k": value, "m": [1]}


def test_names_of_keys_have_no_variables():
    assert parse("'${A}': 1", A="x") == {"${A}": 1}


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("a: 1\nk: ${ORDER_FILE}", "the variable ORDER_FILE is not defined", "did you mean 'ORDERS_FILE'?"),
        ("a: 1\nk: ${OTHER}", "the variable OTHER is not defined", "--set OTHER=..."),
        ("a: 1\nk: ${OTHER:-${A}}", "the default of the variable OTHER has a variable within it", "--set"),
        ("a: 1\nk: ${HOME:-${}", "the default of the variable HOME has a variable", "plain text"),
        ("a: 1\nk: ${}", "begins no variable", r"\$\$\{"),
        ("a: 1\nk: ${1}", "begins no variable", "NAME"),
        ("a: 1\nk: 'x ${A'", "begins no variable", "NAME"),
        ("a: 1\nk: ${DATAFLARE_SECRET_API_TOKEN}", "is a secret", r"secrets: \[api-token\]"),
        ("a: 1\nk: ${DATAFLARE_SECRET_API_TOKEN:-x}", "is a secret", "grant it"),
        ("a: 1\nk: ${HUGE}", "does not fit 64 bits", "quotes"),
        ("a: 1\nk: { read: ${ORDERS_FILE} }", "is not YAML", "into quotes"),
        ("a: 1\nk: ${HALF}", "is not UTF-8", ""),
    ],
)
def test_variable_that_cannot_be_put_in_is_refused_with_its_line(text, message, hint):
    with pytest.raises(ConfigError, match=message) as caught:
        parse(text, ORDERS_FILE="o.csv", DATAFLARE_SECRET_API_TOKEN="hunter2", HUGE="9" * 30, HALF="\udc80")
    assert caught.value.where == "p.yaml:2"
    assert re.search(hint, caught.value.hint) and "hunter2" not in str(caught.value)


def test_values_that_grow_without_bound_are_refused():
    with pytest.raises(ConfigError, match="longer than"):
        parse("k: [" + "'${A}', " * 2000 + "]", A="x" * 1000)


def test_without_variables_a_pipeline_takes_defaults_only(tmp_path):
    text = (
        "name: p\nnodes:\n  r:\n    connector: csv\n    read: ${IN:-a.csv}\n"
        "  w: {connector: csv, input: r, write: b.csv}\n"
    )
    specification = parse_specification(text, file=tmp_path / "p.yaml")
    assert specification.pipeline.nodes["r"].read == "a.csv"
    with pytest.raises(ConfigError, match="the variable IN is not defined"):
        parse_specification(text.replace(":-a.csv", ""), file=tmp_path / "p.yaml")
    given = parse_specification(text, file=tmp_path / "p.yaml", variables={"IN": "c.csv"})
    assert given.pipeline.nodes["r"].read == "c.csv"


def test_a_variable_that_is_not_a_text_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="the variable DAY is a value of int"):
        parse_specification("name: p", file=tmp_path / "p.yaml", variables={"DAY": 5})


def test_a_name_may_begin_like_the_word_export(tmp_path):
    (tmp_path / "e.env").write_text("export_to=a\nexport export=b\nexported = c\n")
    found = gather_variables(["export_day=1", "export=b=c"], [tmp_path / "e.env"], {})
    assert found.values == {"export_to": "a", "export": "b=c", "exported": "c", "export_day": "1"}


def test_command_line_goes_before_files_and_files_before_the_environment(tmp_path):
    first, second = tmp_path / "first.env", tmp_path / "second.env"
    first.write_text("# comment\n\nA=file\nexport B = 'quoted #1'\nC=\"x=y\"\r\nD=one\nG=an export x\n")
    second.write_text("D=two\n")
    found = gather_variables(["A=set", "E="], [first, second], {"A": "env", "B": "env", "F": "env"})
    given = {"A": "set", "B": "quoted #1", "C": "x=y", "D": "two", "E": "", "F": "env", "G": "an export x"}
    assert found.values == given


def test_with_a_policy_the_environment_is_not_looked_at():
    found = gather_variables(["A=set"], [], {"TOKEN": "secret"}, policy=True)
    assert found.values == {"A": "set"}
    with pytest.raises(ConfigError, match="not used"):
        found.expand("${TOKEN}")


def test_secrets_of_the_environment_are_not_variables():
    assert gather_variables([], [], {"DATAFLARE_SECRET_X": "s", "A": "b"}).values == {"A": "b"}


@pytest.mark.parametrize("word", ["", "A", "=x", "1A=x", "a-b=x", "export A=1"])
def test_word_that_sets_nothing_is_refused(word):
    with pytest.raises(ConfigError, match="NAME=VALUE") as caught:
        gather_variables([word], [], {})
    assert caught.value.where == "--set"


def test_line_of_a_file_that_sets_nothing_is_refused(tmp_path):
    file = tmp_path / "e.env"
    file.write_text("A=1\nnonsense\n")
    with pytest.raises(ConfigError, match="NAME=VALUE") as caught:
        gather_variables([], [file], {})
    assert caught.value.where == f"{file}:2"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1 # c", "1"),
        ("1\t#c", "1"),
        ("1#c", "1#c"),
        (" # c", ""),
        ("'q' # it's", "q"),
        ('"q"#c', "q"),
        ("'' # c", ""),
        ('"it\'s # 1"', "it's # 1"),
        ("it's", "it's"),
        ("'{\"a\": 1}'", '{"a": 1}'),
    ],
)
def test_a_comment_ends_the_value_of_a_line(tmp_path, text, value):
    file = tmp_path / "e.env"
    file.write_text(f"export A={text}\n")
    assert gather_variables([], [file], {}).values == {"A": value}


@pytest.mark.parametrize("text", ["'q", "'q' x", '"a"b"', "'a'b' # c"])
def test_quotes_that_do_not_end_the_value_are_an_error(tmp_path, text):
    file = tmp_path / "e.env"
    file.write_text(f"\nA={text}\n")
    with pytest.raises(ConfigError, match="quotes of the value") as caught:
        gather_variables([], [file], {})
    assert caught.value.where == f"{file}:2"
