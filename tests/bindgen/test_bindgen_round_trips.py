"""Worlds, components and values that hypothesis makes, through bindings that are generated for them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings

from bindings_kit import files_of_component, imported, made, unmade
from dataflare.bindgen.support import ResultError
from dataflare.engine.abi.types import OptionT, PrimT, ResultT, Type
from dataflare.engine.engine import Engine
from dataflare.runtime.host import Host
from dataflare.values import Err, Ok
from wat_kit import API, echo
from wit_strategies import assert_shape, normal, typed_values

SLOW = settings(
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    report_multiple_bugs=False,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@pytest.fixture(scope="session")
def engine(host: Host) -> Any:
    with Engine() as engine:
        yield engine


NESTED = ResultT(OptionT(ResultT(PrimT("u8"), PrimT("string"))), None)


def outcome(ty: Type, call: Any, *args: Any) -> Any:
    """What a call returns; if its type is a result, the `Ok` of it, or the `Err` of what it raises."""
    try:
        returned = call(*args)
    except ResultError as error:
        return Err(error.error)
    return Ok(returned) if isinstance(ty, ResultT) else returned  # what is returned may be an `Err` itself


def answer(ty: Type, exceptions: dict[str, Any], value: Any) -> Any:
    """Return a value as an implementation does: the value of a result, or its error raised."""
    if not isinstance(ty, ResultT):
        return value
    if isinstance(value, Ok):
        return value.value
    raise exceptions["echo"](value.error)


@example(typed=(NESTED, [Ok(Err("a")), Ok(Ok(1)), Ok(None), Err(None)]))
@settings(SLOW, max_examples=40)
@given(typed=typed_values(max_depth=3, count=3))
def test_random_values_of_random_worlds_come_back_the_same(
    engine: Engine, host: Host, tmp_path_factory: pytest.TempPathFactory, typed: tuple[Type, list[Any]]
) -> None:
    ty, values = typed
    binary = echo(ty)
    with imported(files_of_component(engine, binary), tmp_path_factory.mktemp("bindings")) as bindings:
        world_type = bindings._abi.WORLD
        error = world_type.imports["test:kit/host@1.0.0"].functions["echo"].error
        typed_here = world_type.fit(engine.shape(binary, name="kit"), component="kit").exports[API].funcs["echo"]
        given_here: list[Any] = []

        class Echo:
            def echo(self, x: Any) -> Any:
                given_here.append(x)
                return answer(ty, {"echo": error}, x)

        with bindings.Kit(binary, imports=SimpleNamespace(host=Echo()), host=host) as world:
            for value in values:
                argument = made(typed_here.params[0][1], value)
                result = outcome(ty, world.api.echo, argument)
                for each in (given_here.pop(), result):
                    plain = unmade(typed_here.result, each)
                    assert_shape(ty, plain)
                    assert normal(ty, plain) == normal(ty, value)
