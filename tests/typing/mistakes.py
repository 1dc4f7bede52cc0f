"""Mistakes that a type checker is to find: each line with `# error` and no other."""

from dataflare import Host

host = Host()
transformer = host.load("x.wasm", kind="transformer")
transformer.process("{}")  # error: attr-defined
host.load("x.wasm").transform(None)  # error: attr-defined
host.load("x.wasm", kind="processor", nmae="x")  # error: call-overload
host.load("x.wasm", kind="processor", isolation="thread")  # error: call-overload
host.run("pipeline.yaml")  # error: attr-defined
