"""The count of TARGETS: acknowledged events lost over a million events and 200 kills of every part.

As `tests/integration/test_faults.py`, longer and under more load: clients write batches, the parts
(user-service, ai-gateway, two indexers, the broker, the Qdrant server) are killed at random, and at
the end every user has to be what it was promised to be. Another team's producer, with its own keys
and partitioner, writes a part of it, and partitions are added in the middle.
"""

import asyncio
import random
import sys
import tempfile
from pathlib import Path

import aiohttp

from bench.engines import lacking
from bench.harness import Result, console, report
from engine_mesh import EngineMesh, kill_at_random
from foreign_producer import ForeignProducer
from ledger import TENANTS, Ledger

CLIENTS = 6


async def measure(kills: int, events: int) -> list[Result]:
    """Kill, and go on writing until there are enough events; return the row."""
    rng = random.Random(20261124)
    with tempfile.TemporaryDirectory() as folder:
        mesh = EngineMesh(Path(folder))
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as http:
            try:
                await mesh.start(http)
                foreign = ForeignProducer(mesh.broker.bootstrap_servers)
                ledger = Ledger(mesh.users_url, mesh.gateway_url, http, foreign=foreign)
                tasks = [
                    asyncio.create_task(
                        ledger.write_batches(n, TENANTS[n % 3], random.Random(rng.random()))
                    )
                    for n in range(CLIENTS)
                ]
                watcher = asyncio.create_task(ledger.watch(random.Random(rng.random())))
                done = 0
                while done < kills or ledger.acknowledged < events:
                    if done == kills // 20 * 10:
                        await foreign.add_partitions(18)
                    if done < kills:
                        await kill_at_random(mesh, ledger, rng, 10)
                        done += 10
                    else:
                        await asyncio.sleep(2)
                    console.print(f"{done} kills, {ledger.acknowledged:,} acknowledged")
                    ended = [task for task in (*tasks, watcher) if task.done()]
                    for task in ended:
                        task.result()
                for task in (*tasks, watcher):
                    task.cancel()
                await asyncio.gather(*tasks, watcher, return_exceptions=True)
                await mesh.ready(http)
                await ledger.settle(900)
                letters = await mesh.dead_letters()
                await mesh.stop()
            finally:
                mesh.abandon()
    return [
        Result(
            "counts",
            "acknowledged events lost or turned back, duplicates, dead letters, under kills (-9) of"
            " every part",
            "0",
            str(len(letters)),
            not letters,
            f"{ledger.acknowledged:,} events and {done} kills;"
            f" {ledger.by_foreign:,} of them by another producer;"
            f" {len(ledger.lines):,} users, {ledger.reads:,} reads meanwhile,"
            f" {ledger.refused:,} writes refused or without an answer",
        )
    ]


def main(*, quick: bool = False) -> None:
    """Measure and report."""
    if lack := lacking():
        console.print(f"kills is left out: {lack}")
        return
    report(asyncio.run(measure(20 if quick else 200, 20_000 if quick else 1_000_000)))


if __name__ == "__main__":
    main(quick="--quick" in sys.argv)
