"""What a type checker is to see of the package: checked by mypy in test_typing.py, never run."""

from collections.abc import Iterator, Mapping
from typing import Any, assert_type

import dataflare
from dataflare import (
    AsyncDestination,
    AsyncHost,
    AsyncProcessor,
    AsyncSource,
    AsyncTransformer,
    AsyncValidator,
    Destination,
    Grants,
    Host,
    Limits,
    LoadOptions,
    NodeFailed,
    Pipeline,
    Plugin,
    Policy,
    PoolSettings,
    Processor,
    Report,
    RunReport,
    Source,
    Specification,
    Transformer,
    TrustPolicy,
    Validator,
)
from dataflare.security.settings import Security


def loading(host: Host, file: str) -> None:
    assert_type(host.load(file, kind="source"), Source)
    assert_type(host.load(file, kind="destination"), Destination)
    assert_type(host.load(file, kind="processor"), Processor)
    assert_type(host.load(file, kind="transformer"), Transformer)
    assert_type(host.load(file, kind="validator"), Validator)
    assert_type(host.load(file), Plugin)
    host.load(
        b"\0asm",
        kind="processor",
        name="tidy",
        config={"drop": ["a"]},
        grants=Grants(state=True),
        limits=Limits(call_timeout_s=1.0),
        pipeline="orders",
        pool=PoolSettings(maximum=2),
        signature=None,
        isolation="process",
    )
    options: LoadOptions = {"name": "tidy", "limits": Limits()}
    checks: Validator = host.load(file, kind="validator", **options)
    checks.rules()


def calling(processor: Processor, source: Source, validator: Validator, rows: Any) -> None:
    assert_type(processor.process("{}"), str | None)
    assert_type(validator.validate(rows), Report)
    for chunk in source.chunks():
        assert_type(chunk.state, bytes | None)
    batches: Iterator[Any] = source.batches()
    processor.process_batch(batches)


async def awaiting(host: AsyncHost, file: str, rows: Any) -> None:
    assert_type(await host.load(file, kind="source"), AsyncSource)
    assert_type(await host.load(file, kind="destination"), AsyncDestination)
    assert_type(await host.load(file, kind="processor", pool=PoolSettings(maximum=2)), AsyncProcessor)
    assert_type(await host.load(file, kind="transformer"), AsyncTransformer)
    assert_type(await host.load(file, kind="validator"), AsyncValidator)
    async with await host.load(file, kind="processor") as processor:
        assert_type(await processor.process("{}"), str | None)
        assert_type(processor.blocking, Processor)
        await processor.process_batch(rows)
    source = await host.load(file, kind="source")
    async for chunk in source.chunks(max_rows=10):
        assert_type(chunk.state, bytes | None)
    async for batch in source.batches("orders", state=b"x"):
        print(batch)
    assert_type(await (await host.load(file, kind="validator")).validate(rows), Report)
    assert_type(await dataflare.run_async("pipeline.yaml", full_refresh=True), RunReport)


def running(host: Host, mapping: Mapping[str, Any]) -> RunReport:
    built = dataflare.build_specification(mapping)
    assert_type(built, Specification)
    assert_type(built.pipeline, Pipeline)
    try:
        dataflare.run("pipeline.yaml")
        dataflare.run(mapping, progress=lambda progress: print(progress.rows))
        return dataflare.run(built, host=host)
    except NodeFailed as error:
        return error.report


def policies(policy: Policy, trust: TrustPolicy) -> Host:
    return Host(security=Security(policy=policy, trust=trust, audit="audit.jsonl"))
