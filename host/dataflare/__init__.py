"""A component-model, WIT-based polyglot plugin framework for data integration.

```python
from dataflare import Host

with Host() as host, host.load("json-mapper.wasm", kind="processor") as mapper:
    print(mapper.process('{"id": 1, "internal": true}'))
```

Names are imported when they are first used: `import dataflare` itself loads neither wasmtime nor pyarrow.
"""

from __future__ import annotations

from importlib import import_module

__version__ = "0.1.0"

# Not from `typing`: nothing is imported that takes time, so that a command can be interrupted from its first moment on.
TYPE_CHECKING = False

if TYPE_CHECKING:
    from typing import Any, Final

    from dataflare.aio import (
        AsyncDestination,
        AsyncHost,
        AsyncPlugin,
        AsyncProcessor,
        AsyncSource,
        AsyncTransformer,
        AsyncValidator,
        run_async,
    )
    from dataflare.capabilities.clock import ManualClock, SystemClock
    from dataflare.capabilities.logging import LogEvent, MemoryLogSink, StandardLogSink
    from dataflare.capabilities.metrics import MemoryMetrics
    from dataflare.capabilities.otel_metrics import OpenTelemetryMetrics
    from dataflare.capabilities.secret_stores import DirectorySecrets
    from dataflare.capabilities.secrets import EnvironmentSecrets, MemorySecrets
    from dataflare.capabilities.sqlite_state import SqliteStateStore
    from dataflare.capabilities.state import MemoryStateStore, StateLimits
    from dataflare.errors import (
        AuditFailed,
        CallCancelled,
        CallTimeout,
        ComponentError,
        ConfigError,
        CopyLimitExceeded,
        DataflareError,
        GuestPanic,
        HandleLimitExceeded,
        HostBytesExceeded,
        HostCallLimitExceeded,
        HostCallRateExceeded,
        HostShortage,
        InstanceLimitExceeded,
        LimitExceeded,
        LogLimitExceeded,
        MemoryLimitExceeded,
        NotAComponent,
        OutOfFuel,
        OutputLimitExceeded,
        PermissionDenied,
        PluginError,
        PluginFault,
        ProtocolFault,
        StackOverflow,
        TableLimitExceeded,
        UnsupportedComponent,
        UsageError,
        ValueTypeError,
        WorkerDied,
        WorldMismatch,
    )
    from dataflare.grants import DirectoryGrant, Grants, HttpGrant
    from dataflare.limits import Limits
    from dataflare.permissions.words import parse_grants, parse_limits
    from dataflare.pipeline.models import Pipeline
    from dataflare.pipeline.report import NodeReport, OutputReport, Progress, RunReport
    from dataflare.pipeline.run_errors import DataError, NodeFailed, RunInterrupted, StateError
    from dataflare.pipeline.runner import run
    from dataflare.pipeline.specification import (
        Specification,
        build_specification,
        load_specification,
        parse_specification,
    )
    from dataflare.pipeline.state_database import StateDatabase
    from dataflare.pipeline.state_file import StateFile
    from dataflare.pipeline.stop_limits import StopLimits
    from dataflare.runtime.datasets import (
        Chunk,
        Dataset,
        DatasetName,
        Ended,
        Estimate,
        Idle,
        NewSchema,
        PlannedChange,
        Selection,
        Target,
    )
    from dataflare.runtime.destination import Destination
    from dataflare.runtime.host import Host
    from dataflare.runtime.inspection import Inspection
    from dataflare.runtime.options import LoadOptions, Services, Watching
    from dataflare.runtime.plugin import Plugin
    from dataflare.runtime.pool import PoolExhausted, PoolSettings
    from dataflare.runtime.processor import Processor
    from dataflare.runtime.results import (
        Health,
        PluginStats,
        Report,
    )
    from dataflare.runtime.runs import RunLost
    from dataflare.runtime.source import Source
    from dataflare.runtime.transformer import Transformer
    from dataflare.runtime.validator import Validator
    from dataflare.security.audit import AuditLog
    from dataflare.security.certificates import CertificateRefused
    from dataflare.security.enforcement import Revocations
    from dataflare.security.manifest import ManifestError
    from dataflare.security.policy import Policy
    from dataflare.security.settings import Security
    from dataflare.security.signatures import SignatureRefused
    from dataflare.security.trust import TrustPolicy
    from dataflare.values import Err, Ok, Some, Variant
    from dataflare.wit_types.destination import RejectedRow
    from dataflare.wit_types.source import Division
    from dataflare.wit_types.types import Metadata
    from dataflare.wit_types.validator import Rule, RuleCount, Violation

__all__ = [
    "AsyncDestination",
    "AsyncHost",
    "AsyncPlugin",
    "AsyncProcessor",
    "AsyncSource",
    "AsyncTransformer",
    "AsyncValidator",
    "AuditFailed",
    "AuditLog",
    "CallCancelled",
    "CallTimeout",
    "CertificateRefused",
    "Chunk",
    "ComponentError",
    "ConfigError",
    "CopyLimitExceeded",
    "DataError",
    "DataflareError",
    "Dataset",
    "DatasetName",
    "Destination",
    "DirectoryGrant",
    "DirectorySecrets",
    "Division",
    "Ended",
    "EnvironmentSecrets",
    "Err",
    "Estimate",
    "Grants",
    "GuestPanic",
    "HandleLimitExceeded",
    "Health",
    "Host",
    "HostBytesExceeded",
    "HostCallLimitExceeded",
    "HostCallRateExceeded",
    "HostShortage",
    "HttpGrant",
    "Idle",
    "Inspection",
    "InstanceLimitExceeded",
    "LimitExceeded",
    "Limits",
    "LoadOptions",
    "LogEvent",
    "LogLimitExceeded",
    "ManifestError",
    "ManualClock",
    "MemoryLimitExceeded",
    "MemoryLogSink",
    "MemoryMetrics",
    "MemorySecrets",
    "MemoryStateStore",
    "Metadata",
    "NewSchema",
    "NodeFailed",
    "NodeReport",
    "NotAComponent",
    "Ok",
    "OpenTelemetryMetrics",
    "OutOfFuel",
    "OutputLimitExceeded",
    "OutputReport",
    "PermissionDenied",
    "Pipeline",
    "PlannedChange",
    "Plugin",
    "PluginError",
    "PluginFault",
    "PluginStats",
    "Policy",
    "PoolExhausted",
    "PoolSettings",
    "Processor",
    "Progress",
    "ProtocolFault",
    "RejectedRow",
    "Report",
    "Revocations",
    "Rule",
    "RuleCount",
    "RunInterrupted",
    "RunLost",
    "RunReport",
    "Security",
    "Selection",
    "Services",
    "SignatureRefused",
    "Some",
    "Source",
    "Specification",
    "SqliteStateStore",
    "StackOverflow",
    "StandardLogSink",
    "StateDatabase",
    "StateError",
    "StateFile",
    "StateLimits",
    "StopLimits",
    "SystemClock",
    "TableLimitExceeded",
    "Target",
    "Transformer",
    "TrustPolicy",
    "UnsupportedComponent",
    "UsageError",
    "Validator",
    "ValueTypeError",
    "Variant",
    "Violation",
    "Watching",
    "WorkerDied",
    "WorldMismatch",
    "build_specification",
    "load_specification",
    "parse_grants",
    "parse_limits",
    "parse_specification",
    "run",
    "run_async",
]

_HOMES: Final = {
    "dataflare.aio": (
        "AsyncDestination",
        "AsyncHost",
        "AsyncPlugin",
        "AsyncProcessor",
        "AsyncSource",
        "AsyncTransformer",
        "AsyncValidator",
        "run_async",
    ),
    "dataflare.capabilities.clock": (
        "ManualClock",
        "SystemClock",
    ),
    "dataflare.capabilities.logging": (
        "LogEvent",
        "MemoryLogSink",
        "StandardLogSink",
    ),
    "dataflare.capabilities.metrics": ("MemoryMetrics",),
    "dataflare.capabilities.otel_metrics": ("OpenTelemetryMetrics",),
    "dataflare.capabilities.secret_stores": ("DirectorySecrets",),
    "dataflare.capabilities.secrets": (
        "EnvironmentSecrets",
        "MemorySecrets",
    ),
    "dataflare.capabilities.sqlite_state": ("SqliteStateStore",),
    "dataflare.capabilities.state": (
        "MemoryStateStore",
        "StateLimits",
    ),
    "dataflare.errors": (
        "AuditFailed",
        "CallCancelled",
        "CallTimeout",
        "ComponentError",
        "ConfigError",
        "CopyLimitExceeded",
        "DataflareError",
        "GuestPanic",
        "HandleLimitExceeded",
        "HostBytesExceeded",
        "HostCallLimitExceeded",
        "HostCallRateExceeded",
        "HostShortage",
        "InstanceLimitExceeded",
        "LimitExceeded",
        "LogLimitExceeded",
        "MemoryLimitExceeded",
        "NotAComponent",
        "OutOfFuel",
        "OutputLimitExceeded",
        "PermissionDenied",
        "PluginError",
        "PluginFault",
        "ProtocolFault",
        "StackOverflow",
        "TableLimitExceeded",
        "UnsupportedComponent",
        "UsageError",
        "ValueTypeError",
        "WorkerDied",
        "WorldMismatch",
    ),
    "dataflare.grants": (
        "DirectoryGrant",
        "Grants",
        "HttpGrant",
    ),
    "dataflare.limits": ("Limits",),
    "dataflare.permissions.words": ("parse_grants", "parse_limits"),
    "dataflare.pipeline.run_errors": (
        "DataError",
        "NodeFailed",
        "RunInterrupted",
        "StateError",
    ),
    "dataflare.pipeline.models": ("Pipeline",),
    "dataflare.pipeline.report": (
        "NodeReport",
        "OutputReport",
        "Progress",
        "RunReport",
    ),
    "dataflare.pipeline.runner": ("run",),
    "dataflare.pipeline.specification": (
        "Specification",
        "build_specification",
        "load_specification",
        "parse_specification",
    ),
    "dataflare.pipeline.state_database": ("StateDatabase",),
    "dataflare.pipeline.state_file": ("StateFile",),
    "dataflare.pipeline.stop_limits": ("StopLimits",),
    "dataflare.runtime.datasets": (
        "Chunk",
        "Dataset",
        "DatasetName",
        "Ended",
        "Estimate",
        "Idle",
        "NewSchema",
        "PlannedChange",
        "Selection",
        "Target",
    ),
    "dataflare.runtime.destination": ("Destination",),
    "dataflare.runtime.host": ("Host",),
    "dataflare.runtime.inspection": ("Inspection",),
    "dataflare.runtime.options": (
        "LoadOptions",
        "Services",
        "Watching",
    ),
    "dataflare.runtime.plugin": ("Plugin",),
    "dataflare.runtime.pool": (
        "PoolExhausted",
        "PoolSettings",
    ),
    "dataflare.runtime.processor": ("Processor",),
    "dataflare.runtime.results": (
        "Health",
        "PluginStats",
        "Report",
    ),
    "dataflare.runtime.runs": ("RunLost",),
    "dataflare.runtime.source": ("Source",),
    "dataflare.runtime.transformer": ("Transformer",),
    "dataflare.runtime.validator": ("Validator",),
    "dataflare.security.audit": ("AuditLog",),
    "dataflare.security.certificates": ("CertificateRefused",),
    "dataflare.security.enforcement": ("Revocations",),
    "dataflare.security.manifest": ("ManifestError",),
    "dataflare.security.policy": ("Policy",),
    "dataflare.security.settings": ("Security",),
    "dataflare.security.signatures": ("SignatureRefused",),
    "dataflare.security.trust": ("TrustPolicy",),
    "dataflare.values": (
        "Err",
        "Ok",
        "Some",
        "Variant",
    ),
    "dataflare.wit_types.destination": ("RejectedRow",),
    "dataflare.wit_types.source": ("Division",),
    "dataflare.wit_types.types": ("Metadata",),
    "dataflare.wit_types.validator": ("Rule", "RuleCount", "Violation"),
}
"""The modules that define the public names."""

_HOME_OF: Final = {name: module for module, names in _HOMES.items() for name in names}


if not TYPE_CHECKING:  # or every name would pass the type checker

    def __getattr__(name: str) -> Any:
        module = _HOME_OF.get(name)
        if module is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(module), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
