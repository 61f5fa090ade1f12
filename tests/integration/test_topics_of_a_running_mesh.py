"""What a running mesh does about its topics in Kafka: it refuses what would be lost and says so,
and goes on when somebody adds partitions."""

import asyncio
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from uuid import uuid4

import aiohttp
import pytest
from confluent_kafka.admin import AdminClient, NewPartitions  # noqa: TID251 - the outsider's view

from apps import Mesh, running_mesh
from builders import make_policy
from kafka_broker import KafkaBroker, missing
from mesh_process import unlimited, write_tenant
from meshkit.events.kafka_config import KafkaConnection
from meshkit.events.kafka_log import KafkaEventLog
from meshkit.events.kafka_topics import ensure_topics
from meshkit.events.log import USAGE, USER_EVENTS, EventLog
from processes import Process, clean_environment, free_ports, installed
from waiting import eventually

pytestmark = pytest.mark.timeout(120)

TENANT = {"X-Tenant-Id": "tenant-a"}
USER = {"name": "Au To", "email": "au@example.com"}


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A broker that makes whatever topic it is asked about, as Kafka does by default."""
    if lack := missing():
        pytest.skip(f"a broker of our own is needed, and {lack}")
    folder = tmp_path_factory.mktemp("kafka")
    broker = KafkaBroker(folder, extra="auto.create.topics.enable=true")
    broker.start()
    yield broker.bootstrap_servers
    broker.stop()


async def test_service_that_starts_before_its_topics_refuses_until_they_are_made(
    servers: str, tmp_path: Path
) -> None:
    users, admin = free_ports(2)
    prefix = f"{uuid4().hex[:6]}."
    write_tenant(tmp_path / "tenants", unlimited("tenant-a"))
    environment = clean_environment(
        KAFKA_BOOTSTRAP_SERVERS=servers,
        KAFKA_PREFIX=prefix,
        USER_SERVICE_PORT=str(users),
        ADMIN_PORT=str(admin),
        DATA_DIR=str(tmp_path / "data"),
        TENANTS=str(tmp_path / "tenants"),
    )
    service = Process([installed("user-service")], environment, tmp_path / "users.log")
    service.spawn()
    url = f"http://127.0.0.1:{users}/users"
    try:
        async with aiohttp.ClientSession() as http:

            async def ready() -> tuple[str, str]:
                async with http.get(f"http://127.0.0.1:{admin}/readyz") as answer:
                    report = await answer.json()
                    return report["status"], str(report)

            async with asyncio.timeout(30):
                while True:
                    try:
                        status, report = await ready()
                    except aiohttp.ClientError:
                        await asyncio.sleep(0.1)
                        continue
                    if f"{prefix}{USER_EVENTS}" in report:
                        break
                    await asyncio.sleep(0.1)
            assert status == "not-ready"
            assert "does not exist (mesh topics ensure)" in report
            async with http.post(url, headers=TENANT, json=USER) as answer:
                problem = await answer.json(content_type="application/problem+json")
                assert (answer.status, problem["code"]) == (503, "log-unavailable")
            assert prefix in problem["detail"]
            assert "mesh topics ensure" in problem["detail"]

            done = await asyncio.to_thread(
                subprocess.run,
                [installed("mesh"), "topics", "ensure"],
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, done.stdout + done.stderr
            assert done.stdout.count("made ") == 3
            async with asyncio.timeout(30):
                while (await ready())[0] != "ready":
                    await asyncio.sleep(0.1)
            async with http.post(url, headers=TENANT, json=USER) as answer:
                assert answer.status == 202
    finally:
        assert await asyncio.to_thread(service.stop) == 0


class Writers:
    """Clients that create users, and wait for each to be searchable, until they are stopped."""

    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh
        self.accepted: list[str] = []
        self._stopping = False
        self._tasks = [asyncio.create_task(self._write()) for _ in range(4)]

    async def stop(self) -> None:
        """Let each finish what it has begun. Raises what went wrong."""
        self._stopping = True
        await asyncio.gather(*self._tasks)

    async def create(self) -> bool:
        """Create a user; return whether it was searchable in time."""
        answer = await self.mesh.create("tenant-a")
        self.accepted.append(answer["userId"])
        found = await self.mesh.search("tenant-a", "alice", after=answer["position"])
        return found["upToDate"] is True

    async def missing(self) -> list[str]:
        """The users that were accepted and are not found."""
        answers = [
            await self.mesh.gateway.get(f"/ai/users/{user_id}", headers=TENANT)
            for user_id in self.accepted
        ]
        return [answer.text for answer in answers if answer.status_code != 200]

    async def stored(self) -> int:
        """How many users the tenant has by what it is told."""
        seen = (await self.mesh.users.get("/tenants/self", headers=TENANT)).json()
        used = {quota["name"]: quota["used"] for quota in seen["quotas"]}
        return int(used["storedUsers"])

    async def _write(self) -> None:
        while not self._stopping:
            # Not in time where a new partition is not read yet: that takes some seconds.
            await self.create()


async def written_to(log: EventLog, topic: str) -> set[int]:
    """The partitions in which there are records."""
    return {n for n, (first, end) in (await log.ends(topic)).items() if end > first}


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(30):
        while not await holds():
            await asyncio.sleep(0.1)


async def test_partitions_added_under_load_lose_no_user(servers: str) -> None:
    connection = KafkaConnection(servers, prefix=f"{uuid4().hex[:6]}.")
    await ensure_topics(connection)
    log = KafkaEventLog(connection)
    async with running_mesh(make_policy("tenant-a"), log=log) as mesh:
        writers = Writers(mesh)
        await eventually(lambda: len(writers.accepted) >= 40, seconds=30)
        added = [
            NewPartitions(connection.prefix + USER_EVENTS, 16),
            NewPartitions(connection.prefix + USAGE, 3),
        ]
        admin = AdminClient({"bootstrap.servers": servers})
        for answer in admin.create_partitions(added).values():
            answer.result(10)

        async def new_ones_are_written_to() -> bool:
            return {12, 13, 14, 15} <= await written_to(log, USER_EVENTS)

        async def nobody_is_missing() -> bool:
            return not await writers.missing()

        async def all_are_counted() -> bool:
            return await writers.stored() == len(writers.accepted)

        await until(new_ones_are_written_to)
        await writers.stop()
        await until(nobody_is_missing)
        assert [await writers.create() for _ in range(20)] == [True] * 20
        await until(all_are_counted)
        # What is published about usage has one order still.
        assert await written_to(log, USAGE) == {0}
    await log.close()
