"""Mistakes that a type checker is to find: each line with `# error` and no other."""

from dataflare import AsyncHost, Host, run_async

host = Host()
transformer = host.load("x.wasm", kind="transformer")
transformer.process("{}")  # error: attr-defined
host.load("x.wasm").transform(None)  # error: attr-defined
host.load("x.wasm", kind="processor", nmae="x")  # error: call-overload
host.load("x.wasm", kind="processor", isolation="thread")  # error: call-overload
host.run("pipeline.yaml")  # error: attr-defined


async def awaiting(loads: AsyncHost) -> None:
    source = await loads.load("x.wasm", kind="source")
    await source.read(max_rows="x")  # error: arg-type
    await source.transform(None)  # error: attr-defined
    await run_async("pipeline.yaml", full_refresh="x")  # error: arg-type
