"""TARGETS rows 11 and 12 over a real Kafka and a Qdrant endpoint: what a backlog of others costs a
tenant, and how a backlog of many is shared, against the same indexer with all tenants in one line,
in their order.

What a tenant got is counted where the endpoint acknowledges it, batch by batch, and compared with
what is stored in the end. Asking the endpoint tenant by tenant takes a batch's time for each, so
that the last one asked would seem to have got more. The window is long enough that one event more
or less, which is what a turn is, stays well under the hundredth that the target is about.
"""

import asyncio
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from unittest import mock

import uvloop

from ai_gateway import backlog
from ai_gateway.indexing import indexing
from ai_gateway.written import WrittenWaiter
from bench.engines import Engines, created, lacking, own_log, own_store, publish, running_engines
from bench.harness import Figure, Result, console, percentile, ratios, report
from bench.ingest import indexer
from bench.tally import tallied
from builders import make_context
from meshkit.events.log import USER_EVENTS
from meshkit.events.position import Written

VICTIM = make_context("victim")
WEIGHTS = {"tenant-0": 1, "tenant-1": 2, "tenant-2": 5}
# Events of a tenant after which its first turn is made up for.
_SETTLED = 8


@contextmanager
def one_line() -> Iterator[None]:
    """All tenants in one line: first come, first served."""
    with mock.patch.object(backlog, "fair_key", return_value="everybody"):
        yield


async def victim_p99(engines: Engines, noise: int, probes: int) -> float:
    """Return the 99th percentile, in seconds, of a victim's events until they are searchable,
    while `noise` events of another tenant stand before them in the same partition."""
    async with own_log(engines, partitions=1) as log, own_store(engines) as store:
        waiter = WrittenWaiter(store)
        async with indexing(lambda: indexer(log, store)):
            latencies = []
            await publish(log, [created("noisy", n) for n in range(noise)])
            for number in range(probes + 5):
                started = time.perf_counter()
                position = await log.publish(USER_EVENTS, created("victim", number))
                written = Written(f"p{number}", position)
                assert await waiter.wait_for(VICTIM, written, 600)
                latencies.append(time.perf_counter() - started)
                await asyncio.sleep(0.02)
            return percentile(latencies[5:], 0.99)


async def first_in_line(engines: Engines, noise: int) -> float:
    """Return how long a victim waits behind `noise` events, first come first served."""
    with one_line():
        async with own_log(engines, partitions=1) as log, own_store(engines) as store:
            waiter = WrittenWaiter(store)
            await publish(log, [created("noisy", n) for n in range(noise)])
            async with indexing(lambda: indexer(log, store)):
                started = time.perf_counter()
                position = await log.publish(USER_EVENTS, created("victim", 0))
                assert await waiter.wait_for(VICTIM, Written("p0", position), 600)
                return time.perf_counter() - started


async def neighbours(engines: Engines, rounds: int, probes: int, noise: int) -> list[Result]:
    """Return row 11."""
    alone, ten, hundred, line = [], [], [], []
    for _ in range(rounds):
        alone.append(await victim_p99(engines, 0, probes))
        ten.append(await victim_p99(engines, noise, probes))
        hundred.append(await victim_p99(engines, 10 * noise, probes))
        line.append(await first_in_line(engines, 10 * noise))
        console.print(
            f"victim p99 alone {alone[-1] * 1e3:.0f} ms, behind {noise} {ten[-1] * 1e3:.0f} ms,"
            f" behind {10 * noise} {hundred[-1] * 1e3:.0f} ms; in one line {line[-1]:.1f} s"
        )
    worst = ratios([max(pair) for pair in zip(ten, hundred, strict=True)], alone)
    better = ratios(line, hundred)
    return [
        Result(
            "11",
            f"a victim's p99 behind a backlog of {noise:,} and {10 * noise:,} in one partition,"
            " nobody limited, against alone",
            "≤ 1.25",
            str(worst),
            worst.median <= 1.25,
            f"alone {Figure.of(alone).median * 1e3:.0f} ms; behind {10 * noise:,} against behind"
            f" {noise:,} {ratios(hundred, ten)}; with the limit of the noisy one at work 1.22 in"
            " simulation (tests/unit/ai_gateway/test_noisy_neighbour.py)",
        ),
        Result(
            "11",
            "the same against first come, first served, times better",
            "≥ 100",
            str(better),
            better.median >= 100,
            f"in one line {Figure.of(line).median:.1f} s",
        ),
    ]


async def shares(
    engines: Engines, weights: Mapping[str, int], count: int, *, in_line: bool = False
) -> tuple[list[float], float]:
    """Return what backlogged tenants got for their weights, and events a second."""
    each = count // len(weights)
    by_uid = {make_context(name).tenant_uid: weight for name, weight in weights.items()}
    async with own_log(engines) as log, own_store(engines) as store, tallied(store) as tally:
        # One after the other: each tenant's backlog is in one stretch.
        await publish(log, [created(name, n) for name in weights for n in range(each)])
        async with indexing(lambda: indexer(log, store, lambda uid: by_uid.get(uid, 1))):
            # From when all are in and have paid back what a newcomer borrows: until then the log
            # has not been read as far as the last one.
            wanted = 1 if in_line else len(weights)
            started = await tally.until(
                lambda: sum(count >= _SETTLED for count in tally.whole.values()) >= wanted
            )
            tally.restart()
            ended = await tally.until(
                lambda: (
                    tally.got.total() >= count // 2
                    # Who has nothing left waiting is backlogged no more.
                    or (not in_line and max(tally.whole.values()) >= each)
                )
            )
            got = tally.got.copy()
    return [got[name] / weight for name, weight in weights.items()], got.total() / (ended - started)


async def fair_shares(engines: Engines, rounds: int, count: int) -> list[Result]:
    """Return row 12 for tenants of the same weight."""
    results = []
    for tenants in (2, 10, 100):
        weights = {f"tenant-{n}": 1 for n in range(tenants)}
        evenness, fair, line = [], [], []
        for _ in range(rounds):
            got, rate = await shares(engines, weights, count)
            evenness.append(min(got) / max(got))
            fair.append(rate)
            with one_line():
                line.append((await shares(engines, weights, count, in_line=True))[1])
            console.print(
                f"{tenants} tenants: {evenness[-1]:.3f} ({min(got):.0f} to {max(got):.0f} events),"
                f" {rate:.0f}/s, in line {line[-1]:.0f}/s"
            )
        least, against = Figure.of(evenness), ratios(fair, line)
        results.append(
            Result(
                "12",
                f"{tenants} backlogged tenants, least over most of what they got",
                "≥ 0.99; throughput ≥ 0.97 of one line",
                str(least),
                least.median >= 0.99 and against.median >= 0.97,
                f"throughput {against} of first come, first served",
            )
        )
    return results


async def weighted_shares(engines: Engines, rounds: int, count: int) -> list[Result]:
    """Return row 12 for tenants of different weights."""
    errors = []
    for _ in range(rounds):
        got, _ = await shares(engines, WEIGHTS, count)
        mean = sum(g * w for g, w in zip(got, WEIGHTS.values(), strict=True)) / sum(
            WEIGHTS.values()
        )
        errors.append(max(abs(one / mean - 1) for one in got) * 100)
        console.print(f"weights {list(WEIGHTS.values())}: off by {errors[-1]:.2f} %")
    figure = Figure.of(errors)
    return [
        Result(
            "12",
            "backlogged tenants of weights 1, 2 and 5, how far the one farthest off is from its"
            " share, %",
            "≤ 2",
            str(figure),
            figure.median <= 2,
        )
    ]


async def measure(engines: Engines, *, quick: bool) -> list[Result]:
    """Run everything and return the rows."""
    results = await fair_shares(engines, 1 if quick else 3, 6_000 if quick else 40_000)
    results += await weighted_shares(engines, 1 if quick else 3, 6_000 if quick else 40_000)
    rounds = 1 if quick else 5
    return results + await neighbours(
        engines, rounds, 30 if quick else 200, 500 if quick else 3_000
    )


def main(*, quick: bool = False) -> None:
    """Measure and report."""
    if lack := lacking():
        console.print(f"fairness is left out: {lack}")
        return
    with running_engines() as engines:
        report(uvloop.run(measure(engines, quick=quick)))


if __name__ == "__main__":
    main(quick="--quick" in sys.argv)
