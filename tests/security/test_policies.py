from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflare.errors import ConfigError, PermissionDenied
from dataflare.grants import ANY_METHODS, DirectoryGrant, Grants, HttpGrant
from dataflare.limits import Limits
from dataflare.security.audit import AuditEvent
from dataflare.security.capability import Capability, Needs
from dataflare.security.policy import Policy
from dataflare.security.review import LimitChange, check, diff, suggest
from dataflare.security.version_ranges import VersionRange
from dataflare.wit.versions import Version

DIGEST = "sha256:" + "ab" * 32
TEXT = f"""\
version: 1
plugins:
  rates:
    versions: ">=1.2.0, <2.0.0"
    digests: ["{DIGEST}"]
    grants:
      clock: true
      metrics: true
      state: true
      files:
        cache: {{path: cache, access: write}}
        input: {{path: /data/input}}
    limits: {{memory: 1GB, fuel: 500}}
    pipelines:
      nightly:
        grants:
          files:
            input: {{path: /data/nightly}}
          http:
            https://api.example.com: {{methods: [GET], secrets: {{authorization: "Bearer {{api-token}}"}}}}
          secrets: [other-token]
          plugins: [clean]
          shared: {{lookup: read}}
        limits: {{fuel: 1000}}
  free: {{}}
pipelines:
  nightly: {{file: nightly.yaml}}
"""
RATES = Needs(plugin="rates", version="1.2.3", digest=DIGEST)


@pytest.fixture
def policy() -> Policy:
    return Policy.parse(TEXT, base_dir=Path("/etc/flows"))


def test_plugin_gets_what_its_rule_grants(policy):
    assert policy.grants_for(RATES, "other") == Grants(
        clock=True,
        metrics=True,
        state=True,
        files={
            "cache": DirectoryGrant(path=Path("/etc/flows/cache"), access="write"),
            "input": DirectoryGrant(path=Path("/data/input")),
        },
    )


def test_pipeline_adds_to_the_rule_and_takes_precedence(policy):
    grants = policy.grants_for(RATES, "nightly")
    assert grants.files["input"].path == Path("/data/nightly")
    assert grants.files["cache"].writable
    assert grants.http == {
        "https://api.example.com": HttpGrant(
            methods=frozenset({"GET"}), secrets={"authorization": "Bearer {api-token}"}
        )
    }
    assert (grants.secrets, grants.plugins) == (frozenset({"other-token"}), frozenset({"clean"}))
    assert grants.shared == {"lookup": "read"}


@pytest.mark.parametrize(
    ("plugin", "reason"),
    [
        (Needs(plugin="unknown"), "no rule for the plugin 'unknown'"),
        (Needs(plugin="rates", version="1.2.3", digest="sha256:" + "cd" * 32), "cdcd) is not one of those"),
        (Needs(plugin="rates", version="1.2.3"), "(unknown) is not one of those"),
        (Needs(plugin="rates", version="2.0.0", digest=DIGEST), "version 2.0.0 of 'rates' is not in '>=1.2.0, <2.0.0'"),
        (Needs(plugin="rates", digest=DIGEST), "version unknown"),
    ],
)
def test_plugin_that_no_rule_fits_gets_nothing_and_is_told_why(policy, plugin, reason):
    assert policy.grants_for(plugin, "nightly") == Grants()
    assert reason in policy.refusal(plugin)


def test_empty_rule_grants_nothing(policy):
    assert policy.grants_for(Needs(plugin="free"), "nightly") == Grants()
    assert policy.refusal(Needs(plugin="free")) == ""


def test_words_any_stand_for_methods_and_headers():
    policy = Policy.parse(
        'version: 1\nplugins: {p: {grants: {http: {"http://h": {methods: any, request_headers: any}}}}}'
    )
    grant = policy.grants_for(Needs(plugin="p"), "").http["http://h"]
    assert (grant.methods, grant.request_headers) == (ANY_METHODS, "any")


def test_limits_are_what_is_asked_for_up_to_the_ceiling(policy):
    asking = Needs(plugin="rates", version="1.2.3", digest=DIGEST, limits={"memory_bytes": 7_000, "fuel": 900})
    assert policy.limits_for(asking, "nightly") == Limits(memory_bytes=7_000, fuel=900)
    assert policy.limits_for(RATES, "other") == Limits(memory_bytes=10**9, fuel=500)
    assert policy.limits_for(Needs(plugin="free"), "") == Limits()


def test_limit_above_the_ceiling_is_denied(policy):
    asking = Needs(plugin="rates", version="1.2.3", digest=DIGEST, limits={"fuel": 501})
    with pytest.raises(PermissionDenied, match="fuel of 501, more than 500") as caught:
        policy.limits_for(asking, "other")
    assert caught.value.capability == "limits.fuel"
    slow = Needs(plugin="free", limits={"call_timeout_s": 60.001})
    with pytest.raises(PermissionDenied, match=r"call_timeout of 60\.001s, more than 60s"):
        policy.limits_for(slow, "")


def test_policy_survives_its_yaml(policy):
    assert Policy.parse(policy.to_yaml()).document == policy.document


def test_file_is_read_with_paths_relative_to_it(tmp_path):
    (tmp_path / "policy.yaml").write_text(TEXT)
    read = Policy.read(tmp_path / "policy.yaml")
    assert read.grants_for(RATES, "").files["cache"].path == tmp_path.resolve() / "cache"


def test_absent_file_is_a_config_error(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        Policy.read(tmp_path / "absent.yaml")


@pytest.mark.parametrize(
    ("text", "where", "message", "hint"),
    [
        ("", 1, "is empty", ""),
        ("version: 1\nplugins: [", 2, "is not YAML", ""),
        ("version: 2", 1, "version: 2 is not one of 1", ""),
        ("plugins: {}", 1, "version is missing", ""),
        ("version: 1\nplugin: {}", 2, "plugin: unknown key", "did you mean 'plugins'?"),
        ("version: 1\nplugins:\n  p:\n    grnts: {}", 4, "plugins.p.grnts: unknown key", "did you mean 'grants'?"),
        (
            "version: 1\nplugins:\n  p:\n    pipelines:\n      n:\n        grants:\n          secret: [a]",
            7,
            "plugins.p.pipelines.n.grants.secret: unknown key",
            "did you mean 'secrets'?",
        ),
        (
            'version: 1\nplugins:\n  p:\n    grants:\n      http:\n        "https://a":\n          method: [GET]',
            7,
            "method: unknown key",
            "did you mean 'methods'?",
        ),
        ("version: 1\nplugins:\n  p: {}\n  q: {}\n  p: {}", 5, "the key 'p' is there twice, first in line 3", ""),
        ("version: 1\nplugins: &a {}", 2, "the anchor &a", "leave it out"),
        ("version: 1\nplugins:\n  p: {}\n  q: *a", 4, "the alias *a", "write the value out"),
        ("version: 1\nplugins: !!python/object:os.system {}", 2, "tag", ""),
        ("version: 1\nplugins: {no: {grnts: {}}}", 2, "plugins.no.grnts: unknown key", "'grants'"),
        ("version: 1\nplugins: {true: {}}", 2, "is not a text", "put it into quotes"),
        ("version: 010\nplugins: {}", 1, "more than one way", "put a text into quotes"),
        ("version: 1\n---\nversion: 1", 2, "a second document begins", ""),
        ("version: 1\nplugins: {p: {versions: 1.2}}", 2, "give a text", ""),
        ('version: 1\nplugins: {p: {versions: "1.x"}}', 2, "'1.x' is not a bound", ""),
        ('version: 1\nplugins: {p: {digests: ["sha256:12"]}}', 2, "is not of the form", ""),
        ("version: 1\nplugins: {p: {digests: []}}", 2, "give at least one", ""),
        ("version: 1\nplugins:\n  '*': {}", 3, "is not of the form", ""),
        ("version: 1\nplugins: {p: {grants: {'*': true}}}", 2, "*: unknown key", "known are clock, "),
        ("version: 1\nplugins: {p: {grants: {interfaces: [clock]}}}", 2, "unknown key", "such as `clock: true`"),
        ("version: 1\nplugins: {p: {grants: {files: true}}}", 2, "files: give a mapping, not true", ""),
        ("version: 1\nplugins: {p: {grants: {limits: {fuel: 1}}}}", 2, "limits: unknown key", "belongs beside"),
        ("version: 1\nplugins: {p: {grants: {random_seed: 1}}}", 2, "has no effect without random", "add random"),
        ("version: 1\nplugins: {p: {grants: {secrets: any}}}", 2, "secrets: give a list", ""),
        ("version: 1\nplugins: {p: {grants: {http: {'https://*': {methods: [GET]}}}}}", 2, "not a host name", ""),
        ("version: 1\nplugins: {p: {grants: {http: {'https://a': {}}}}}", 2, "methods is missing", ""),
        ("version: 1\nplugins: {p: {grants: {http: {'https://a': {methods: ['*']}}}}}", 2, "methods", ""),
        ("version: 1\nplugins: {p: {grants: {http: {'https://a': {methods: all}}}}}", 2, "methods", ""),
        ("version: 1\nplugins: {p: {grants: {http: {'https://a': {methods: [TRACE]}}}}}", 2, "cannot be granted", ""),
        (
            "version: 1\nplugins: {p: {grants: {http: {'https://a': {methods: [GET], addresses: [0.0.0.0/0]}}}}}",
            2,
            "every address",
            "",
        ),
        ("version: 1\nplugins: {p: {grants: {files: {d: {path: ''}}}}}", 2, "at least 1 character", ""),
        (
            "version: 1\nplugins: {p: {grants: {files: {d: {path: /x, access: full}}}}}",
            2,
            "'read' or 'write'",
            "",
        ),
        ("version: 1\nplugins: {p: {limits: {memory: 1e9}}}", 2, "has no unit", "256MiB"),
        ("version: 1\nplugins: {p: {limits: {memory: 0B}}}", 2, "at least 1", ""),
        ("version: 1\nplugins: {p: {limits: {memory_bytes: 5}}}", 2, "unknown key", "write `memory`"),
        ("version: 1\nplugins: {p: {limits: {memory: none}}}", 2, "'none' is not a size", ""),
        ("version: 1\nplugins: {p: {limits: {call_timeout_ms: 5}}}", 2, "unknown key", "write `call_timeout`"),
        ("version: 1\nplugins: {p: {limits: {call_timeout: 2h}}}", 2, "not in (0, 3600]", ""),
    ],
)
def test_wrong_policy_is_refused_with_file_line_and_hint(text, where, message, hint):
    with pytest.raises(ConfigError) as caught:
        Policy.parse(text, source="p.yaml")
    assert caught.value.where == f"p.yaml:{where}"
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_all_problems_are_told_with_their_lines():
    with pytest.raises(ConfigError) as caught:
        Policy.parse("version: 1\nplugins:\n  p:\n    grnts: {}\n  q:\n    pipeline: {}", source="p.yaml")
    assert caught.value.where == "p.yaml:4"
    assert "p.yaml:6: plugins.q.pipeline: unknown key" in caught.value.message


def test_secret_written_where_its_name_belongs_is_not_shown():
    text = "version: 1\nplugins: {p: {grants: {http: {'https://a': {methods: [GET], secrets: {x-key: 'S3CR3T!'}}}}}}"
    with pytest.raises(ConfigError) as caught:
        Policy.parse(text)
    assert "S3CR3T" not in str(caught.value)


def test_long_and_deep_files_are_refused():
    with pytest.raises(ConfigError, match="longer"):
        Policy.parse("#" * (2**20 + 1))
    for text in ("[" * 5_000, "a: {" * 100 + "}" * 100, "- " * 3_000 + "a"):
        with pytest.raises(ConfigError):
            Policy.parse(text)


@given(st.text(max_size=200))
def test_any_text_is_a_policy_or_a_config_error(text):
    for each in (text, f"version: 1\nplugins: {text}"):
        try:
            policy = Policy.parse(each)
        except ConfigError as error:
            assert error.where.startswith("policy.yaml:")
        else:
            assert policy.document.version == 1


@given(st.data())
def test_changed_characters_make_a_policy_or_a_config_error(data):
    text = list(TEXT)
    for position in data.draw(st.lists(st.integers(0, len(text) - 1), min_size=1, max_size=4)):
        text[position] = data.draw(st.characters(codec="utf-8"))
    cut = data.draw(st.integers(0, len(text)))
    try:
        policy = Policy.parse("".join(text[:cut]))
    except ConfigError as error:
        assert error.where.startswith("policy.yaml:")
    else:
        assert policy.grants_for(Needs(plugin="stranger"), "nightly") == Grants()


@pytest.mark.parametrize(
    ("text", "version", "inside"),
    [
        (">=1.2.0, <2.0.0", "1.2.0", True),
        (">=1.2.0, <2.0.0", "1.10.0", True),
        (">=1.2.0, <2.0.0", "2.0.0", False),
        (">=1.2.0, <2.0.0", "2.0.0-rc.1", False),
        (">=1.2.0, <2.0.0", "1.3.0-rc.1", False),
        (">=1.3.0-rc.1", "1.3.0-rc.2", True),
        ("=1.0.0", "1.0.1", False),
        (">1.0.0", "1.0.0", False),
        ("<=1.0.0", "1.0.0", True),
    ],
)
def test_range_holds_versions(text, version, inside):
    assert (Version.parse(version) in VersionRange.parse(text)) is inside


# Reviews.


def capabilities(*texts: str) -> frozenset[Capability]:
    return frozenset(map(Capability.parse, texts))


def test_report_says_what_is_missing_and_what_is_unused(policy):
    needs = Needs(
        plugin="rates",
        version="1.2.3",
        digest=DIGEST,
        capabilities=capabilities("clock", "files:write:input", "http:POST:https://api.example.com", "state"),
        limits={"fuel": 2_000, "memory_bytes": 10},
    )
    report = check(needs, policy, pipeline="nightly")
    assert report.missing == capabilities("files:write:input", "http:POST:https://api.example.com")
    assert capabilities("metrics", "secrets:other-token", "files:write:cache") < report.unused
    assert not report.unused & report.asked
    assert report.limits_missing == (LimitChange("fuel", 1_000, 2_000),)
    assert not report.ok
    with pytest.raises(PermissionDenied) as caught:
        report.require()
    assert "files:write:input, http:POST:https://api.example.com, fuel of 2000, at most 1000" in str(caught.value)
    assert caught.value.plugin == "rates"


def test_report_is_ok_when_all_that_is_asked_for_is_granted(policy):
    needs = Needs(plugin="rates", version="1.2.3", digest=DIGEST, capabilities=capabilities("files:write:cache"))
    report = check(needs, policy)
    report.require()
    assert (report.ok, report.reason) == (True, "")


def test_report_on_a_plugin_without_a_rule_says_so(policy):
    report = check(Needs(plugin="stranger", capabilities=capabilities("files")), policy)
    assert (report.granted, report.missing) == (frozenset(), capabilities("files"))
    with pytest.raises(PermissionDenied, match="no rule for the plugin 'stranger'"):
        report.require()


def test_difference_between_versions_shows_what_is_wider():
    old = Needs(plugin="p", capabilities=capabilities("files:read:d", "secrets:a"), limits={"memory_bytes": 5})
    new = Needs(
        plugin="p",
        capabilities=capabilities("files:read:d", "files:write:d"),
        limits={"memory_bytes": 6, "call_timeout_s": 1.0},
    )
    change = diff(old, new)
    assert change.added == capabilities("files:write:d")
    assert change.removed == capabilities("secrets:a", "secrets")
    assert change.limits_raised == (LimitChange("memory", 5, 6),)
    assert change.limits_lowered == (LimitChange("call_timeout", 60.0, 1.0),)
    assert change.widened
    assert not diff(new, new).widened
    assert not diff(new, Needs(plugin="p", limits=dict(new.limits))).widened
    assert diff(new, Needs(plugin="p", capabilities=new.capabilities)).limits_raised  # the defaults are higher


@pytest.mark.parametrize(
    ("old", "new", "added", "removed"),
    [
        (None, None, (), ()),
        (None, {"a": "any"}, (), ("datasets",)),
        ({"a": "any"}, None, ("datasets",), ()),
        ({"a": "any"}, {"a": {"x"}}, (), ("datasets:a",)),
        ({"a": {"x"}, "b": "any"}, {"a": {"x", "y"}, "c": {"z"}}, ("datasets:a.y", "datasets:c"), ("datasets:b",)),
    ],
)
def test_versions_are_compared_by_the_datasets_that_they_need(old, new, added, removed):
    change = diff(Needs(plugin="p", datasets=old), Needs(plugin="p", datasets=new))
    assert (change.datasets_added, change.datasets_removed, change.widened) == (added, removed, bool(added))


@pytest.mark.parametrize(
    ("granted", "needed", "missing"),
    [
        ("", {"orders": {"id"}}, ()),
        ("datasets: {orders: [id, amount]}", {"orders": {"id"}}, ()),
        ("datasets: {orders: [id, amount]}", None, ()),
        ("datasets: {orders: [id]}", {"orders": {"id", "amount"}, "people": "any"}, ("orders.amount", "people")),
        ("datasets: {orders: [id]}", {"orders": "any"}, ("orders",)),
    ],
)
def test_datasets_that_are_needed_but_not_granted_are_told(tmp_path, granted, needed, missing):
    (tmp_path / "policy.yaml").write_text(f"version: 1\nplugins:\n  p:\n    grants: {{{granted}}}\n")
    report = check(Needs(plugin="p", datasets=needed), Policy.read(tmp_path / "policy.yaml"))
    assert report.datasets_missing == tuple(f"datasets:{each}" for each in missing)
    assert report.ok is not bool(missing)
    if missing:
        with pytest.raises(PermissionDenied, match=f"not granted: datasets:{missing[0]}"):
            report.require()


def event(used: str, *, plugin="rates", pipeline="nightly", decision="allow") -> AuditEvent:
    return AuditEvent(
        when=datetime(2026, 1, 1, tzinfo=UTC),
        plugin=plugin,
        pipeline=pipeline,
        capability="files",
        function="f",
        object=used,
        decision=decision,
    )


def test_suggestion_is_the_least_policy_for_what_was_used(policy):
    used = [
        event("clock"),
        event("files"),
        event("files:read:cache"),
        event("http:GET:https://api.example.com"),
        event("http:GET:https://api.example.com"),
        event("state"),
        event("secrets:?", decision="deny"),
        event("secrets:root", decision="deny"),
        event("files:write:work", plugin="fresh", pipeline=""),
    ]
    least = suggest(used, base=policy)
    grants = least.grants_for(RATES, "nightly")
    assert grants == Grants(
        clock=True,
        state=True,
        files={"cache": DirectoryGrant(path=Path("/etc/flows/cache"))},
        http={
            "https://api.example.com": HttpGrant(
                methods=frozenset({"GET"}), secrets={"authorization": "Bearer {api-token}"}
            )
        },
    )
    assert least.grants_for(RATES, "other") == Grants()
    assert least.grants_for(Needs(plugin="fresh"), "any").files["work"].writable
    assert "free" not in least.document.plugins
    assert Policy.parse(least.to_yaml()).document == least.document


def test_suggestion_can_learn_from_what_was_denied():
    least = suggest([event("secrets:root", decision="deny"), event("secrets:?", decision="deny")], include_denied=True)
    assert least.grants_for(Needs(plugin="rates"), "nightly") == Grants(secrets=frozenset({"root"}))


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["p", "q"]),
            st.sampled_from(["", "n", "m"]),
            st.sampled_from(
                [
                    *("clock", "random", "files:read:d", "files:write:d", "state"),
                    *("http:GET:http://h", "http:POST:http://h", "secrets:s", "plugins:x", "shared:read:b"),
                ]
            ),
        ),
        max_size=12,
    )
)
def test_suggestion_allows_each_use_again_and_never_more_than_the_things_used(uses):
    least = suggest(event(used, plugin=plugin, pipeline=pipeline) for plugin, pipeline, used in uses)
    for plugin in ("p", "q"):
        for pipeline in ("", "n", "m"):
            mine = [Capability.parse(u) for p, each, u in uses if p == plugin and each in ("", pipeline)]
            report = check(Needs(plugin=plugin, capabilities=frozenset(mine)), least, pipeline=pipeline)
            assert report.ok
            # Reading comes with writing.
            assert {each for each in report.unused if each.action != "read"} == set()
