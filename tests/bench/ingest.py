"""From the log to searchable over a real Kafka and a Qdrant endpoint, against the slowest of its
stages alone, and against one upsert for each event: where the time goes. The targets of TARGETS row
6 are beside peers and the server alone (`bench.peers`).

A stage alone has the machine to itself; from end to end all of them share it, with the broker and
the endpoint: on two cores a part of the ratio is that. Storing alone is given each size of batch
that the indexer could choose, and the best counts.
"""

import asyncio
import sys
import time
from collections.abc import Callable, Sequence

import uvloop

from ai_gateway.applying import Work
from ai_gateway.fairness import WeightOf
from ai_gateway.indexer import Indexer
from ai_gateway.indexing import indexing
from ai_gateway.stores import create_vectorizer
from ai_gateway.vector_store.port import Upsert
from ai_gateway.vector_store.qdrant import QdrantVectorStore
from bench.consume import ours as consume
from bench.engines import Engines, created, lacking, own_log, own_store, publish, running_engines
from bench.harness import Figure, Result, console, ratios, report
from builders import make_context, make_upsert
from meshkit.events.kafka_log import KafkaEventLog

_BATCHES = (64, 128, 256)
_ONE_BY_ONE = 300


def indexer(
    log: KafkaEventLog,
    store: QdrantVectorStore,
    weight_of: WeightOf = lambda _: 1,
    on_stored: Callable[[Sequence[Work]], None] = lambda _: None,
) -> Indexer:
    """The product's indexer."""
    return Indexer(log, store, create_vectorizer(), lambda _: None, weight_of, on_stored=on_stored)


class Stored:
    """When so many events were stored, the first of them and the last: asking the store for its
    number again and again would cost the store a part of what is to be measured."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._done = 0
        self._first: tuple[int, float] | None = None
        self._rate = asyncio.get_running_loop().create_future()

    def __call__(self, work: Sequence[Work]) -> None:
        """Say that these have been stored."""
        now = time.perf_counter()
        self._done += len(work)
        if self._first is None:
            self._first = self._done, now
        elif self._done >= self._count and not self._rate.done():
            done, started = self._first
            self._rate.set_result((self._done - done) / (now - started))

    async def rate(self) -> float:
        """Return the events a second, once all are stored."""
        rate: float = await self._rate
        return rate


async def end_to_end(engines: Engines, count: int, tenants: int = 4) -> float:
    """Return the events a second from a filled log to searchable."""
    names = [f"tenant-{n}" for n in range(tenants)]
    async with own_log(engines) as log, own_store(engines) as store:
        await publish(log, [created(names[n % tenants], n) for n in range(count)])
        stored = Stored(count)
        async with indexing(lambda: indexer(log, store, on_stored=stored)):
            rate = await stored.rate()
        there = sum([await store.count(make_context(name)) for name in names])
        assert there == count, f"{there} of {count} can be found"
        return rate


async def stages(engines: Engines, count: int) -> dict[str, float]:
    """Return the events a second of each stage alone."""
    vectorizer = create_vectorizer()
    texts = [f"Person Number {n} person.{n}@example.com Springfield Engineer" for n in range(count)]
    rates = {}
    started = time.perf_counter()
    for start in range(0, count, 64):
        await vectorizer.documents(texts[start : start + 64])
    rates["embedding"] = count / (time.perf_counter() - started)
    tenant = make_context("tenant-0")
    changes = [
        make_upsert(tenant, f"p{n}", texts[n], city="Springfield", job="Engineer")
        for n in range(count)
    ]
    rates["storing"] = max([await storing(engines, changes, batch) for batch in _BATCHES])
    rates["storing one by one"] = await storing(engines, changes[:_ONE_BY_ONE], 1)
    async with own_log(engines) as log:
        await publish(log, [created(f"tenant-{n % 4}", n) for n in range(count)])
        rates["consuming"] = await consume(log, count)
    return rates


async def storing(engines: Engines, changes: Sequence[Upsert], batch: int) -> float:
    """Return the points a second of storing alone, in batches of a size."""
    async with own_store(engines) as store:
        started = time.perf_counter()
        for start in range(0, len(changes), batch):
            await store.apply(changes[start : start + batch])
        return len(changes) / (time.perf_counter() - started)


async def measure(engines: Engines, rounds: int, count: int) -> list[Result]:
    """Run the rounds and return row 6."""
    whole, slowest, single = [], [], []
    for _ in range(rounds):
        whole.append(await end_to_end(engines, count))
        rates = await stages(engines, count)
        single.append(rates.pop("storing one by one"))
        slowest.append(min(rates.values()))
        console.print(f"end to end {whole[-1]:.0f}/s; {rates}; one by one {single[-1]:.0f}/s")
    against, times = ratios(whole, slowest), ratios(whole, single)
    return [
        Result(
            "6",
            "from the log to searchable, against its slowest stage alone",
            "for comparison",
            str(against),
            True,
            f"{Figure.of(whole).median:.0f} events a second with this endpoint",
        ),
        Result(
            "6",
            "the same against one upsert for each event",
            "for comparison",
            str(times),
            True,
        ),
    ]


def main(*, quick: bool = False) -> None:
    """Measure and report."""
    if lack := lacking():
        console.print(f"ingest is left out: {lack}")
        return
    with running_engines() as engines:
        report(uvloop.run(measure(engines, 1 if quick else 5, 2_000 if quick else 10_000)))


if __name__ == "__main__":
    main(quick="--quick" in sys.argv)
