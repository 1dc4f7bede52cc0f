"""Attacks that get at an origin after it was taken back, by way of another one or of a response under way."""

from __future__ import annotations

from collections.abc import Iterator

from arena import Arena, Mutation, answers, attack
from attacks_capabilities import ORIGIN, browser, granting
from dataflare.capabilities.http_transport import Canned
from dataflare.grants import Grants
from dataflare.runtime.host import Host
from dataflare.runtime.processor import Processor

OTHER = "https://b.example"


def surfer(arena: Arena) -> tuple[Host, Processor]:
    """A plugin that may ask two origins, and its host."""
    host = arena.host()
    grants = Grants(http=granting(ORIGIN, OTHER))
    return host, arena.load(browser("GET").binary, host, grants=grants)


def ask(arena: Arena, plugin: Processor, case: str) -> None:
    arena.answers_with(case, plugin, browser("GET"), "http#send", f"{ORIGIN}/")


@attack("revocation")
def redirect_to_an_origin_that_was_taken_back(arena: Arena) -> None:
    """Have a granted origin redirect to one that was granted, and taken back since."""
    arena.answers = lambda outgoing: (
        Canned(status=302, headers=[("location", f"{OTHER}/")])
        if outgoing.url.origin.host == "api.example.com"
        else Canned(body=b"secret")
    )
    host, plugin = surfer(arena)
    ask(arena, plugin, "ok")
    assert arena.events(decision="allow", object=f"http:GET:{OTHER}"), arena.shown_log()
    host.revoke("plugin", f"http:GET:{OTHER}")
    ask(arena, plugin, "denied")
    arena.assert_denied(capability="http", object=f"http:GET:{OTHER}", reason=f"http:GET:{OTHER} was revoked")
    assert len(arena.transport.sent) == 3, "of the second request, the first hop alone was sent"


@attack("revocation")
def redirect_under_way_when_everything_is_taken_back(arena: Arena) -> None:
    """Be redirected, while the interface itself is taken back between the two requests."""
    host, plugin = surfer(arena)

    def answer(_: object) -> Canned:
        host.revoke("plugin", "http")
        return Canned(status=302, headers=[("location", f"{OTHER}/")])

    arena.answers = answer
    ask(arena, plugin, "denied")
    assert len(arena.transport.sent) == 1


@attack("revocation")
def response_that_streams_past_its_revocation(arena: Arena) -> None:
    """Go on receiving a long response after its origin was taken back."""
    host, plugin = surfer(arena)
    given = []

    def body() -> Iterator[bytes]:
        for number in range(100):
            if number == 3:
                host.revoke("plugin", f"http:GET:{ORIGIN}")
            given.append(number)
            yield b"part"

    arena.answers = lambda _: Canned(body=body())
    ask(arena, plugin, "denied")
    assert len(given) < 10, "the rest of the body was read all the same"
    arena.assert_denied(capability="http", object=f"http:GET:{ORIGIN}", reason=f"http:GET:{ORIGIN} was revoked")


MUTATIONS = [
    Mutation(
        "dataflare.security.enforcement:Auditor.request_refusal",
        answers(""),
        (
            "redirect_to_an_origin_that_was_taken_back",
            "redirect_under_way_when_everything_is_taken_back",
            "response_that_streams_past_its_revocation",
        ),
    ),
    Mutation(
        "dataflare.capabilities.http_broker:HttpBroker._check",
        answers(None),
        ("redirect_to_an_origin_that_was_taken_back", "response_that_streams_past_its_revocation"),
    ),
]
