"""`tenant-operator` as it is run: one works at a time, killed and restarted, its server too."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from builders import tenant_document
from kube_api import KubeApi
from meshkit.kube.client import KubeClient
from meshkit.tenancy.resources import TENANTS
from operator_rig import (
    OperatorProcess,
    replica,
    tenant,
    until_condition,
)
from waiting import eventually

pytestmark = pytest.mark.timeout(150)

RATE = {"name": "users.write", "windowSeconds": 1}


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def until_status(
    operator: OperatorProcess, http: aiohttp.ClientSession, status: int, seconds: float = 40
) -> None:
    async with asyncio.timeout(seconds):
        while await operator.status(http) != status:
            await asyncio.sleep(0.05)


async def edit(client: KubeClient, requests: int) -> None:
    document = tenant_document("tenant-a", rateLimits=[RATE | {"requests": requests}])
    await client.apply(TENANTS, document, manager="people")


async def test_operator_that_is_killed_goes_on_where_it_was(
    kube_api: KubeApi,
    client: KubeClient,
    namespace: str,
    http: aiohttp.ClientSession,
    tmp_path: Path,
) -> None:
    operator = OperatorProcess(kube_api, namespace, tmp_path, LEADERSHIP_LEASE_SECONDS="3")
    async with replica(client) as source:
        await operator.start(http)
        for requests in (5, 6, 7):
            await edit(client, requests)
            operator.kill()
            operator.spawn()
            await until_condition(client, "tenant-a", "Ready", seconds=40)
            in_force = source.get("tenant-a")
            assert in_force is not None
            assert in_force.rate_limit("users.write").requests == requests
    assert operator.stop() == 0
    assert "Traceback" not in operator.log.read_text()


async def test_second_operator_waits_and_takes_over(
    kube_api: KubeApi,
    client: KubeClient,
    namespace: str,
    http: aiohttp.ClientSession,
    tmp_path: Path,
) -> None:
    first = OperatorProcess(kube_api, namespace, tmp_path, LEADERSHIP_LEASE_SECONDS="3")
    second = OperatorProcess(kube_api, namespace, tmp_path, LEADERSHIP_LEASE_SECONDS="3")
    async with replica(client):
        await first.start(http)
        second.spawn()
        await until_status(second, http, 503)
        async with http.get(f"{second.admin_url}/readyz") as answer:
            assert (
                "is at work; this operator waits" in (await answer.json())["checks"]["leadership"]
            )
        assert await second.status(http, "livez") == 200
        await edit(client, 5)
        await until_condition(client, "tenant-a", "Ready")
        # In good order the next one begins at once, killed after its lease has ended.
        assert first.stop() == 0
        await until_status(second, http, 200)
        first.spawn()
        await until_status(first, http, 503)
        second.kill()
        await until_status(first, http, 200)
        await edit(client, 6)
        await until_condition(client, "tenant-a", "Ready")
    assert first.stop() == 0


async def test_server_that_restarts_costs_nothing_but_time(
    own_api: KubeApi, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    operator = OperatorProcess(own_api, "default", tmp_path, LEADERSHIP_LEASE_SECONDS="30")
    async with KubeClient(own_api.connection()) as client, replica(client):
        await operator.start(http)
        await edit(client, 5)
        await until_condition(client, "tenant-a", "Ready")
        own_api.server.kill()
        await asyncio.to_thread(own_api.start)
        await edit(client, 6)
        found = await until_condition(client, "tenant-a", "Ready", seconds=60)
        assert (await tenant(client, "tenant-a"))["status"]["policyRevision"] == found["status"][
            "policyRevision"
        ]
        assert operator.running
    assert operator.stop() == 0


async def test_operator_without_a_cluster_says_so(tmp_path: Path, kube_api: KubeApi) -> None:
    operator = OperatorProcess(kube_api, "default", tmp_path)
    operator.environment["KUBECONFIG"] = str(tmp_path / "nowhere")
    operator.spawn()
    await eventually(lambda: not operator.running, 30)
    assert operator.stop() == 2
    assert "error: there is no cluster to talk to" in operator.log.read_text()
