"""A pod that is killed under load: what was acknowledged is found afterwards, once."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest

from cluster import RELEASE, Cluster, MakeTenant
from ledger import Ledger

pytestmark = pytest.mark.timeout(240)

CLIENTS = 6
WORKLOADS = [
    *(
        f"deployment/{RELEASE}-{name}"
        for name in ("user-service", "ai-gateway", "ai-gateway-indexer")
    ),
    *(f"statefulset/{RELEASE}-{name}" for name in ("redpanda", "qdrant")),
]


@asynccontextmanager
async def load(
    users_url: str, gateway_url: str, tenants: list[str], http: aiohttp.ClientSession
) -> AsyncIterator[Ledger]:
    """Clients that write and look for as long as the block lasts; then all has to be true."""
    ledger = Ledger(users_url, gateway_url, http, tenants)
    async with ledger.clients(CLIENTS, random.Random(7), users=50):
        yield ledger
    await ledger.settle(60)


async def more_acknowledged(ledger: Ledger, count: int) -> None:
    """Return once so many more writes were acknowledged."""
    goal = ledger.acknowledged + count
    async with asyncio.timeout(90):
        while ledger.acknowledged < goal:
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("workload", WORKLOADS)
async def test_nothing_acknowledged_is_lost_when_a_pod_is_killed(
    cluster: Cluster,
    make_tenant: MakeTenant,
    http: aiohttp.ClientSession,
    services: tuple[str, str],
    workload: str,
) -> None:
    tenants = [await make_tenant(), await make_tenant()]
    async with load(*services, tenants, http) as ledger:
        await more_acknowledged(ledger, 200)
        await cluster.call(
            "delete", "pods", "-l", cluster.selector(workload), "--force", "--grace-period=0"
        )
        await cluster.call("rollout", "status", workload, "--timeout=120s")
        await more_acknowledged(ledger, 200)
