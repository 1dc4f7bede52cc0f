"""The list of attacks, and the place where they are tried.

An attack is a function that is registered with `attack`: its docstring says what the attacker does, `promise` which of
the promises of docs/explanation/security.md it is about. It asserts the refusal, the class of the error, and the line
of the audit log where one is due.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, Final, TypeVar

import pyarrow as pa

from dataflare.capabilities.http_transport import Canned, MemoryTransport
from dataflare.capabilities.logging import MemoryLogSink
from dataflare.capabilities.metrics import MemoryMetrics
from dataflare.capabilities.secrets import MemorySecrets
from dataflare.engine.engine import Engine
from dataflare.errors import DataflareError, LimitExceeded
from dataflare.runtime.capabilities import LIMIT_METRIC
from dataflare.runtime.host import Host
from dataflare.runtime.options import Services
from dataflare.runtime.processor import Processor
from dataflare.security.audit import AuditEvent, MemoryAuditLog
from dataflare.security.keys import PrivateKey
from dataflare.security.manifest import Manifest, embed
from dataflare.security.policy import Policy
from dataflare.security.settings import Security
from dataflare.security.signatures import sign
from dataflare.security.trust import TrustPolicy
from plugin_wat import Hostile, answer_outcome, hostile, shape_with

PROMISES: Final[Mapping[str, str]] = {
    "deny": "A plugin gets nothing that its operator did not allow, and asks for it before any of its code runs.",
    "signatures": "Where signatures are needed, nothing that is unsigned, changed or signed by a stranger is compiled.",
    "files": "A plugin reaches no file outside of the directories that it was granted, and writes only where it may.",
    "network": "A plugin reaches only the origins, methods and addresses that it was granted, redirects included.",
    "secrets": "Only plugins that may hold a secret can see it, and it is in no log.",
    "neighbours": "A plugin reaches other plugins, their state and their batches only as far as it was granted.",
    "wasi": "WASI, which some toolchains import, gives access to nothing.",
    "limits": "A plugin that exceeds a limit is stopped with its error, counted and audited; the host continues.",
    "memory": "A plugin can neither read nor write the host's memory, nor use handles that are not its own.",
    "processes": "Code that breaks out of the sandbox of a worker finds nothing there, and harms nobody else.",
    "files-in": "Broken components, manifests, policies, signatures and data files do no harm.",
    "outputs": "Rows and pipelines only write the outputs that are named, and replace nothing else.",
    "terminal": "Text from plugins and files cannot control the terminal, and cannot pass for text of the host.",
    "audit": "Every use and every refusal is in the audit log; if it cannot be written, the plugin is stopped.",
    "revocation": "A revoked capability is gone at the plugin's next call.",
    "roles": "People do only what their roles allow.",
}


@dataclass(frozen=True)
class Mutation:
    """A check that is taken away.

    Args:
        target: Module and name of what is replaced.
        replacement: What is put in its place.
        attacks: Attacks of which each gets through then.
        also: Further checks behind that one, which are taken away with it: the replacements by target.
    """

    target: str
    replacement: Any
    attacks: tuple[str, ...]
    also: Mapping[str, Any] = field(default_factory=dict)


def answers(value: Any) -> Callable[..., Any]:
    """A function that answers with the same value always."""
    return lambda *_, **__: value


Attack = Callable[["Arena"], None]
E = TypeVar("E", bound=BaseException)
ATTACKS: Final[dict[str, Attack]] = {}
PROMISE_OF: Final[dict[str, str]] = {}

SECRET: Final = "hunter2-hunter2"
MIB: Final = 2**20


def attack(promise: str) -> Callable[[Attack], Attack]:
    """Register an attack under its function's name."""
    assert promise in PROMISES

    def register(function: Attack) -> Attack:
        name = function.__name__
        assert name not in ATTACKS and function.__doc__, name
        ATTACKS[name] = function
        PROMISE_OF[name] = promise
        return function

    return register


def attack_modules() -> list[ModuleType]:
    """All modules `attacks_*.py`; importing one registers its attacks. A list `MUTATIONS` in one is tried too."""
    return [importlib.import_module(each.stem) for each in sorted(Path(__file__).parent.glob("attacks_*.py"))]


@cache
def key(name: str) -> PrivateKey:
    """A key of this name, the same at each call."""
    return PrivateKey.generate()


@cache
def bystander() -> Hostile:
    """A plugin that does nothing at all."""
    return hostile({"nothing": ""})


@cache
def probe(function: str, arguments: str) -> Hostile:
    """A plugin that calls one function of the host and answers with its outcome."""
    shape = shape_with((function,))
    call = function.replace("[", "").replace("]", "-")
    return hostile({"ask": f"(call ${call} {arguments}) {answer_outcome(function, shape)}"}, uses=(function,))


@dataclass(frozen=True)
class Package:
    """A component with a manifest, signed."""

    binary: bytes
    signature: bytes


class Arena:
    """Hosts, logs and files for one attack; `close` it.

    `patience_s` is how long something that never ends is given: much where it must end, so that a slow machine is not
    taken for a check that is missing, and little where a check was taken away.
    """

    def __init__(self, folder: Path, engine: Engine, *, patience_s: float = 30.0) -> None:
        self.patience_s = patience_s
        self.folder = folder
        self.engine = engine
        self.log = MemoryAuditLog()
        self.metrics = MemoryMetrics()
        self.log_sink = MemoryLogSink()
        self.secrets = MemorySecrets({"token": SECRET, "other": "another-secret"})
        self.answers: Callable[[Any], Canned] = lambda _: Canned(body=b"hello")
        self.transport = MemoryTransport(
            lambda outgoing: self.answers(outgoing),
            addresses={"inside.example": ["10.0.0.7"], "metadata.example": ["169.254.169.254"]},
        )
        self._resources = ExitStack()

    def close(self) -> None:
        """Close all hosts."""
        self._resources.close()

    def at_close(self, call: Callable[[], object]) -> None:
        """Have something done when the arena is closed."""
        self._resources.callback(call)

    def host(self, **options: Any) -> Host:
        """A host that is audited. `options` are fields of `Security` and of `Services`, and those of `Host` itself."""
        security = {"audit": self.log, **_taken(options, Security)}
        services = {
            "metrics": self.metrics,
            "log_sink": lambda _: self.log_sink,
            "secrets": self.secrets,
            "transport": lambda: self.transport,
            **_taken(options, Services),
        }
        given = {"engine": self.engine, **options}
        return self._resources.enter_context(
            Host(security=Security(**security), services=Services(**services), **given)
        )

    def load(self, component: bytes, host: Host | None = None, **options: Any) -> Processor:
        """Load a processor into a host."""
        loaded = (host or self.host()).load(component, **{"name": "plugin", **options})
        assert isinstance(loaded, Processor)
        return loaded

    def package(
        self, component: bytes | None = None, *, by: str = "acme", signer: str | None = None, **manifest: Any
    ) -> Package:
        """A component with a manifest, signed."""
        values = {"name": "hostile", "version": "1.0.0", "kind": "processor", "publisher": by, **manifest}
        made = Manifest.model_validate_json(json.dumps(values))
        binary = embed(bystander().binary if component is None else component, made)
        return Package(binary, sign(binary, key(signer or by)))

    def trust(self, *signers: str, more: Mapping[str, Any] | None = None, **document: Any) -> TrustPolicy:
        """A trust policy with these keys; `more` is said of each."""
        keys = [{"key": str(key(each).public), "publisher": each, **(more or {})} for each in signers or ("acme",)]
        return TrustPolicy.parse(json.dumps({"version": 1, "keys": keys, **document}))

    def policy(self, rule: Mapping[str, Any] | None = None, *, name: str = "hostile", **grants: Any) -> Policy:
        """A policy with a rule for one plugin."""
        pipelines = {each: {"embedded": True} for each in (rule or {}).get("pipelines", {})}
        limits = grants.pop("limits", {})
        plugin = {"grants": grants, "limits": limits, **(rule or {})}
        document = {"version": 1, "plugins": {name: plugin}, "pipelines": pipelines}
        return Policy.parse(json.dumps(document), base_dir=self.folder)

    # What is asserted.

    def raises(self, expected: type[E], call: Callable[[], Any], *, says: str = "") -> E:
        """The error of exactly this class that a call raises."""
        try:
            result = call()
        except BaseException as error:
            if type(error) is not expected:
                raise AssertionError(f"{type(error).__name__} instead of {expected.__name__}: {error}") from error
            assert says in str(error), f"{says!r} is not in: {error}"
            return error
        raise AssertionError(f"it was let through, and returned {result!r}")

    def raises_any(self, expected: type[E], call: Callable[[], Any]) -> E:
        """The error of this class, or of one below it, that a call raises."""
        try:
            result = call()
        except expected as error:
            return error
        raise AssertionError(f"it was let through, and returned {result!r}")

    def still_serves(self, call: Callable[[], Any]) -> Any:
        """What a plugin that must have survived the attack returns."""
        try:
            return call()
        except DataflareError as error:
            raise AssertionError(f"it no longer serves: {error}") from error

    def refused_load(self, expected: type[E], call: Callable[[], Any], *, says: str = "") -> E:
        """The error of a load that was refused, with its line in the audit log."""
        error = self.raises(expected, call, says=says)
        self.assert_denied(capability="host", function="load", reason=f"{expected.__name__}: ")
        return error

    def passes_limit(
        self, expected: type[LimitExceeded], call: Callable[[], Any], *, plugin: str = "plugin"
    ) -> LimitExceeded:
        """The error of a limit, counted and audited once."""
        error = self.raises(expected, call)
        assert error.limit and error.hint, "a limit has a name, and something can be done about it"
        assert self.counted(plugin, error.limit) == 1
        self.assert_denied(capability="limits", object=f"limit:{error.limit}")
        return error

    def counted(self, plugin: str, limit: str) -> float:
        """How often a plugin passed a limit."""
        return self.metrics.counters().get((plugin, LIMIT_METRIC, (("limit", limit),)), 0)

    def answers_with(self, case: str, plugin: Processor, made: Hostile, function: str, argument: str = "") -> None:
        """A function of the host answers with a case of its error (or `ok`)."""
        found = made.outcome(function, plugin.process(made.order("ask", argument)))
        assert found == case, f"{found} instead of {case}"

    def events(self, **values: str) -> list[AuditEvent]:
        """The events with these values; reasons need only begin so."""
        return [
            each
            for each in self.log.events
            if all(
                str(getattr(each, name)).startswith(value) if name == "reason" else getattr(each, name) == value
                for name, value in values.items()
            )
        ]

    def assert_denied(self, **values: str) -> None:
        """The audit log has a refusal with these values."""
        assert self.events(decision="deny", **values), f"no line {values} among {self.shown_log()}"

    def assert_nothing_denied_is_allowed(self, capability: str) -> None:
        """The audit log has no allowed use of a capability."""
        assert not self.events(decision="allow", capability=capability), self.shown_log()

    def shown_log(self) -> str:
        """The log as text."""
        return "".join(each.line().decode() for each in self.log.events)


ROWS: Final = pa.record_batch({"n": [1, 2, 3]})


def names(cases: Iterable[Attack]) -> list[str]:
    """The names of attacks."""
    return [each.__name__ for each in cases]


def _taken(options: dict[str, Any], group: type) -> dict[str, Any]:
    """Take the fields of a group of options out of them."""
    return {field.name: options.pop(field.name) for field in fields(group) if field.name in options}
