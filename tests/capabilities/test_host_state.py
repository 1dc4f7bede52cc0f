from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from dataflare.budgets import HostBudget, serving
from dataflare.capabilities.capability_failure import CapabilityFailure
from dataflare.capabilities.sqlite_state import SqliteStateStore
from dataflare.capabilities.state import ENTRY_BYTES, MemoryStateStore, StateLimits, imports
from dataflare.errors import ConfigError
from dataflare.values import Err, Ok, Variant
from dataflare.wit_types.state import KeyPage

LIMITS = StateLimits(value_bytes=100, namespace_bytes=300 + 5 * ENTRY_BYTES)


@pytest.fixture(params=["memory", "sqlite"])
def store(request, tmp_path):
    made = (
        MemoryStateStore(limits=LIMITS)
        if request.param == "memory"
        else SqliteStateStore(tmp_path / "s", limits=LIMITS)
    )
    yield made
    made.close()


@pytest.fixture
def state(store):
    return imports(store, "pipeline/plugin")


def test_absent_key_has_no_value(state):
    assert state["get"]("a") == Ok(None)


@pytest.mark.parametrize("value", [b"", b"\0\xff", b"x" * 100])
def test_value_comes_back_as_it_was_put(state, value):
    assert state["set"]("a", value) == Ok(None)
    assert state["get"]("a") == Ok(value)


def test_value_takes_the_place_of_the_old_one(state):
    state["set"]("a", b"1")
    state["set"]("a", b"2")
    assert state["get"]("a") == Ok(b"2")


def test_deleting_is_idempotent(state):
    state["set"]("a", b"1")
    assert [state["delete"]("a"), state["delete"]("a")] == [Ok(None), Ok(None)]
    assert state["get"]("a") == Ok(None)


def test_namespaces_know_nothing_of_one_another(store):
    one, two = imports(store, "one"), imports(store, "two")
    one["set"]("a", b"1")
    assert two["get"]("a") == Ok(None)
    assert two["list-keys"]("", None, 0) == Ok(KeyPage([], False))
    two["delete"]("a")
    assert one["get"]("a") == Ok(b"1")


@pytest.mark.parametrize("key", ["", "x" * 1025, "é" * 513])
@pytest.mark.parametrize("call", ["get", "delete", "set", "compare-and-swap"])
def test_key_that_is_empty_or_too_long_is_refused(state, call, key):
    rest = {"set": (b"",), "compare-and-swap": (None, b"")}.get(call, ())
    assert state[call](key, *rest).error.case == "invalid-key"


def test_value_over_the_limit_is_refused(state):
    assert state["set"]("a", b"x" * 101) == Err(Variant("value-too-large", 100))
    assert state["compare-and-swap"]("a", None, b"x" * 101) == Err(Variant("value-too-large", 100))
    assert state["get"]("a") == Ok(None)


def test_quota_counts_keys_and_values_of_the_namespace(state, store):
    for key, length in (("a", 100), ("b", 100), ("y", 0), ("z", 0)):
        assert state["set"](key, b"x" * length) == Ok(None)
    assert state["set"]("c", b"x" * 96) == Err(Variant("quota-exceeded", LIMITS.namespace_bytes))
    assert state["set"]("c", b"x" * 95) == Ok(None)
    assert state["set"]("a", b"y" * 100) == Ok(None)
    assert imports(store, "other")["set"]("c", b"x" * 98) == Ok(None)
    state["delete"]("a")
    assert state["set"]("d", b"x" * 100) == Ok(None)


@pytest.mark.parametrize("keys", [["a", "a\0", "b", "z"], ["z", "é", "\uffff", "\U0001f600"]])
def test_keys_come_in_the_order_of_their_bytes(state, keys):
    for key in (keys[2], keys[0], keys[3], keys[1]):
        state["set"](key, b"")
    assert state["list-keys"]("", None, 0).value.keys == keys


def test_listing_is_cut_into_pages(state):
    for key in "abcde":
        state["set"](key, b"")
    assert state["list-keys"]("", None, 2) == Ok(KeyPage(["a", "b"], True))
    assert state["list-keys"]("", "b", 3) == Ok(KeyPage(["c", "d", "e"], False))
    assert state["list-keys"]("", "bb", 1) == Ok(KeyPage(["c"], True))
    assert state["list-keys"]("", "z", 2**32 - 1) == Ok(KeyPage([], False))


@pytest.mark.parametrize(
    ("prefix", "keys"), [("a/", ["a/1", "a/2"]), ("a", ["a", "a/1", "a/2", "ab"]), ("%", []), ("_", [])]
)
def test_prefix_is_taken_as_it_stands(state, prefix, keys):
    for key in ("a", "a/1", "a/2", "ab", "b"):
        state["set"](key, b"")
    assert state["list-keys"](prefix, None, 0).value.keys == keys


@pytest.mark.parametrize("make", [lambda _: MemoryStateStore(), SqliteStateStore])
def test_page_has_at_most_a_thousand_keys(make, tmp_path):
    store = make(tmp_path / "state")
    for number in range(1001):
        store.set("n", f"{number:04}", b"")
    page = store.list_keys("n", "", None, 5000)
    assert (len(page.keys), page.keys[-1], page.more) == (1000, "0999", True)
    store.close()


@pytest.mark.parametrize(
    ("there", "expected", "replacement", "swapped", "after"),
    [
        (None, None, b"n", True, b"n"),
        (b"o", None, b"n", False, b"o"),
        (b"o", b"o", b"n", True, b"n"),
        (b"o", b"x", b"n", False, b"o"),
        (b"o", b"o", None, True, None),
        (None, b"", b"n", False, None),
        (b"", None, b"n", False, b""),
    ],
)
def test_compare_and_swap_swaps_only_what_is_expected(state, there, expected, replacement, swapped, after):
    if there is not None:
        state["set"]("a", there)
    assert state["compare-and-swap"]("a", expected, replacement) == Ok(swapped)
    assert state["get"]("a") == Ok(after)


def test_threads_that_swap_lose_no_step(store):
    def count() -> None:
        for _ in range(25):
            while True:
                old = store.get("n", "count")
                if store.compare_and_swap("n", "count", old, str(int(old or b"0") + 1).encode()):
                    break

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.get("n", "count") == b"100"


def test_closing_twice_does_nothing(store):
    store.close()
    store.close()


class StoresAgree(RuleBasedStateMachine):
    """Both stores, and a dictionary, are told the same and must say the same."""

    keys = Bundle("keys")

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        sqlite = SqliteStateStore(f"{self.folder.name}/state", limits=LIMITS)
        sqlite._connection.execute("PRAGMA synchronous = OFF")  # it is not the disk that is tried here
        self.stores = [MemoryStateStore(limits=LIMITS), sqlite]
        self.model: dict[str, bytes] = {}

    def teardown(self) -> None:
        for store in self.stores:
            store.close()  # type: ignore[attr-defined]
        self.folder.cleanup()

    @initialize(target=keys)
    def first_key(self):
        return "a"

    @rule(target=keys, key=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=4))
    def make_key(self, key):
        return key

    def both(self, call):
        outcomes = []
        for store in self.stores:
            try:
                outcomes.append(call(store))
            except CapabilityFailure as failure:
                outcomes.append(failure.error)
        assert outcomes[0] == outcomes[1]
        return outcomes[0]

    def fits(self, key, value):
        rest = sum(len(k.encode()) + len(v) + ENTRY_BYTES for k, v in self.model.items() if k != key)
        return rest + len(key.encode()) + len(value) + ENTRY_BYTES <= LIMITS.namespace_bytes

    @rule(key=keys, value=st.binary(max_size=100))
    def put(self, key, value):
        outcome = self.both(lambda store: store.set("n", key, value))
        if self.fits(key, value):
            assert outcome is None
            self.model[key] = value
        else:
            assert outcome.case == "quota-exceeded"

    @rule(key=keys)
    def remove(self, key):
        self.both(lambda store: store.delete("n", key))
        self.model.pop(key, None)

    @rule(key=keys, replacement=st.none() | st.binary(max_size=60), lucky=st.booleans())
    def swap(self, key, replacement, lucky):
        expected = self.model.get(key) if lucky else b"?"
        outcome = self.both(lambda store: store.compare_and_swap("n", key, expected, replacement))
        if expected != self.model.get(key):
            assert outcome is False
        elif replacement is None:
            self.model.pop(key, None)
        elif self.fits(key, replacement):
            assert outcome is True
            self.model[key] = replacement
        else:
            assert outcome.case == "quota-exceeded"

    @rule(prefix=st.sampled_from(["", "a", "b"]), after=st.none() | keys, limit=st.integers(0, 3))
    def listing(self, prefix, after, limit):
        page = self.both(lambda store: store.list_keys("n", prefix, after, limit))
        found = sorted(k for k in self.model if k.startswith(prefix) and (after is None or k > after))
        assert page == KeyPage(found[: limit or 1000], len(found) > (limit or 1000))

    @invariant()
    def values_agree(self):
        for key, value in self.model.items():
            assert self.both(lambda store, key=key: store.get("n", key)) == value


StoresAgree.TestCase.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
TestStoresAgree = StoresAgree.TestCase


def test_values_outlive_the_process_that_put_them(tmp_path):
    path = tmp_path / "state.db"
    program = (
        "import os, sys; from dataflare.capabilities.sqlite_state import SqliteStateStore\n"
        "SqliteStateStore(sys.argv[1]).set('n', 'a', b'kept'); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", program, str(path)], check=False)
    store = SqliteStateStore(path)
    assert store.get("n", "a") == b"kept"
    store.close()


def test_two_stores_on_one_file_see_each_other(tmp_path):
    one, two = SqliteStateStore(tmp_path / "s"), SqliteStateStore(tmp_path / "s")
    one.set("n", "a", b"1")
    assert two.compare_and_swap("n", "a", b"1", b"2")
    assert one.get("n", "a") == b"2"
    one.close()
    two.close()


def test_closed_store_is_unavailable(tmp_path):
    store = SqliteStateStore(tmp_path / "s")
    store.close()
    assert imports(store, "n")["get"]("a").error.case == "unavailable"


def test_locked_file_is_unavailable(tmp_path, monkeypatch):
    monkeypatch.setattr("dataflare.capabilities.sqlite_state._BUSY_TIMEOUT_S", 0.01)
    store = SqliteStateStore(tmp_path / "s")
    other = sqlite3.connect(tmp_path / "s", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert imports(store, "n")["set"]("a", b"1").error.case == "unavailable"
    other.execute("ROLLBACK")
    assert imports(store, "n")["set"]("a", b"1") == Ok(None)
    other.close()
    store.close()


def test_short_keys_count_what_they_take(store):
    state = imports(store, "n")
    outcomes = [state["set"](f"{number}", b"") for number in range(10)]
    assert outcomes == [Ok(None)] * 5 + [Err(Variant("quota-exceeded", LIMITS.namespace_bytes))] * 5


def test_pages_of_many_keys_are_those_that_follow():
    store = MemoryStateStore()
    keys = [f"{number * 7919 % 50_000:05}" for number in range(50_000)]
    for key in keys:
        store.set("n", key, b"")
    for key in keys[::3]:
        store.delete("n", key)
    left = sorted(set(keys) - set(keys[::3]))
    found, after = [], None
    while True:
        page = store.list_keys("n", "", after, 999)
        found += page.keys
        if not page.more:
            break
        after = page.keys[-1]
    assert found == left
    assert store.list_keys("n", "123", None, 0).keys == [key for key in left if key.startswith("123")]


def test_a_plugin_that_lists_does_not_hold_up_others():
    store = MemoryStateStore()
    store.set("one", "a", b"1")
    with store._namespace("one").lock:  # as long as a plugin looks at its own
        store.set("two", "b", b"2")
        assert store.list_keys("two", "", None, 0).keys == ["b"]


def test_locked_file_is_reported_as_that_at_the_start(tmp_path, monkeypatch):
    monkeypatch.setattr("dataflare.capabilities.sqlite_state._BUSY_TIMEOUT_S", 0.01)
    other = sqlite3.connect(tmp_path / "s", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(ConfigError, match="locked by another process") as caught:
        SqliteStateStore(tmp_path / "s")
    assert "try again" in caught.value.hint
    other.close()


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everything")
def test_read_only_file_is_reported_as_that(tmp_path):
    SqliteStateStore(tmp_path / "s").close()
    (tmp_path / "s").chmod(0o400)
    with pytest.raises(ConfigError, match="read-only"):
        SqliteStateStore(tmp_path / "s")


@pytest.mark.parametrize(
    ("code", "case", "text"),
    [
        (sqlite3.SQLITE_FULL, "other", "full"),
        (sqlite3.SQLITE_READONLY | 1 << 8, "other", "read-only"),
        (sqlite3.SQLITE_CORRUPT, "other", "damaged"),
        (sqlite3.SQLITE_BUSY, "unavailable", "locked"),
    ],
)
def test_what_goes_wrong_is_named_and_only_what_passes_is_unavailable(tmp_path, code, case, text):
    store = SqliteStateStore(tmp_path / "s")
    error = sqlite3.OperationalError("text")
    error.sqlite_errorcode = code

    class Failing:
        in_transaction = False

        def execute(self, *_):
            raise error

        def close(self):
            pass

    store._connection.close()
    store._connection = Failing()
    failure = imports(store, "n")["set"]("a", b"1").error
    assert failure.case == case and text in failure.value
    store.close()


def test_full_disk_is_not_unavailable(tmp_path):
    store = SqliteStateStore(tmp_path / "s")
    store._connection.execute("PRAGMA max_page_count = 10")
    outcomes = [imports(store, "n")["set"](f"k{number}", bytes(3000)) for number in range(20)]
    assert outcomes[-1] == Err(Variant("other", "the disk of the state is full"))
    assert imports(store, "n")["get"]("k0") == Ok(bytes(3000))
    store.close()


@pytest.mark.parametrize("replaced", [False, True])
def test_file_that_is_deleted_while_in_use_is_noticed(tmp_path, replaced):
    store = SqliteStateStore(tmp_path / "s")
    state = imports(store, "n")
    state["set"]("a", b"1")
    (tmp_path / "s").unlink()
    if replaced:
        (tmp_path / "s").write_bytes(b"")
    for outcome in (state["get"]("a"), state["set"]("b", b"2")):
        assert outcome.error.case == "other" and "deleted or replaced" in outcome.error.value
    store.close()


def test_nobody_waits_longer_than_the_call_may_take(tmp_path):
    store = SqliteStateStore(tmp_path / "s")
    budget = HostBudget()
    budget.deadline_s = time.monotonic() + 0.1
    began = time.monotonic()
    with ThreadPoolExecutor(1) as elsewhere, serving(budget):
        elsewhere.submit(store._lock.acquire).result()
        assert imports(store, "n")["get"]("a").error.case == "unavailable"
        elsewhere.submit(store._lock.release).result()
    other = sqlite3.connect(tmp_path / "s", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    budget.deadline_s = time.monotonic() + 0.1
    with serving(budget):
        assert imports(store, "n")["set"]("a", b"1").error.case == "unavailable"
    assert time.monotonic() - began < 5
    other.close()
    store.close()


def test_file_of_the_version_before_is_taken_over(tmp_path):
    store = SqliteStateStore(tmp_path / "s", limits=LIMITS)
    store.set("n", "a", b"1")
    store._connection.execute("UPDATE usage SET bytes = 2")
    store._connection.execute("PRAGMA user_version = 1")
    store.close()
    store = SqliteStateStore(tmp_path / "s", limits=LIMITS)
    assert store.get("n", "a") == b"1"
    assert store._connection.execute("SELECT bytes FROM usage").fetchall() == [(2 + ENTRY_BYTES,)]
    store.close()


@pytest.mark.parametrize("path", ["", "a\0b", 5])
def test_what_is_no_path_is_refused(path):
    with pytest.raises(ConfigError, match="path"):
        SqliteStateStore(path)


def test_file_that_is_no_database_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_bytes(b"not a database" * 100)
    with pytest.raises(ConfigError, match=r"notes\.txt"):
        SqliteStateStore(path)
    assert path.read_bytes() == b"not a database" * 100


def test_database_of_something_else_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE t (x)")
    other.close()
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="something else"):
        SqliteStateStore(path)
    assert path.read_bytes() == before


def test_file_in_an_absent_directory_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="state"):
        SqliteStateStore(tmp_path / "absent" / "s")


@pytest.mark.parametrize("limit", [0, 2**32])
def test_limit_out_of_range_is_refused(limit):
    with pytest.raises(ConfigError, match=r"state\.value_bytes"):
        StateLimits(value_bytes=limit)
