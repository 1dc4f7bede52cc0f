"""Checks that are taken away one at a time: attacks must get through then, or the attacks test nothing."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from arena import ATTACKS, Arena, Mutation, answers, attack_modules
from dataflare.capabilities.http_address import Address
from dataflare.data.ipc import _remembered_schema
from dataflare.engine.engine import Engine
from dataflare.engine.native.timer import Timer
from dataflare.errors import LimitExceeded


def argument(index: int) -> Callable[..., Any]:
    return lambda *args, **_: args[index]


def _any_address(_: object, text: str) -> Address:
    import ipaddress

    return ipaddress.ip_address(text)


_ENTER = Timer.enter


def _late(timer: Timer, call: Any, deadline_s: float) -> Any:
    return _ENTER(timer, call, deadline_s + 2.5)


def _only_first(component: bytes, *, name: str = "") -> bytes | None:
    from dataflare.security.manifest import MANIFEST_SECTION
    from dataflare.security.sections import custom_sections

    return next((each.payload for each in custom_sections(component) if each.name == MANIFEST_SECTION), None)


def _without_limit(table: Any, thing: Any, *, lent: bool = False) -> int:
    if len(table) > 20_000:
        raise RuntimeError("there was no limit")
    number = table.last = table.last + 1
    table._objects[number] = thing
    if lent:
        table._lent.add(number)
    return int(number)


def _follow_links(walk: Any, parts: list[str], *, follow: bool) -> tuple[int, str]:
    import os

    for part in parts[:-1]:
        walk._stack.append(os.open(part, os.O_RDONLY, dir_fd=walk._stack[-1]))
    return walk._stack[-1], parts[-1]


SECURITY = "dataflare.security"
MUTATIONS = [
    Mutation(
        f"{SECURITY}.trust:TrustPolicy._check_statement",
        answers(None),
        ("code_changed_after_signing", "manifest_changed_after_signing", "signature_of_another_component"),
    ),
    Mutation(
        f"{SECURITY}.trust:TrustPolicy._refuse_key",
        answers(None),
        (
            "forged_under_a_trusted_keys_name",
            "signed_with_an_expired_key",
            "key_of_another_plugin",
        ),
    ),
    Mutation(
        "securesystemslib.dsse:Envelope.verify",
        answers({}),
        ("forged_under_a_trusted_keys_name", "statement_rewritten_within_its_envelope"),
    ),
    Mutation(f"{SECURITY}.trust:TrustPolicy._check_digests", answers(None), ("component_that_was_revoked",)),
    Mutation(f"{SECURITY}.manifest:read_raw", _only_first, ("two_manifests_in_one_component",)),
    Mutation(f"{SECURITY}.manifest:unique_keys", dict, ("repeated_key_in_a_manifest",)),
    Mutation(f"{SECURITY}.manifest:MAX_MANIFEST_BYTES", 2**30, ("manifest_without_end",)),
    Mutation(
        f"{SECURITY}.policy:Policy.refusal",
        answers(""),
        ("name_of_another_plugin_pinned_by_digest", "rolled_back_to_an_old_version"),
    ),
    Mutation(
        f"{SECURITY}.review:PolicyReport.require",
        answers(None),
        ("manifest_that_asks_for_more_than_the_policy_gives",),
    ),
    Mutation(f"{SECURITY}.admission:Admission.check_imports", answers(None), ("import_that_the_manifest_hides",)),
    Mutation(
        f"{SECURITY}.narrowing:_excess",
        answers(()),
        (
            "pipeline_that_grants_a_secret_itself",
            "pipeline_that_makes_a_directory_writable",
            "pipeline_that_moves_a_directory",
        ),
    ),
    Mutation(
        f"{SECURITY}.narrowing:_http_excess",
        answers(()),
        (
            "pipeline_that_adds_a_method",
            "pipeline_that_adds_a_private_address",
            "pipeline_that_injects_another_secret",
        ),
    ),
    Mutation(f"{SECURITY}.admission:narrowed_limits", argument(1), ("pipeline_that_raises_limits",)),
    Mutation(
        f"{SECURITY}.enforcement:Revocations.of",
        answers(frozenset()),
        ("use_after_revocation", "handle_kept_past_revocation"),
    ),
    Mutation(f"{SECURITY}.audit:Redactor.redact", argument(1), ("secret_in_a_name",)),
    Mutation(
        f"{SECURITY}.enforcement:Auditor._write",
        answers(None),
        ("directory_that_was_not_granted", "use_that_cannot_be_audited", "loop_without_end"),
    ),
    Mutation(
        f"{SECURITY}.admission:Admission._record",
        answers(None),
        ("unsigned_component_is_loaded", "plugin_without_a_rule"),
    ),
    Mutation(
        f"{SECURITY}.access:Access.allows",
        answers(True),
        (
            *("viewer_who_runs_a_pipeline", "author_who_changes_the_policy", "role_taken_as_a_name"),
            *("author_who_revokes", "stranger_who_stops_a_pipeline"),
        ),
    ),
    Mutation("dataflare.runtime.loader:check_grants", answers(None), ("import_that_was_not_granted",)),
    Mutation("dataflare.runtime.worlds:mismatches", answers([]), ("component_for_no_world",)),
    Mutation("dataflare.runtime.loaded:check_edges", answers(None), ("plugins_that_call_in_a_circle",)),
    Mutation("dataflare.runtime.plugin:Plugin._within_limits", argument(3), ("too_many_rows",)),
    Mutation(
        "dataflare.runtime.capabilities:Capabilities.passed_limit",
        answers(None),
        ("recursion_without_end", "too_many_rows"),
    ),
    Mutation("dataflare.capabilities.state:_PASSED_LIMITS", frozenset(), ("state_that_fills_the_disk",)),
    Mutation(
        "dataflare.capabilities.directory_files:_Walk.go",
        _follow_links,
        ("link_that_leads_out", "write_through_a_link"),
    ),
    Mutation(
        "dataflare.capabilities.http_address:AddressRules.check",
        _any_address,
        (
            *("granted_name_with_a_private_address", "metadata_service_of_a_cloud", "redirect_to_a_private_address"),
            "loopback_in_disguise",
        ),
    ),
    Mutation("dataflare.capabilities.http_broker:_check_echo", answers(None), ("injected_secret_sent_back",)),
    Mutation("dataflare.capabilities.http_rules:RateLimiter.take", answers(None), ("storm_of_requests",)),
    Mutation("dataflare.engine.abi.handles:HandleTable.put", _without_limit, ("storm_of_handles",)),
    Mutation(
        "dataflare.engine.native.timer:Timer.enter",
        _late,
        (
            *("loop_without_end", "sleep_past_the_time_limit", "time_hidden_in_another_plugin"),
            *("start_that_never_ends", "shutdown_that_never_ends"),
        ),
    ),
    Mutation("dataflare.engine.engine:remaining_s", answers(float("inf")), ("deadlock_on_a_busy_plugin",)),
    Mutation("dataflare.data.ipc:_Decoder._add", answers(None), ("decompression_bomb",)),
]
MUTATIONS += [each for module in attack_modules() for each in getattr(module, "MUTATIONS", ())]
PAIRS = [(mutation, name) for mutation in MUTATIONS for name in mutation.attacks]


WASMTIMES_OWN = "the check is wasmtime's own"
READERS_ALL = "all who read it refuse it: the manifest's reader, the engine's, and wasmtime"
WITHOUT: Mapping[str, str] = {
    "sockets_of_the_host": f"{WASMTIMES_OWN}, and its C API cannot take it away",
    "exit_of_the_host": WASMTIMES_OWN,
    "storm_of_timers": WASMTIMES_OWN,
    "gigabytes_of_randomness": WASMTIMES_OWN,
    "wait_for_nothing": WASMTIMES_OWN,
    "loop_beside_a_busy_neighbour": "there is no check: instances share nothing that one of them could hold",
    "core_module_in_place_of_a_component": READERS_ALL,
    "component_that_is_cut_short": READERS_ALL,
    "section_longer_than_the_file": READERS_ALL,
    "code_in_a_name_of_a_component": "a name is read as one of WIT's, and checked once more where it is written",
    "lengths_that_the_memory_has": "it takes gigabytes; `hundred_thousand_handles` is tried without the same check",
    "excel_objects_of_a_few_bytes": "it takes minutes; `excel_text_that_every_cell_shares` is tried without the check",
    "excel_entities": "the check is expat's own",
    "excel_parts_larger_than_they_say": "the check is that of Python's zipfile",
    "excel_parts_outside_of_the_workbook": "there is no check: openpyxl finds parts in the workbook alone",
    "zstd_window_of_gigabytes": "the check is that of zstd, below Arrow",
}
"""Attacks that no mutation names, and why no single check keeps them off."""


@pytest.fixture(autouse=True)
def nothing_remembered() -> Iterator[None]:
    """What is read without a check must not be remembered for the tests that come after, nor the other way."""
    _remembered_schema.cache_clear()
    yield
    _remembered_schema.cache_clear()


@pytest.fixture
def arena(tmp_path: Path, engine: Engine) -> Iterator[Arena]:
    made = Arena(tmp_path, engine, patience_s=3.0)
    yield made
    made.close()


@pytest.mark.parametrize(("mutation", "name"), PAIRS, ids=[f"{m.target.partition(':')[2]}-{n}" for m, n in PAIRS])
def test_attack_gets_through_without_the_check(
    arena: Arena, monkeypatch: pytest.MonkeyPatch, mutation: Mutation, name: str
) -> None:
    if mutation.target.startswith("dataflare.engine.flat."):
        # With $DATAFLARE_FLATTEN=0, the components of this attack would have bridges, which have checks of their own.
        arena.engine = Engine(cache_dir=arena.folder / "flattened", flatten=True)
        arena.at_close(arena.engine.close)
    with monkeypatch.context() as patch:
        for target, replacement in {mutation.target: mutation.replacement, **mutation.also}.items():
            module, _, path = target.partition(":")
            owner: Any = importlib.import_module(module)
            *outer, last = path.split(".")
            for part in outer:
                owner = getattr(owner, part)
            patch.setattr(owner, last, replacement)
        # Not just any error: the attack itself has to say that it was let through.
        with pytest.raises(AssertionError) as caught:
            ATTACKS[name](arena)
        cause = caught.value.__cause__
        assert not _is_broken(cause), "the mutation names something that is not there any more"
        assert not isinstance(cause, LimitExceeded), (
            f"another limit kept it off, so the check may not be missed: {cause}"
        )


def _is_broken(error: BaseException | None) -> bool:
    """Whether an error is the replacement's own, so that nothing is known of the check that it stands for."""
    at = error and error.__traceback__
    while at is not None and at.tb_next is not None:
        at = at.tb_next
    own = at is not None and Path(at.tb_frame.f_code.co_filename).parent == Path(__file__).parent
    misfits = isinstance(error, TypeError) and " argument" in str(error) and "()" in str(error)
    return misfits or (own and isinstance(error, AttributeError | NameError))


def test_every_mutation_names_attacks_that_there_are() -> None:
    assert {name for _, name in PAIRS} <= set(ATTACKS)
    assert len(MUTATIONS) >= 25


def test_every_attack_is_named_by_a_mutation_or_there_is_a_reason() -> None:
    # Those of an extra that is not installed are in no list of attacks.
    reasons = {name for name in WITHOUT if name in ATTACKS or not name.startswith("excel_")}
    assert set(ATTACKS) - {name for _, name in PAIRS} == reasons
