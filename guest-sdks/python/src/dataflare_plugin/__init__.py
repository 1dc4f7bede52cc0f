"""DataFlare plugins in Python: a class for each kind of plugin, batches of rows, and what the host offers.

A plugin is a module `plugin.py` with one subclass of `Source`, `Destination`, `Processor`, `Transformer` or
`Validator`, beside a `plugin.yaml`. Host interfaces that a plugin has to list there under `needs` are modules of this
package: `http`, `state`, `files`, `secrets`, `clock`, `metrics`, `random`, `tasks`, `shared` and `plugins`.
"""

from dataflare_plugin.batch import Batch
from dataflare_plugin.config import option
from dataflare_plugin.datasets import (
    Chunk,
    Commit,
    Dataset,
    Delete,
    Field,
    Idle,
    Insert,
    NewSchema,
    Request,
    Update,
)
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
    "Commit",
    "Dataset",
    "Delete",
    "Denied",
    "Destination",
    "Expression",
    "Field",
    "Idle",
    "Insert",
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
    "Update",
    "Validator",
    "Violation",
    "call",
    "col",
    "lit",
    "log",
    "option",
]
