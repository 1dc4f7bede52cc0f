"""Attacks by too many log events, numbers and secrets: what is left out is said, and nobody waits for a store."""

from __future__ import annotations

import threading
from functools import cache

from arena import SECRET, Arena, Mutation, answers, attack, probe
from attacks_limits import LOG
from dataflare.capabilities.secrets import MAX_SECRET_BYTES
from dataflare.errors import CallTimeout
from dataflare.grants import Grants
from dataflare.limits import Limits
from plugin_wat import DATA, RESULT, Hostile, hostile

NAMES = 26 * 26
LETTER = "(i32.add (i32.const 97) {})"


@cache
def chatterbox() -> Hostile:
    """A plugin that logs two hundred events, or sets a gauge of 676 names."""
    letters = ("(i32.div_u (local.get $i) (i32.const 26))", "(i32.rem_u (local.get $i) (i32.const 26))")
    spelled = "".join(f"(i32.store8 (i32.const {DATA + at}) {LETTER.format(each)})" for at, each in enumerate(letters))
    again = "(br_if $x (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const {})))"
    gauge = f"(call $metrics#set-gauge (i32.const {DATA}) (i32.const 2) (f64.const 1) (i32.const 0) (i32.const 0))"
    log = LOG.format(at=f"(i32.const {DATA})", size="(i32.const 2)")
    return hostile(
        {
            "log": f"(loop $x {log} {again.format(200)})",
            "names": f"(loop $x {spelled} {gauge} {again.format(NAMES)})",
        },
        uses=("logging#log", "metrics#set-gauge"),
        data=b"hi",
    )


def told(arena: Arena, message: str) -> list[int]:
    """How many were left out, of each event that tells so."""
    return [int(event.fields["dropped"]) for event in arena.log_sink.events if event.message == message]


@attack("limits")
def events_dropped_without_a_word(arena: Arena) -> None:
    """Log too much in one call and nothing afterwards, so that nobody learns that events are missing."""
    made = chatterbox()
    plugin = arena.load(made.binary, grants=Grants(metrics=True), limits=Limits(log_events_per_s=50))
    plugin.process(made.order("log"))
    shown = len(arena.log_sink.events)
    assert 50 <= shown < 150 and sum(told(arena, "log events were dropped")) >= 100, f"{shown} events"
    plugin.process(made.order("log"))
    plugin.close()
    missing = told(arena, "log events were dropped")
    assert len(missing) <= 3, "a flood of words about the flood"
    assert sum(missing) + len(arena.log_sink.events) - len(missing) == 400, "some are neither shown nor told of"


@attack("limits")
def numbers_of_ever_new_names(arena: Arena) -> None:
    """Give each number a name of its own, to fill the memory of whoever keeps the metrics."""
    made = chatterbox()
    plugin = arena.load(made.binary, grants=Grants(metrics=True))
    for _ in range(3):
        plugin.process(made.order("names"))
    plugin.close()
    kept = {name for owner, name, _ in arena.metrics.gauges() if owner == "plugin"}
    assert len(kept) <= 100, f"{len(kept)} names"
    left_out = 3 * (NAMES - len(kept))
    missing = told(arena, "metrics were dropped")
    assert sum(missing) == left_out == arena.counted("plugin", "metrics") and len(missing) <= 3, missing


class SlowStore:
    """A keyring that nobody unlocks. `waited` is set when a call of it was waited for to the end."""

    def __init__(self, patience_s: float) -> None:
        self.unlocked = threading.Event()
        self.waited = threading.Event()
        self._patience_s = patience_s

    def get(self, name: str) -> str | None:
        if not self.unlocked.wait(self._patience_s):
            self.waited.set()
        return SECRET


@attack("limits")
def time_hidden_in_a_store_of_secrets(arena: Arena) -> None:
    """Ask for a secret, or have one added to a request, while the keyring waits for a user who is not there."""
    store = SlowStore(arena.patience_s)
    arena.at_close(store.unlocked.set)
    host = arena.host(secrets=store)
    made = probe("secrets#get", f"(local.get $p) (local.get $n) (i32.const {RESULT})")
    limits = Limits(call_timeout_s=0.3)
    plugin = arena.load(made.binary, host, grants=Grants(secrets=frozenset({"token"})), limits=limits)
    plugin.start()
    arena.passes_limit(CallTimeout, lambda: plugin.process(made.order("ask", "token")))
    assert not store.waited.is_set(), "it waits for the store"
    store.unlocked.set()
    arena.answers_with("ok", plugin, made, "secrets#get", "token")


@attack("secrets")
def secret_without_end(arena: Arena) -> None:
    """Use a secret of megabytes, which the host then searches for in everything that is logged."""

    class LongStore:
        def get(self, name: str) -> str | None:
            return "x" * (MAX_SECRET_BYTES + 1)

    made = probe("secrets#get", f"(local.get $p) (local.get $n) (i32.const {RESULT})")
    plugin = arena.load(made.binary, arena.host(secrets=LongStore()), grants=Grants(secrets=frozenset({"token"})))
    arena.answers_with("other", plugin, made, "secrets#get", "token")


MUTATIONS = [
    Mutation("dataflare.capabilities.logging:Omissions.tell", answers(None), ("events_dropped_without_a_word",)),
    Mutation("dataflare.capabilities.metrics:PluginMetrics._keeps", answers(True), ("numbers_of_ever_new_names",)),
    Mutation(
        "dataflare.capabilities.secrets:_ask_in_time",
        lambda store, name, _: store.get(name),
        ("time_hidden_in_a_store_of_secrets",),
    ),
    Mutation("dataflare.capabilities.secrets:MAX_SECRET_BYTES", 2**30, ("secret_without_end",)),
]
