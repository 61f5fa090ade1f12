"""kill -9 at random points under load: what was acknowledged is found afterwards, once.

The ledger is the client's: every id it sent, and every id it got a 202 for. After fifty kills of
the whole tree or of the engine alone, each acknowledged user has to be there, and nothing that was
never sent.
"""

import asyncio
import random
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest

from mesh_process import MeshProcess, unlimited

KILLS = 50
CLIENTS = 8
TENANT = {"X-Tenant-Id": "tenant-a"}


@dataclass
class Ledger:
    """What the client knows."""

    sent: set[str] = field(default_factory=set)
    acknowledged: set[str] = field(default_factory=set)


async def write_users(
    mesh: MeshProcess, http: aiohttp.ClientSession, ledger: Ledger, rng: random.Random
) -> None:
    """Send users as fast as they are taken, until cancelled; note what became of each."""
    while True:
        user_id = f"u{rng.getrandbits(64):016x}"
        ledger.sent.add(user_id)
        user = {"name": f"Person {user_id}", "email": f"{user_id}@example.com", "userId": user_id}
        try:
            url = f"{mesh.users_url}/users/create"
            async with http.post(url, headers=TENANT, json=user) as answer:
                if answer.status == 202:
                    ledger.acknowledged.add(user_id)
        except aiohttp.ClientError:
            await asyncio.sleep(0.02)


async def searchable(mesh: MeshProcess, http: aiohttp.ClientSession, user_id: str) -> bool:
    url = f"{mesh.gateway_url}/ai/users/{user_id}"
    async with http.get(url, headers=TENANT) as answer:
        assert answer.status in (200, 404), await answer.text()
        return answer.status == 200


async def stored_users(mesh: MeshProcess, http: aiohttp.ClientSession) -> int:
    async with http.get(f"{mesh.gateway_url}/tenants/self", headers=TENANT) as answer:
        quotas = (await answer.json())["quotas"]
    return next(int(quota["used"]) for quota in quotas if quota["name"] == "storedUsers")


async def caught_up(mesh: MeshProcess, http: aiohttp.ClientSession) -> None:
    """Wait until a user written now is searchable: then all that came before it is, too."""
    for number in range(24):
        user = {"name": "Last", "email": "last@example.com", "userId": f"last-{number}"}
        async with http.post(f"{mesh.users_url}/users", headers=TENANT, json=user) as answer:
            assert answer.status == 202, await answer.text()
            position = (await answer.json())["position"]
        query = {"tenant_id": "tenant-a", "query": "last", "after": position}
        async with asyncio.timeout(60):
            while True:
                async with http.get(f"{mesh.gateway_url}/ai/users/search", params=query) as answer:
                    if (await answer.json()).get("upToDate"):
                        break


@pytest.mark.timeout(240)
async def test_every_acknowledged_user_survives_fifty_kills(tmp_path: Path) -> None:
    rng = random.Random(20261124)
    mesh = MeshProcess(tmp_path, unlimited("tenant-a"))
    ledger = Ledger()
    timeout = aiohttp.ClientTimeout(total=10)
    async with aiohttp.ClientSession(timeout=timeout) as http:
        await mesh.start(http)
        clients = [
            asyncio.create_task(write_users(mesh, http, ledger, random.Random(n)))
            for n in range(CLIENTS)
        ]
        try:
            for number in range(KILLS):
                await asyncio.sleep(rng.uniform(0.0, 0.3))
                if number % 2 or not mesh.kill_engine():
                    mesh.kill()
                    await mesh.start(http)
        finally:
            for client in clients:
                client.cancel()
            await asyncio.gather(*clients, return_exceptions=True)
        try:
            await caught_up(mesh, http)
            found = {user_id for user_id in ledger.sent if await searchable(mesh, http, user_id)}
            assert ledger.acknowledged <= found, "acknowledged users are missing"
            assert len(ledger.acknowledged) > KILLS
            # Each stored user is one of those found: none is there twice, none from nowhere.
            assert await stored_users(mesh, http) == len(found) + 24
            for user_id in rng.sample(sorted(ledger.acknowledged), 50):
                query = {"tenant_id": "tenant-a", "query": user_id, "limit": "2"}
                async with http.get(f"{mesh.gateway_url}/ai/users/search", params=query) as answer:
                    results = (await answer.json())["results"]
                assert results[0]["userId"] == user_id
        finally:
            assert mesh.stop() == 0
