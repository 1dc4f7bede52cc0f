"""Do two workers do twice the work of one?"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from bench_call import small_record
from benchkit.results import Contest
from dataflare.runtime.host import Host
from dataflare.runtime.pool import PoolSettings
from dataflare.runtime.processor import Processor

TASKS = 8
REPEAT = 10_000
HASHED_BYTES = 100_000_000
LIMITED_BY = "the cores that other processes leave: compare with the row above, which needs no plugin"


def bench_two_workers(contest: Contest, host: Host, guest: Callable[[str], bytes]) -> None:
    """The same calls from one thread and from two."""
    contest.ask(
        f"{TASKS} calls of a Rust guest that is bound by the processor, from 2 threads against 1",
        sizes=f"a 1 KB record processed {REPEAT:,} times a call, one instance a thread; {os.cpu_count()} cores",
    )
    record = small_record()
    pool = PoolSettings(minimum=2, maximum=2)
    with (
        host.load(guest("bench-records"), name="records", config={"repeat": REPEAT}, pool=pool) as plugin,
        ThreadPoolExecutor(1) as one,
        ThreadPoolExecutor(2) as two,
    ):
        assert isinstance(plugin, Processor)
        plugin.start()

        def work(threads: ThreadPoolExecutor) -> None:
            list(threads.map(plugin.process, [record] * TASKS))

        def hash_natively(threads: ThreadPoolExecutor) -> None:
            list(threads.map(hashlib.sha256, [data] * TASKS))

        data = bytes(HASHED_BYTES)
        contest.run(
            {
                "2 workers": lambda: work(two),
                "1 worker": lambda: work(one),
                "hashing, 2 threads": lambda: hash_natively(two),
                "hashing, 1 thread": lambda: hash_natively(one),
            },
            rounds=11,
            warmups=1,
        )
    contest.speedup("what 2 threads get of this machine: hashing", "hashing, 2 threads", over="hashing, 1 thread")
    contest.speedup("2 workers over 1", "2 workers", over="1 worker", at_least=1.8, limited_by=LIMITED_BY)
