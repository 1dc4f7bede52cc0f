"""Runs a plugin from Python: `python examples/embed/embed.py`."""

from pathlib import Path

import pyarrow as pa

from dataflare import Host

COMPONENT = Path(__file__).parents[2] / "guest-sdks/rust/components/derive-columns.wasm"
CONFIG = {"columns": [{"name": "each", "op": "divide", "left": "amount", "right": "quantity"}]}
ORDERS = pa.RecordBatch.from_pydict({"amount": [12.5, 80.0], "quantity": [4, 16]})

with Host() as host, host.load(COMPONENT, kind="transformer", config=CONFIG) as prices:
    for row in prices.transform(ORDERS).to_pylist():
        print(row)
