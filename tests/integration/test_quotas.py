"""Quotas over real processes: three user-services on one Kafka, killed while they serve."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from uuid import uuid4

import aiohttp
import pytest

from builders import tenant_document
from kube_api import KubeApi
from mesh_process import MeshProcess, healthy, write_tenant
from meshkit.events.kafka_config import KafkaConnection
from meshkit.events.kafka_log import KafkaEventLog
from meshkit.events.kafka_topics import ensure_topics
from meshkit.events.log import USER_EVENTS
from meshkit.events.scanning import read_all
from meshkit.kube.client import KubeClient
from meshkit.tenancy.resources import TENANTS
from operator_rig import OperatorProcess, until_condition
from processes import Process, clean_environment, free_ports, installed
from tenant_operator.cluster import EVENTS

pytestmark = pytest.mark.timeout(180)

LIMIT = 1000
KILLS = 6
# What a killed replica can have held: a hundredth of the limit, or what its requests were asking
# for; and an event that was taken from the budget and never acknowledged.
CLIENTS = 4
LOST_AT_A_KILL = LIMIT // 100 + 2 * CLIENTS
# A replica gives back what it does not need within about a second; then the rest may pass.
PATIENCE_SECONDS = 6.0
ALICE = {"name": "Alice Doe", "email": "alice@example.com"}
HEADERS = {"X-Tenant-Id": "tenant-a"}


def tenant(**quotas: int) -> dict[str, object]:
    """The document of a tenant that nothing but these quotas holds back."""
    return tenant_document(
        "tenant-a",
        rateLimits=[{"name": "users.write", "unlimited": True}],
        quotas=[{"name": name, "limit": limit} for name, limit in quotas.items()],
    )


class UserService(Process):
    """One user-service over the session's Kafka."""

    def __init__(self, number: int, folder: Path, kafka: KafkaConnection) -> None:
        port, admin = free_ports(2)
        self.url = f"http://127.0.0.1:{port}"
        self.admin_url = f"http://127.0.0.1:{admin}"
        environment = clean_environment(
            DATA_DIR=str(folder / f"data-{number}"),
            TENANTS=str(folder / "tenants"),
            KAFKA_BOOTSTRAP_SERVERS=kafka.bootstrap_servers,
            KAFKA_PREFIX=kafka.prefix,
            USER_SERVICE_PORT=str(port),
            ADMIN_PORT=str(admin),
            POSITION_KEY="A" * 43 + "=",
            LOG_FORMAT="json",
        )
        super().__init__([installed("user-service")], environment, folder / f"log-{number}")

    async def ready(self, http: aiohttp.ClientSession) -> None:
        """Return once it is ready, as an orchestrator would ask it."""
        async with asyncio.timeout(30):
            while True:
                with suppress(aiohttp.ClientError):
                    async with http.get(f"{self.admin_url}/readyz") as answer:
                        if answer.status == 200:
                            return
                assert self.running, self.log.read_text()[-2000:]
                await asyncio.sleep(0.05)


@asynccontextmanager
async def three_services(
    folder: Path, servers: str, http: aiohttp.ClientSession
) -> AsyncIterator[tuple[Sequence[UserService], KafkaConnection]]:
    """Three replicas over topics of their own, for as long as the block lasts."""
    kafka = KafkaConnection(servers, prefix=f"{uuid4().hex}.")
    await ensure_topics(kafka)
    services = [UserService(number, folder, kafka) for number in range(3)]
    try:
        for service in services:
            service.spawn()
        await asyncio.gather(*(service.ready(http) for service in services))
        yield services, kafka
    finally:
        for service in services:
            service.kill()


async def events_in(kafka: KafkaConnection) -> int:
    """How many events there are."""
    log = KafkaEventLog(kafka)
    try:
        starts = {number: first for number, (first, _) in (await log.ends(USER_EVENTS)).items()}
        return len([record async for record in read_all(log, USER_EVENTS, starts)])
    finally:
        await log.close()


async def test_day_budget_holds_over_three_replicas_that_are_killed(
    tmp_path: Path, kafka_servers: str
) -> None:
    write_tenant(tmp_path / "tenants", tenant(eventsPerDay=LIMIT))
    rng = random.Random(6)
    accepted, refused_at = 0, 0.0
    refusals: list[dict[str, object]] = []
    loop = asyncio.get_running_loop()
    async with (
        aiohttp.ClientSession() as http,
        three_services(tmp_path, kafka_servers, http) as (services, kafka),
    ):

        async def write() -> None:
            nonlocal accepted, refused_at
            while not refused_at or loop.time() - refused_at < PATIENCE_SECONDS:
                url = f"{rng.choice(services).url}/users/create"
                with suppress(aiohttp.ClientError):
                    async with http.post(url, headers=HEADERS, json=ALICE) as answer:
                        if answer.status == 202:
                            accepted += 1
                            refused_at = 0.0
                        elif answer.status == 403:
                            refusals.append(await answer.json())
                            refused_at = refused_at or loop.time()
                            await asyncio.sleep(0.05)
                        else:
                            assert answer.status == 503, await answer.text()
                            await asyncio.sleep(0.05)

        writers = [asyncio.create_task(write()) for _ in range(CLIENTS)]
        for number in range(KILLS):
            async with asyncio.timeout(60):
                while accepted < (number + 1) * LIMIT // (KILLS + 2):
                    await asyncio.sleep(0.005)
            killed = services[number % 3]
            killed.kill()
            killed.spawn()
        await asyncio.gather(*(service.ready(http) for service in services))
        await asyncio.gather(*writers)
        assert accepted <= LIMIT
        assert accepted >= LIMIT - KILLS * LOST_AT_A_KILL
        # An event may be in the log whose acknowledgement died with the replica; never too many.
        assert accepted <= await events_in(kafka) <= LIMIT
        quota = refusals[-1]["quota"]
        assert isinstance(quota, dict)
        assert (quota["name"], quota["limit"], quota["used"]) == ("eventsPerDay", LIMIT, LIMIT)
        assert str(quota["resetAt"]).endswith("T00:00:00Z")


async def test_day_budget_is_exact_where_nobody_is_killed(
    tmp_path: Path, kafka_servers: str
) -> None:
    write_tenant(tmp_path / "tenants", tenant(eventsPerDay=300))
    async with (
        aiohttp.ClientSession() as http,
        three_services(tmp_path, kafka_servers, http) as (services, kafka),
    ):

        async def write(service: UserService) -> int:
            accepted, patience = 0, 60
            while patience:
                async with http.post(
                    f"{service.url}/users/create", headers=HEADERS, json=ALICE
                ) as answer:
                    if answer.status == 202:
                        accepted += 1
                        continue
                    assert answer.status == 403
                patience -= 1
                await asyncio.sleep(0.1)
            return accepted

        counts = await asyncio.gather(*(write(service) for service in services for _ in range(3)))
        assert sum(counts) == 300
        assert await events_in(kafka) == 300


async def test_status_of_a_tenant_shows_its_usage_and_warns_before_it_is_full(
    kube_api: KubeApi, namespace: str, client: KubeClient, tmp_path: Path
) -> None:
    mesh = MeshProcess(tmp_path)
    mesh.environment |= {
        "MESH_TENANTS": f"kubernetes:{namespace}",
        "KUBECONFIG": str(kube_api.kubeconfig),
    }
    operator = OperatorProcess(kube_api, namespace, tmp_path)
    async with aiohttp.ClientSession(headers=HEADERS) as http:
        try:
            await operator.start(http)
            await mesh.start(http)
            await client.apply(TENANTS, tenant(storedUsers=10, eventsPerDay=100), manager="people")
            await until_condition(client, "tenant-a", "Enforced")
            for _ in range(8):
                async with http.post(f"{mesh.users_url}/users/create", json=ALICE) as answer:
                    assert answer.status == 202
            async with asyncio.timeout(30):
                while True:
                    found = await client.get(TENANTS, "tenant-a")
                    if found["status"].get("usage", {}).get("storedUsers") == "8/10":
                        break
                    await asyncio.sleep(0.1)
            assert found["status"]["usage"]["eventsPerDay"] == "8/100"
            ready = next(c for c in found["status"]["conditions"] if c["type"] == "Ready")
            assert (ready["status"], ready["reason"]) == ("True", "QuotaNearlyUsed")
            async with asyncio.timeout(10):
                while "QuotaNearlyUsed" not in {
                    event["reason"] for event in (await client.list(EVENTS))[0]
                }:
                    await asyncio.sleep(0.05)
        finally:
            mesh.kill()
            operator.kill()


async def test_stored_users_are_right_after_the_whole_mesh_was_killed(tmp_path: Path) -> None:
    mesh = MeshProcess(tmp_path, tenant(storedUsers=20))
    async with aiohttp.ClientSession(headers=HEADERS) as http:

        async def create(user: str) -> int:
            url = f"{mesh.users_url}/users/create"
            async with http.post(url, json=ALICE | {"userId": user}) as answer:
                return answer.status

        async def stored(expected: int) -> None:
            async with asyncio.timeout(30):
                while True:
                    async with http.get(f"{mesh.users_url}/tenants/self") as answer:
                        quotas = (await answer.json())["quotas"]
                    if [q["used"] for q in quotas if q["name"] == "storedUsers"] == [expected]:
                        return
                    await asyncio.sleep(0.05)

        try:
            await mesh.start(http)
            for number in range(15):
                assert await create(f"u-{number}") == 202
            mesh.kill()
            await mesh.start(http)
            # What was let in just before the kill is forgotten, until the index has counted it.
            await stored(15)
            statuses = [await create(f"v-{number}") for number in range(10)]
            assert statuses == [202] * 5 + [403] * 5
            await stored(20)
            mesh.kill()
            await mesh.start(http)
            await stored(20)
            assert await create("one-more") == 403
            async with http.delete(f"{mesh.users_url}/users/u-0") as answer:
                assert answer.status == 202
            await stored(19)
            assert await create("one-more") == 202
            assert await healthy(http, mesh.gateway_url)
        finally:
            mesh.kill()
