"""Every part killed in any order under load: nothing acknowledged is lost, nothing goes back.

The ledger is the clients' own: see `ledger`. `make bench` does the same for longer.
"""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from engine_mesh import EngineMesh, kill_at_random
from kafka_broker import missing
from ledger import TENANTS, Ledger

KILLS = 60
CLIENTS = 12


@asynccontextmanager
async def under_load(folder: Path, rng: random.Random) -> AsyncIterator[tuple[EngineMesh, Ledger]]:
    """A mesh that is written to and read from; at the end the ledger has to be right."""
    if lack := missing():
        pytest.skip(f"a broker of our own is needed, and {lack}")
    mesh = EngineMesh(folder)
    timeout = aiohttp.ClientTimeout(total=15)
    async with aiohttp.ClientSession(timeout=timeout) as http:
        try:
            await mesh.start(http)
            ledger = Ledger(mesh.users_url, mesh.gateway_url, http)
            tasks = [
                asyncio.create_task(ledger.write(n, TENANTS[n % 3], random.Random(rng.random())))
                for n in range(CLIENTS)
            ]
            tasks.append(asyncio.create_task(ledger.watch(random.Random(rng.random()))))
            try:
                yield mesh, ledger
            finally:
                for task in tasks:
                    task.cancel()
                ended = await asyncio.gather(*tasks, return_exceptions=True)
            for one in ended:
                if isinstance(one, AssertionError):
                    raise one
            await mesh.ready(http)
            await ledger.settle(60)
            assert await mesh.dead_letters() == []
            await mesh.stop()
        finally:
            mesh.abandon()


@pytest.mark.timeout(300)
async def test_every_part_killed_in_any_order_loses_and_turns_nothing(tmp_path: Path) -> None:
    rng = random.Random(20261124)
    async with under_load(tmp_path, rng) as (mesh, ledger):
        await kill_at_random(mesh, ledger, rng, KILLS)
    assert ledger.acknowledged > 10 * KILLS
    print(f"{KILLS} kills, {ledger.acknowledged} acknowledged, {ledger.reads} reads")  # noqa: T201


@pytest.mark.timeout(120)
async def test_indexers_leave_and_join_under_load(tmp_path: Path) -> None:
    rng = random.Random(7)
    async with under_load(tmp_path, rng) as (mesh, ledger):
        for number in range(6):
            leaving = mesh.services[f"indexer-{number % 2}"]
            await asyncio.sleep(1)
            assert await asyncio.to_thread(leaving.stop) == 0
            await asyncio.sleep(rng.uniform(0, 1))
            leaving.spawn()
    assert ledger.acknowledged > 100


@pytest.mark.timeout(120)
async def test_store_away_for_seconds_stops_nobody_from_writing(tmp_path: Path) -> None:
    rng = random.Random(3)
    async with under_load(tmp_path, rng) as (mesh, ledger):
        await asyncio.sleep(1)
        mesh.store.kill()
        acknowledged, refused = ledger.acknowledged, ledger.refused
        await asyncio.sleep(4)
        assert ledger.acknowledged > acknowledged + 100
        assert ledger.refused == refused
        mesh.store.spawn()
