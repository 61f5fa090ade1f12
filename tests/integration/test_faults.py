"""Every part killed in any order under load: nothing acknowledged is lost, nothing goes back.

The ledger is the clients' own: see `ledger`. `make bench` does the same for longer.
"""

import asyncio
import random
from pathlib import Path

import aiohttp
import pytest

from engine_mesh import kill_at_random, under_load
from foreign_producer import ForeignProducer
from waiting import eventually

KILLS = 60


@pytest.mark.timeout(480)
async def test_every_part_killed_in_any_order_loses_and_turns_nothing(tmp_path: Path) -> None:
    rng = random.Random(20261124)
    async with under_load(tmp_path, rng) as (mesh, ledger):
        await kill_at_random(mesh, ledger, rng, KILLS)
    assert ledger.acknowledged > 10 * KILLS
    print(f"{KILLS} kills, {ledger.acknowledged} acknowledged, {ledger.reads} reads")  # noqa: T201


@pytest.mark.timeout(480)
async def test_kills_beside_another_producer_while_partitions_are_added(tmp_path: Path) -> None:
    """A user's events lie in several partitions, and their number changes in the middle."""
    rng = random.Random(20261129)
    async with (
        under_load(tmp_path, rng, foreign=True) as (mesh, ledger),
        aiohttp.ClientSession() as http,
    ):
        for number in range(6):
            await kill_at_random(mesh, ledger, rng, KILLS // 12)
            if number == 2:
                await ForeignProducer(mesh.broker.bootstrap_servers).add_partitions(18)
            # Both write the same users, in turn: that needs some time in which all parts are there.
            await mesh.ready(http)
            calm = ledger.acknowledged + 300
            await eventually(lambda calm=calm: ledger.acknowledged > calm, 30)  # type: ignore[misc]
    assert ledger.by_foreign > KILLS
    assert ledger.acknowledged - ledger.by_foreign > KILLS
    print(f"{ledger.acknowledged} acknowledged, {ledger.by_foreign} by the other one")  # noqa: T201


@pytest.mark.timeout(480)
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


@pytest.mark.timeout(480)
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
