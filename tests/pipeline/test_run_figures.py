"""What a report says of the time of batches, of queues, and of the course of a run."""

from __future__ import annotations

import math
import random
import threading
import time

import pytest

from dataflare.pipeline.channel import Channel, Stopped
from dataflare.pipeline.latencies import Latencies
from dataflare.pipeline.runner import run
from dataflare.pipeline.timeline import Timeline
from pipeline_fakes import FakeHost, FakeTransformer


@pytest.mark.parametrize("spread", [0.1, 1.0, 4.0])
def test_percentiles_are_those_of_all_values_to_within_their_promise(spread: float) -> None:
    values = [10 ** random.Random(1).gauss(-3, 1)] + [10 ** random.Random(n).gauss(-3, spread) for n in range(2000)]
    latencies = Latencies()
    for value in values:
        latencies.add(value)
    ordered = sorted(max(value, 1e-7) for value in values)
    for share in (0.01, 0.5, 0.9, 0.99, 1.0):
        exact = ordered[math.ceil(share * len(ordered)) - 1]
        assert latencies.percentile(share) == pytest.approx(exact, rel=0.0221, abs=1e-8)
    assert (latencies.count, latencies.least_s, latencies.most_s) == (len(values), min(values), max(values))
    assert latencies.total_s == pytest.approx(sum(values))


def test_latencies_of_nothing_are_zero() -> None:
    assert Latencies().to_json() == {"batches": 0, "p50": 0.0, "p90": 0.0, "p99": 0.0, "max": 0.0}
    zero = Latencies()
    zero.add(0.0)
    assert zero.percentile(0.5) == zero.most_s == 0.0


def test_timeline_keeps_sixty_moments_of_any_run_the_first_and_the_last_among_them() -> None:
    timeline = Timeline()
    for second in range(100_000):
        timeline.add(float(second), {"a": second}, {"b": 1})
    timeline.add(100_000.0, {"a": 7}, {"b": 0}, last=True)
    kept = timeline.to_json()
    assert 30 <= len(kept["seconds"]) <= 60
    assert (kept["seconds"][0], kept["seconds"][-1]) == (0.0, 100_000.0)
    assert kept["rows"]["a"][0] == 0 and kept["rows"]["a"][-1] == 7
    assert len(kept["rows"]["a"]) == len(kept["queued"]["b"]) == len(kept["seconds"])
    steps = [b - a for a, b in zip(kept["seconds"], kept["seconds"][1:-1], strict=False)]
    assert max(steps) <= 2 * min(steps[:-1])


def test_timeline_of_a_short_run_has_its_end() -> None:
    timeline = Timeline()
    timeline.add(0.0, {"a": 0}, {})
    timeline.add(0.01, {"a": 1}, {})
    timeline.add(0.02, {"a": 2}, {}, last=True)
    assert timeline.to_json() == {"seconds": [0.0, 0.02], "rows": {"a": [0, 2]}, "queued": {}}


def test_channel_counts_what_waited_and_who_waited() -> None:
    channel: Channel[int] = Channel(2)
    for number in range(2):
        channel.put(number)
    taker = threading.Timer(0.2, channel.get)
    taker.start()
    channel.put(2)  # waits for room
    taker.join()
    assert (channel.most, channel.taken, channel.found, len(channel)) == (2, 1, 2, 2)
    assert 0 < channel.full_s < 5 and channel.empty_s == 0
    channel.get()
    channel.get()
    giver = threading.Timer(0.2, channel.put, (3,))
    giver.start()
    assert channel.get() == 3
    giver.join()
    assert channel.found == 2 + 2 + 1 + 0 and 0 < channel.empty_s < 5
    channel.stop()
    with pytest.raises(Stopped):
        channel.get()


def test_slow_node_has_a_full_queue_and_the_nodes_before_it_wait(tmp_path) -> None:
    (tmp_path / "in.csv").write_text("n\n" + "".join(f"{n}\n" for n in range(4000)))

    def slow(rows):
        time.sleep(0.03)
        return rows

    (tmp_path / "slow.wasm").touch()
    nodes = {
        "read": {"connector": "csv", "read": str(tmp_path / "in.csv")},
        "slow": {"plugin": str(tmp_path / "slow.wasm"), "input": "read", "workers": 1},
        "write": {"connector": "csv", "input": "slow", "write": str(tmp_path / "out.csv")},
    }
    report = run({"name": "p", "nodes": nodes}, host=FakeHost(slow=FakeTransformer(slow)))
    by_name = {node.name: node for node in report.nodes}
    document = report.to_json()
    assert by_name["read"].queue is None
    assert by_name["slow"].latencies.count == by_name["slow"].batches
    assert by_name["slow"].latencies.least_s >= 0.03
    assert by_name["write"].input_wait_seconds >= 0.02
    assert document["timeline"]["rows"]["write"][-1] == report.rows_out == 4000
    assert set(document["timeline"]["queued"]) == {"slow", "write"}
    assert document["nodes"][1]["latency"]["p50"] == pytest.approx(by_name["slow"].latencies.percentile(0.5), abs=1e-6)
