"""DataFlare plugins in Python: a class for each kind of plugin, batches of rows, and what the host offers.

A plugin is a module `plugin.py` with one subclass of `Source`, `Destination`, `Processor`, `Transformer` or
`Validator`, beside a `plugin.yaml`. Host interfaces that a plugin has to list there under `needs` are modules of this
package: `http`, `state`, `files`, `secrets`, `clock`, `metrics`, `random`, `tasks`, `shared` and `plugins`.
"""

from dataflare_plugin.batch import Batch
from dataflare_plugin.config import option
from dataflare_plugin.datasets import Chunk, Dataset, Field, NewSchema, Request
from dataflare_plugin.destination import Destination, RejectedRow, Run, Target
from dataflare_plugin.errors import (
    Cancelled,
    Denied,
    InvalidConfig,
    InvalidInput,
    InvalidState,
    PluginError,
    RateLimited,
    Superseded,
    Unavailable,
    Unsupported,
)
from dataflare_plugin.expressions import Expression, call, col, lit
from dataflare_plugin.log import log
from dataflare_plugin.processor import Processor
from dataflare_plugin.source import Source
from dataflare_plugin.transformer import Transformer
from dataflare_plugin.validator import Rule, Validator, Violation

__all__ = [
    "Batch",
    "Cancelled",
    "Chunk",
    "Dataset",
    "Denied",
    "Destination",
    "Expression",
    "Field",
    "InvalidConfig",
    "InvalidInput",
    "InvalidState",
    "NewSchema",
    "PluginError",
    "Processor",
    "RateLimited",
    "RejectedRow",
    "Request",
    "Rule",
    "Run",
    "Source",
    "Superseded",
    "Target",
    "Transformer",
    "Unavailable",
    "Unsupported",
    "Validator",
    "Violation",
    "call",
    "col",
    "lit",
    "log",
    "option",
]
