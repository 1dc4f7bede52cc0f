"""Values of every type, there and back, through the fast engine and through the reference."""

from __future__ import annotations

import array
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from dataflare.engine.abi.types import (
    PRIMITIVES,
    EnumT,
    FlagsT,
    FuncT,
    ListT,
    OptionT,
    PrimT,
    RecordT,
    ResultT,
    TupleT,
    Type,
    VariantT,
    flatten,
)
from dataflare.engine.engine import Engine
from dataflare.engine.reference.instance import instantiate_reference
from dataflare.errors import UsageError, ValueTypeError
from dataflare.limits import Limits
from dataflare.values import Err, Ok, Some, Variant
from wat_kit import API, HOST, component, echo, echo_list
from wit_strategies import (
    DTYPES,
    INTEGERS,
    assert_shape,
    integer_range,
    normal,
    snake,
    typed_values,
    values_of,
    wit_types,
    wrong_values_of,
)

LIMITS = Limits()
# Each example compiles components; shrinking would take minutes.
SLOW = settings(
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    report_multiple_bugs=False,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


class Recorder:
    """A host function that keeps what it was given, and returns the first of it or something else."""

    def __init__(self, *returns: Any) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self._returns = list(returns)

    def __call__(self, *args: Any) -> Any:
        self.calls.append(args)
        return self._returns.pop(0) if self._returns else args[0]


def both(engine: Engine, binary: bytes, fast_host: Any, slow_host: Any) -> tuple[Any, Any]:
    return (
        engine.load(binary, name="fast").instantiate({HOST: fast_host}, limits=LIMITS),
        instantiate_reference(binary, {HOST: slow_host}, limits=LIMITS, name="reference"),
    )


@settings(SLOW, max_examples=60)
@given(typed=typed_values(max_depth=3, count=3))
def test_random_values_of_random_types_come_back_the_same(engine: Engine, typed: tuple[Type, list[Any]]) -> None:
    ty, values = typed
    binary = component({"echo": FuncT((("x", ty),), ty)}, {"echo-list": FuncT((("x", ListT(ty)),), ListT(ty))})
    heard, slowly_heard = Recorder(), Recorder()
    fast, reference = both(engine, binary, {"echo": heard}, {"echo": slowly_heard})
    with fast, reference:
        for value in values:
            got, slowly_got = fast.call(API, "echo", value), reference.call(API, "echo", value)
            assert_shape(ty, got)
            assert_shape(ty, heard.calls[-1][0])
            assert normal(ty, got) == normal(ty, value) == normal(ty, heard.calls[-1][0])
            assert normal(ty, slowly_got) == normal(ty, value) == normal(ty, slowly_heard.calls[-1][0])
        got = fast.call(API, "echo-list", values)
        assert_shape(ListT(ty), got)
        assert normal(ListT(ty), got) == normal(ListT(ty), values)
        assert normal(ListT(ty), reference.call(API, "echo-list", values)) == normal(ListT(ty), values)


@settings(SLOW, max_examples=40)
@given(data=st.data())
def test_functions_of_many_parameters_keep_their_order(engine: Engine, data: st.DataObject) -> None:
    types = data.draw(st.lists(wit_types(1), min_size=2, max_size=24))
    ty = FuncT(tuple((f"p{i}", t) for i, t in enumerate(types)), data.draw(st.one_of(st.none(), wit_types(2))))
    args = [data.draw(values_of(t)) for t in types]
    result = None if ty.result is None else data.draw(values_of(ty.result))
    heard, slowly_heard = Recorder(result), Recorder(result)
    fast, reference = both(engine, component({"f": ty}), {"f": heard}, {"f": slowly_heard})
    with fast, reference:
        got, slowly_got = fast.call(API, "f", *args), reference.call(API, "f", *args)
    expected = normal(ty.args, tuple(args))
    assert normal(ty.args, heard.calls[0]) == expected == normal(ty.args, slowly_heard.calls[0])
    if ty.result is None:
        assert got is None and slowly_got is None
    else:
        assert normal(ty.result, got) == normal(ty.result, result) == normal(ty.result, slowly_got)


@pytest.mark.parametrize("count", [15, 16, 17, 40])
def test_parameters_around_the_number_that_is_passed_in_registers(engine: Engine, count: int) -> None:
    mixed = [PrimT("u8"), PrimT("f64"), PrimT("s64"), PrimT("f32")]
    ty = FuncT(tuple((f"p{i}", mixed[i % 4]) for i in range(count)), None)
    assert len(flatten(ty.args)) == count
    heard = Recorder(None)
    with engine.load(component({"f": ty}), name="kit").instantiate({HOST: {"f": heard}}) as instance:
        assert instance.call(API, "f", *range(count)) is None
    assert heard.calls == [tuple(range(count))]


@settings(SLOW, max_examples=80)
@given(wrong=wit_types(2).flatmap(lambda ty: st.tuples(st.just(ty), wrong_values_of(ty), values_of(ty))))
def test_a_value_that_does_not_fit_is_refused_with_the_way_to_it(engine: Engine, wrong: Any) -> None:
    ty, (value, fields), right = wrong
    heard = Recorder()
    fast, reference = both(engine, echo(ty), {"echo": heard}, {"echo": Recorder()})
    with fast, reference:
        for instance in (fast, reference):
            with pytest.raises(ValueTypeError) as caught:
                instance.call(API, "echo", value)
            path = caught.value.path
            assert path.startswith("x")
            assert [part for part in path.replace("[", ".").split(".") if part in fields][: len(fields)] or not fields
            assert instance.alive
        assert not heard.calls, "a value that does not fit reached the plugin"
        assert normal(ty, fast.call(API, "echo", right)) == normal(ty, right)


@settings(SLOW, max_examples=40)
@given(wrong=wit_types(2).flatmap(lambda ty: st.tuples(st.just(ty), wrong_values_of(ty), values_of(ty))))
def test_a_host_functions_result_that_does_not_fit_is_the_hosts_fault(engine: Engine, wrong: Any) -> None:
    ty, (value, _), right = wrong
    fast, reference = both(engine, echo(ty), {"echo": Recorder(value)}, {"echo": Recorder(value)})
    with fast, reference:
        for instance in (fast, reference):
            with pytest.raises(ValueTypeError, match=r"result|echo"):
                instance.call(API, "echo", right)
            assert not instance.alive
            with pytest.raises(UsageError):
                instance.call(API, "echo", right)


@pytest.mark.parametrize("name", sorted(INTEGERS))
def test_integers_reach_their_bounds_and_not_beyond(engine: Engine, name: str) -> None:
    low, high = integer_range(name)
    heard = Recorder()
    with engine.load(echo(PrimT(name)), name="kit").instantiate({HOST: {"echo": heard}}) as instance:
        for value in (low, high, 0, 1, high // 2, np.dtype(DTYPES[name]).type(high)):
            assert instance.call(API, "echo", value) == int(value)
            assert type(heard.calls[-1][0]) is int
        for value in (low - 1, high + 1, True, np.True_, 1.0, np.float64(1), "1", None, b"1"):
            with pytest.raises(ValueTypeError):
                instance.call(API, "echo", value)


@pytest.mark.parametrize(
    ("ty", "values"),
    [
        (PrimT("bool"), [True, False, np.True_]),
        (PrimT("char"), ["\0", "a", "\ud7ff", "\ue000", "\U0010ffff"]),
        (PrimT("f32"), [0.0, -0.0, 1.5, float("inf"), float("nan"), 2**-149, 3]),
        (PrimT("f64"), [0.0, -0.0, 5e-324, 1.7976931348623157e308, float("-inf"), 2**60]),
        (PrimT("string"), ["", "a", "\0", "ä€𝄞", "x" * 70_000]),
        (EnumT(tuple(f"n{i}" for i in range(257))), ["n0", "n255", "n256"]),
        (FlagsT(tuple(f"n{i}" for i in range(32))), [set(), {"n0", "n31"}, frozenset(f"n{i}" for i in range(32))]),
        (OptionT(OptionT(OptionT(PrimT("u8")))), [None, Some(None), Some(Some(None)), Some(Some(7))]),
        (ResultT(None, None), [Ok(), Err()]),
        (ResultT(None, OptionT(PrimT("bool"))), [Ok(), Err(None), Err(True)]),
        (VariantT((("number", PrimT("u8")), ("flag", PrimT("bool")))), [Variant("flag", True), Variant("number", 1)]),
        (VariantT((("f", PrimT("f32")), ("i", PrimT("s64")), ("t", PrimT("string")))), [Variant("f", -0.0)]),
        (VariantT((("f", PrimT("f32")), ("i", PrimT("u32")))), [Variant("f", 1.5), Variant("i", 2**32 - 1)]),
        (TupleT((PrimT("f64"),)), [(1.0,)]),
    ],
)
def test_values_at_the_edges_of_their_types(instantiate: Any, ty: Type, values: list[Any]) -> None:
    heard = Recorder()
    with instantiate(echo(ty), {HOST: {"echo": heard}}) as instance:
        for value in values:
            got = instance.call(API, "echo", value)
            assert_shape(ty, got)
            assert normal(ty, got) == normal(ty, value) == normal(ty, heard.calls[-1][0])


@pytest.mark.parametrize("name", [n for n in PRIMITIVES if n in DTYPES])
def test_lists_of_numbers_are_taken_from_whatever_holds_numbers(engine: Engine, name: str) -> None:
    ty, dtype = ListT(PrimT(name)), DTYPES[name]
    numbers = np.array([0, 1, 1, 0, 1], dtype)
    strided = np.repeat(numbers, 2)[::2]
    holders = [numbers, numbers.tolist(), tuple(numbers.tolist()), strided, pa.array(numbers), numbers[:0], []]
    if name != "bool":
        holders.append(array.array({"f32": "f", "f64": "d"}.get(name, "b"), [0, 1, 1, 0, 1]))
    with engine.load(echo(ty), name="kit").instantiate({HOST: {"echo": lambda x: x}}) as instance:
        for given_ in holders:
            got = instance.call(API, "echo", given_)
            assert_shape(ty, got)
            assert list(got) == list(numbers[: len(given_)])
        nulls = pa.array([1, None, 0]).cast(pa.from_numpy_dtype(dtype))
        for wrong in (numbers.reshape(1, 5), "01101", 5, None, {0: 1}, nulls):
            with pytest.raises(ValueTypeError):
                instance.call(API, "echo", wrong)


@pytest.mark.parametrize(
    "raw", [b"abc", bytearray(b"abc"), memoryview(b"abc"), pa.py_buffer(b"abc")], ids=lambda raw: type(raw).__name__
)
def test_bytes_are_taken_from_whatever_holds_bytes(instantiate: Any, raw: Any) -> None:
    with instantiate(echo(ListT(PrimT("u8"))), {HOST: {"echo": lambda x: x}}) as instance:
        assert instance.call(API, "echo", raw) == b"abc"


@pytest.mark.parametrize(
    "raw",
    ["ä€", "ä€".encode(), bytearray("ä€".encode()), pa.py_buffer("ä€".encode())],
    ids=lambda raw: type(raw).__name__,
)
def test_texts_are_taken_as_utf8_too(instantiate: Any, raw: Any) -> None:
    with instantiate(echo(PrimT("string")), {HOST: {"echo": lambda x: x}}) as instance:
        assert instance.call(API, "echo", raw) == "ä€"


@pytest.mark.parametrize("raw", [b"\xff", b"\xed\xa0\x80", b"ab\xc3"])
def test_bytes_that_are_no_utf8_are_refused_as_text(instantiate: Any, raw: bytes) -> None:
    with instantiate(echo(PrimT("string")), {HOST: {"echo": lambda x: x}}) as instance:
        with pytest.raises(ValueTypeError):
            instance.call(API, "echo", raw)
        assert instance.call(API, "echo", "lives on") == "lives on"


def test_a_host_function_may_ask_for_text_as_bytes(instantiate: Any) -> None:
    ty = TupleT((PrimT("string"), ListT(PrimT("string"))))
    heard: list[Any] = []

    def take(x: Any) -> Any:
        heard.append(x)
        return x

    take.text_as_bytes = True  # type: ignore[attr-defined]
    with instantiate(echo(ty), {HOST: {"echo": take}}) as instance:
        assert instance.call(API, "echo", ("ä", ["b", ""])) == ("ä", ["b", ""])
    assert bytes(heard[0][0]) == "ä".encode() and [bytes(x) for x in heard[0][1]] == [b"b", b""]


def test_what_comes_out_stays_when_the_plugin_goes_on(engine: Engine) -> None:
    ty = RecordT((("numbers", ListT(PrimT("s64"))), ("raw", ListT(PrimT("u8"))), ("text", PrimT("string"))))
    heard: list[Any] = []
    with engine.load(echo(ty), name="kit").instantiate({HOST: {"echo": lambda x: (heard.append(x), x)[1]}}) as instance:
        first = instance.call(API, "echo", SimpleNamespace(numbers=[1, 2, 3], raw=b"one", text="one"))
        instance.call(API, "echo", SimpleNamespace(numbers=[7, 8, 9], raw=b"two", text="two"))
    for kept in (first, heard[0]):
        assert (kept.numbers.tolist(), kept.raw, kept.text) == ([1, 2, 3], b"one", "one")


def test_a_megabyte_of_each_kind(engine: Engine) -> None:
    numbers = np.arange(131_072, dtype=np.float64)
    ty = TupleT((ListT(PrimT("f64")), ListT(PrimT("u8")), PrimT("string"), ListT(PrimT("string"))))
    value = (numbers, bytes(range(256)) * 4096, "ä" * 524_288, [f"text {i}" for i in range(20_000)])
    with engine.load(echo(ty), name="kit").instantiate({HOST: {"echo": lambda x: x}}) as instance:
        for _ in range(3):
            got = instance.call(API, "echo", value)
        assert np.array_equal(got[0], numbers)
        assert got[1:] == value[1:]
        assert instance.stats.calls == 3 and instance.stats.host_calls == 3
        assert instance.stats.bytes_in > 6 * 2**20 and instance.stats.bytes_out > 6 * 2**20


def test_records_do_not_change_and_name_their_fields(instantiate: Any) -> None:
    ty = RecordT((("self", PrimT("u8")), ("class", PrimT("u8")), ("a-b", PrimT("u8"))))
    given_ = SimpleNamespace(self=1, class_=2, a_b=3)
    with instantiate(echo(ty), {HOST: {"echo": lambda x: x}}) as instance:
        got, again = instance.call(API, "echo", given_), instance.call(API, "echo", given_)
    assert [getattr(got, snake(n)) for n, _ in ty.fields] == [1, 2, 3]
    assert got == again and hash(got) == hash(again)
    with pytest.raises(AttributeError):
        got.a_b = 4


class LyingList:
    """Says that it has fewer items than it gives."""

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Any:
        return iter(["a"] * 5)


def test_a_list_that_lies_about_its_length_harms_nobody(engine: Engine) -> None:
    ty = TupleT((ListT(PrimT("string")), PrimT("string")))
    with engine.load(echo(ty), name="kit").instantiate({HOST: {"echo": lambda x: x}}) as instance:
        try:
            got = instance.call(API, "echo", (LyingList(), "kept"))
        except ValueTypeError:
            return
        assert got in ((["a"], "kept"), (["a"] * 5, "kept"))


def test_the_number_of_arguments_is_checked(instantiate: Any) -> None:
    with instantiate(echo(PrimT("u8")), {HOST: {"echo": lambda x: x}}) as instance:
        for args in ((), (1, 2)):
            with pytest.raises(UsageError):
                instance.call(API, "echo", *args)
        for interface, function in ((API, "no-such"), ("no:such/api", "echo"), ("", "echo")):
            with pytest.raises(UsageError):
                instance.call(interface, function, 1)
        assert instance.call(API, "echo", 1) == 1


def test_a_list_passes_without_any_host_function(instantiate: Any) -> None:
    with instantiate(echo_list(OptionT(PrimT("char"))), {}) as instance:
        assert instance.call(API, "echo-list", ["a", None, "€"]) == ["a", None, "€"]
        assert instance.call(API, "echo-list", []) == []
