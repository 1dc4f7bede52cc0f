from __future__ import annotations

import threading
import time
from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflare.errors import ConfigError, UsageError
from dataflare.runtime.pool import InstancePool, PoolExhausted, PoolSettings


class Made:
    """Makes numbered instances, and keeps what became of them."""

    def __init__(self, **settings: Any) -> None:
        self.numbers = count()
        self.alive: set[int] = set()
        self.ended: list[int] = []
        self.dead: set[int] = set()
        self.now_s = 0.0
        self.fail = False
        self.pool = InstancePool(
            self.make,
            self.end,
            lambda instance: instance not in self.dead,
            settings=PoolSettings(**settings),
            owner="p",
            monotonic_s=lambda: self.now_s,
        )

    def make(self) -> int:
        if self.fail:
            raise RuntimeError("cannot be made")
        instance = next(self.numbers)
        self.alive.add(instance)
        return instance

    def end(self, instance: int) -> None:
        self.alive.remove(instance)
        self.ended.append(instance)

    def use(self, *, batch: bool = False) -> int:
        with self.pool.lease(batch=batch) as instance:
            return instance


def test_instance_is_reused():
    made = Made()
    assert [made.use(), made.use(batch=True), made.use()] == [0, 0, 0]


def test_instance_that_is_not_usable_is_replaced():
    made = Made()
    with made.pool.lease() as instance:
        made.dead.add(instance)
    assert made.ended == [0]
    assert made.use() == 1


def test_fresh_per_call_uses_each_instance_once():
    made = Made(policy="fresh-per-call")
    assert [made.use(), made.use(batch=True), made.use()] == [0, 1, 2]
    assert made.ended == [0, 1, 2]


def test_fresh_per_batch_uses_an_instance_for_one_batch():
    made = Made(policy="fresh-per-batch")
    assert [made.use(), made.use(), made.use(batch=True), made.use()] == [0, 0, 0, 1]
    assert made.ended == [0]


def test_instances_are_made_up_to_the_maximum():
    made = Made(maximum=2, acquire_timeout_s=0.0)
    with made.pool.lease() as first:
        seen: list[int] = []
        thread = threading.Thread(target=lambda: seen.append(made.use()))
        thread.start()
        thread.join()
        assert seen != [first]
    assert made.pool.size == 2


def test_exhausted_pool_says_how_many_instances_there_are():
    made = Made(maximum=1, acquire_timeout_s=0.01)
    caught: list[PoolExhausted] = []

    def use() -> None:
        try:
            made.use()
        except PoolExhausted as error:
            caught.append(error)

    with made.pool.lease():
        thread = threading.Thread(target=use)
        thread.start()
        thread.join()
    assert "all 1 instances of plugin 'p' were in use for 0.01 s" in caught[0].message
    assert made.use() == 0


def test_call_from_within_the_plugins_own_call_fails_at_once():
    made = Made(maximum=1, acquire_timeout_s=600.0)
    with made.pool.lease(), pytest.raises(PoolExhausted, match="from within its own call"):
        made.use()


def test_waiting_call_gets_the_instance_that_is_returned():
    made = Made(maximum=1)
    seen: list[int] = []
    with made.pool.lease():
        thread = threading.Thread(target=lambda: seen.append(made.use()))
        thread.start()
        assert thread.is_alive()
    thread.join(10)
    assert seen == [0]


def test_waiting_call_makes_its_own_where_the_instance_died():
    made = Made(maximum=1)
    seen: list[int] = []
    with made.pool.lease() as instance:
        thread = threading.Thread(target=lambda: seen.append(made.use()))
        thread.start()
        made.dead.add(instance)
    thread.join(10)
    assert seen == [1]


def test_instance_that_cannot_be_made_takes_no_place():
    made = Made(maximum=1)
    made.fail = True
    for _ in range(3):
        with pytest.raises(RuntimeError):
            made.use()
    made.fail = False
    assert made.use() == 0


def test_idle_instances_over_the_minimum_are_ended_after_their_time():
    made = Made(minimum=1, maximum=3, idle_timeout_s=10.0)
    made.pool.warm(3)
    made.now_s = 9.0
    made.pool.trim()
    assert made.pool.size == 3
    made.now_s = 10.0
    made.pool.trim()
    assert made.alive == {2}


def test_instance_in_regular_use_is_not_idle():
    made = Made(idle_timeout_s=10.0)
    for made.now_s in (0.0, 9.0, 18.0, 27.0):
        assert made.use() == 0
    made.now_s = 40.0
    assert made.use() == 1


def test_no_idle_timeout_keeps_instances():
    made = Made(idle_timeout_s=None)
    made.use()
    made.now_s = 1e9
    assert made.use() == 0


def test_warm_stops_at_the_maximum():
    made = Made(maximum=2)
    made.pool.warm(5)
    assert made.alive == {0, 1}


def test_close_ends_idle_instances_and_refuses_further_calls():
    made = Made()
    made.pool.warm(2)
    made.pool.close()
    made.pool.close()
    assert sorted(made.ended) == [0, 1]
    with pytest.raises(UsageError, match="plugin 'p' is closed"):
        made.use()
    with pytest.raises(UsageError, match="plugin 'p' is closed"):
        made.pool.warm(1)


def test_close_wakes_those_who_wait():
    made = Made(maximum=1, acquire_timeout_s=600.0)
    caught: list[UsageError] = []

    def use() -> None:
        try:
            made.use()
        except UsageError as error:
            caught.append(error)

    with made.pool.lease():
        thread = threading.Thread(target=use)
        thread.start()
        made.pool.close()
        thread.join(10)
        assert len(caught) == 1
        assert made.ended == []
    assert made.ended == [0]


def test_close_waits_for_calls_of_other_threads():
    made = Made()
    entered, go_on = threading.Event(), threading.Event()

    def use() -> None:
        with made.pool.lease():
            entered.set()
            go_on.wait(10)

    thread = threading.Thread(target=use)
    thread.start()
    assert entered.wait(10)
    threading.Timer(0.05, go_on.set).start()
    made.pool.close(wait_s=10.0)
    assert made.ended == [0]
    thread.join(10)


def test_close_does_not_wait_for_the_call_that_it_is_made_from():
    made = Made()
    start = time.monotonic()
    with made.pool.lease():
        made.pool.close(wait_s=30.0)
    assert time.monotonic() - start < 10
    assert made.ended == [0]


def test_no_instance_has_two_users_at_a_time():
    made = Made(maximum=3)
    in_use: set[int] = set()
    clashes: list[int] = []
    lock = threading.Lock()

    def work() -> None:
        for i in range(200):
            with made.pool.lease() as instance:
                with lock:
                    if instance in in_use:
                        clashes.append(instance)
                    in_use.add(instance)
                if i % 17 == 0:
                    made.dead.add(instance)
                with lock:
                    in_use.discard(instance)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert clashes == []
    assert made.pool.size == len(made.alive) <= 3
    made.pool.close()
    assert made.alive == set()


@given(
    st.integers(1, 3).flatmap(lambda maximum: st.tuples(st.just(maximum), st.integers(0, maximum))),
    st.sampled_from(["reuse", "fresh-per-batch", "fresh-per-call"]),
    st.lists(
        st.one_of(
            st.tuples(st.just("use"), st.booleans(), st.booleans()),
            st.tuples(st.just("pass"), st.floats(0, 20)),
            st.just(("warm",)),
        ),
        max_size=30,
    ),
)
def test_size_is_what_lives_and_stays_within_bounds(bounds, policy, steps):
    maximum, minimum = bounds
    made = Made(minimum=minimum, maximum=maximum, policy=policy, idle_timeout_s=10.0)
    for step in steps:
        match step:
            case ("use", batch, dies):
                with made.pool.lease(batch=batch) as instance:
                    if dies:
                        made.dead.add(instance)
            case ("pass", seconds):
                made.now_s += seconds
                made.pool.trim()
            case _:
                made.pool.warm(minimum)
                assert made.pool.size >= minimum
        assert made.pool.size == len(made.alive) <= maximum
        assert not made.alive & made.dead
    made.pool.close()
    assert made.alive == set()
    assert len(made.ended) == len(set(made.ended))


@pytest.mark.parametrize(
    ("settings", "where"),
    [
        ({"maximum": 0}, "pool.maximum"),
        ({"maximum": 1001}, "pool.maximum"),
        ({"minimum": 5}, "pool.minimum"),
        ({"minimum": -1}, "pool.minimum"),
        ({"idle_timeout_s": -1.0}, "pool.idle_timeout_s"),
        ({"idle_timeout_s": float("nan")}, "pool.idle_timeout_s"),
        ({"acquire_timeout_s": -1.0}, "pool.acquire_timeout_s"),
        ({"policy": "sometimes"}, "pool.policy"),
    ],
)
def test_settings_out_of_range_are_refused(settings, where):
    with pytest.raises(ConfigError) as caught:
        PoolSettings(**settings)
    assert caught.value.where == where
