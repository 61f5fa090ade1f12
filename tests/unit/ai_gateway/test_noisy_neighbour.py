"""Noisy neighbours and fair shares, simulated: the mesh's own limiter, backlog and order of batches
over a store with a made-up pace, on a clock that costs nothing. TARGETS rows 11 and 12.

The pace is 4 ms for a batch and 0.3 ms for each event in it: 2,353 events/s in batches of 32. Ten
victims send 50/s each; the limit of the noisy one is 500/s.
"""

import heapq
import random
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping

import pytest

from ai_gateway.backlog import Backlog
from ai_gateway.batching import BATCH_LEAST, BatchSize
from ai_gateway.intake import READ_MOST
from ai_gateway.partition import Item
from builders import make_context, make_limit
from meshkit.events.log import Record
from meshkit.limits.gcra import RateLimiter

BATCH = 64
SECONDS = 20.0
VICTIMS = [f"victim-{number}" for number in range(10)]
NOISY = "noisy"
LIMIT = make_limit(requests=500, burst=50)


def batch_seconds(count: int) -> float:
    return 0.004 + 0.0003 * count


def arrivals(rates: Mapping[str, float], seed: int = 1) -> Iterator[tuple[float, str]]:
    """Yield when which tenant sends an event: a Poisson process for each."""

    def of(tenant: str, rate: float) -> Iterator[tuple[float, str]]:
        rng = random.Random(f"{seed} {tenant}")
        now = 0.0
        while (now := now + rng.expovariate(rate)) < SECONDS:
            yield now, tenant

    return heapq.merge(*(of(tenant, rate) for tenant, rate in rates.items()))


class Indexing:
    """One partition, its backlog and the store behind it."""

    def __init__(
        self, coming: Iterator[tuple[float, str]], *, limited: bool = False, fifo: bool = False
    ) -> None:
        self._coming = coming
        self._next = next(coming, None)
        self._limiter = RateLimiter(lambda: self._next[0] if self._next else SECONDS)
        self._limited = limited
        self._fifo = fifo
        self._log: list[tuple[float, Record]] = []
        self._head = 0
        self._backlog = Backlog(lambda _: 1)
        self._batch_size = BatchSize()
        self.read_again = 0
        self.latencies: dict[str, list[float]] = defaultdict(list)

    def run(self) -> "Indexing":
        """Index until the time is up."""
        now, prepared = 0.0, list[Item]()
        while now < SECONDS:
            self._arrive(now)
            self._read()
            if prepared and not self._fifo:
                # The indexer sends these beside the batch; a store that does one thing after the
                # other takes them first at the next opportunity.
                now = self._store(now, self._backlog.take(BATCH_LEAST, newcomers_only=True))
            batch = prepared or self._take()
            if not batch:
                if self._next is None:
                    break
                now = self._next[0]
                continue
            prepared = self._take()
            self._batch_size.took(len(batch), batch_seconds(len(batch)))
            now = self._store(now, batch)
        return self

    def _store(self, now: float, batch: list[Item]) -> float:
        """Return when the batch is stored."""
        now += batch_seconds(len(batch)) if batch else 0.0
        for item in batch:
            sent, _ = self._log[item.record.offset]
            self.latencies[item.tenant].append(now - sent)
        self._backlog.finished(batch)
        return now

    def _arrive(self, now: float) -> None:
        while self._next is not None and self._next[0] <= now:
            sent, tenant = self._next
            limited = self._limited and tenant == NOISY
            if not limited or self._limiter.take(make_context(tenant), LIMIT).admitted:
                offset = len(self._log)
                key = f"{tenant}/u{offset}".encode()
                self._log.append((sent, Record("user.events", 0, offset, key, b"", (), 0)))
            self._next = next(self._coming, None)

    def _read(self) -> None:
        if self._fifo:
            return
        while self._head < len(self._log) and not self._backlog.full:
            self._backlog.offer([r for _, r in self._log[self._head : self._head + READ_MOST]])
            self._head = min(len(self._log), self._head + READ_MOST)
        while (place := self._backlog.to_read_again()) is not None:
            start = place[1]
            chunk = [record for _, record in self._log[start : min(start + READ_MOST, self._head)]]
            self._backlog.offer_again(0, start, chunk, start + len(chunk))
            self.read_again += len(chunk)

    def _take(self) -> list[Item]:
        size = self._batch_size.now
        if not self._fifo:
            return self._backlog.take(size)
        # The line as it is in the partition.
        records = [r for _, r in self._log[self._head : self._head + size]]
        self._head += len(records)
        self._backlog.offer(records)
        return self._backlog.take(size)

    def victims_p99(self) -> float:
        """What the slowest hundredth of the victims' events takes at least, in seconds."""
        latencies = sorted(x for name in VICTIMS for x in self.latencies[name])
        return latencies[int(len(latencies) * 0.99)]


def with_noise(rate: float) -> dict[str, float]:
    return dict.fromkeys(VICTIMS, 50.0) | ({NOISY: rate} if rate else {})


@pytest.fixture(scope="module")
def alone() -> float:
    return Indexing(arrivals(with_noise(0))).run().victims_p99()


@pytest.fixture(scope="module")
def first_come_first_served() -> float:
    return Indexing(arrivals(with_noise(5_000)), fifo=True).run().victims_p99()


@pytest.mark.parametrize("overload", [10, 100])
def test_victims_of_a_limited_neighbour_hardly_notice(alone: float, overload: int) -> None:
    noisy = Indexing(arrivals(with_noise(500 * overload)), limited=True).run()
    assert noisy.victims_p99() <= 1.25 * alone
    assert len(noisy.latencies[NOISY]) == pytest.approx(500 * SECONDS, rel=0.02)


@pytest.mark.parametrize("rate", [5_000, 50_000])
def test_neighbour_without_a_limit_costs_victims_a_batch_and_not_its_backlog(
    alone: float, first_come_first_served: float, rate: int
) -> None:
    noisy = Indexing(arrivals(with_noise(rate))).run()
    assert noisy.victims_p99() <= 5 * alone
    assert first_come_first_served >= 100 * noisy.victims_p99()
    # What found no room is read a second time, and hardly ever a third.
    assert noisy.read_again <= 2.5 * len(noisy.latencies[NOISY])


@pytest.mark.parametrize("tenants", [2, 10, 100])
def test_backlogged_tenants_get_the_same_and_the_store_stays_busy(tenants: int) -> None:
    # All of one, then all of the next: as uneven as a partition can be.
    log = [(0.0, f"t{number * tenants // 120_000}") for number in range(120_000)]
    served = Indexing(iter(log)).run().latencies
    line = Indexing(iter(log), fifo=True).run().latencies
    counts = [len(latencies) for latencies in served.values()]
    assert min(counts) / max(counts) >= 0.99
    assert sum(counts) >= 0.97 * sum(len(latencies) for latencies in line.values())


def test_weights_hold_through_the_bounded_backlog() -> None:
    weights = {"a": 1, "b": 2, "c": 5}
    backlog = Backlog(weights.__getitem__, memory_most=8_000_000)
    log = [
        Record("user.events", 0, offset, f"{'abc'[offset % 3]}/u".encode(), b"", (), 0)
        for offset in range(60_000)
    ]
    backlog.offer(log)
    taken: Counter[str] = Counter()
    for _ in range(300):
        items = backlog.take(BATCH)
        taken.update(item.tenant for item in items)
        backlog.finished(items)
        while (place := backlog.to_read_again()) is not None:
            start = place[1]
            chunk = log[start : start + READ_MOST]
            backlog.offer_again(0, start, chunk, start + len(chunk))
    for tenant, weight in weights.items():
        assert taken[tenant] / taken.total() == pytest.approx(weight / 8, rel=0.02)
