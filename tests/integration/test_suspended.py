"""A suspended tenant over real logs: its events wait, nobody else's do, and nothing is lost."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import aiohttp
import pytest

from ai_gateway.indexer import GROUP
from ai_gateway.indexing import create_indexer, indexing
from ai_gateway.stores import create_vectorizer
from ai_gateway.vector_store.memory import MemoryVectorStore
from ai_gateway.vector_store.port import Change
from builders import make_context, make_policy
from mesh_process import MeshProcess, unlimited
from meshkit.events.dead_letters import dead_letters
from meshkit.events.envelope import EventType, UserData, UserEvent, to_record
from meshkit.events.kafka_config import KafkaConnection
from meshkit.events.kafka_log import KafkaEventLog
from meshkit.events.kafka_topics import ensure_topics
from meshkit.events.log import USER_EVENTS, USER_EVENTS_DLQ, EventLog, NewRecord, TopicSpec
from meshkit.events.sqlite_log import SqliteEventLog
from meshkit.tenancy.identity import TenantContext
from meshkit.tenancy.policy import TenantState
from meshkit.tenancy.static import StaticTenantSource

pytestmark = pytest.mark.timeout(120)

A, B = make_context("tenant-a"), make_context("tenant-b")
TOPICS = (TopicSpec(USER_EVENTS, 4), TopicSpec(USER_EVENTS_DLQ, 1, compact=False))

OpenLog = Callable[[], AbstractAsyncContextManager[EventLog]]


class CountingStore(MemoryVectorStore):
    """A store that knows how many changes it was given, the repeated ones too."""

    def __init__(self) -> None:
        super().__init__()
        self.changes = 0

    async def apply(self, changes: Sequence[Change]) -> None:
        self.changes += len(changes)
        await super().apply(changes)


@dataclass
class Mesh:
    """A log, and indexers that come and go over one store."""

    open_log: OpenLog
    store: CountingStore = field(default_factory=CountingStore)
    tenants: StaticTenantSource = field(
        default_factory=lambda: StaticTenantSource(make_policy("tenant-a"), make_policy("tenant-b"))
    )

    @asynccontextmanager
    async def indexing(self) -> AsyncIterator[EventLog]:
        """Run an indexer with a connection of its own, as a process has one."""
        vectorizer = create_vectorizer()
        async with (
            self.open_log() as log,
            indexing(lambda: create_indexer(log, self.store, vectorizer, self.tenants)),
        ):
            yield log

    def put(self, state: TenantState) -> None:
        self.tenants.put(make_policy("tenant-a", state=state))

    def users(self, tenant: TenantContext) -> dict[str, str]:
        return {one.user.user_id: one.user.name for one in self.store._users(tenant)}


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


async def nothing_waits(log: EventLog) -> None:
    """Wait until everything that is to be indexed is committed."""
    async with asyncio.timeout(30):
        while (await log.lag(USER_EVENTS, f"{GROUP}.memory")).records:
            await asyncio.sleep(0.05)


@pytest.fixture(params=["sqlite", "kafka"])
async def open_log(request: pytest.FixtureRequest, tmp_path: Path) -> OpenLog:
    if request.param == "kafka":
        return await kafka(request.getfixturevalue("kafka_servers"))

    @asynccontextmanager
    async def opened() -> AsyncIterator[EventLog]:
        log = await SqliteEventLog.open(tmp_path / "events.db", TOPICS)
        try:
            yield log
        finally:
            await log.close()

    return opened


async def kafka(servers: str) -> OpenLog:
    connection = KafkaConnection(servers, prefix=f"{uuid4().hex}.")
    await ensure_topics(connection, TOPICS)

    @asynccontextmanager
    async def opened() -> AsyncIterator[EventLog]:
        log = KafkaEventLog(connection, TOPICS)
        try:
            yield log
        finally:
            await log.close()

    return opened


def created(tenant: TenantContext, user_id: str, name: str = "Alice") -> NewRecord:
    data = UserData(tenant.tenant_id, user_id, f"{user_id}@example.com", name)
    return to_record(UserEvent(str(uuid4()), EventType.CREATED, tenant, user_id, "", data))


def deleted(tenant: TenantContext, user_id: str) -> NewRecord:
    return to_record(UserEvent(str(uuid4()), EventType.DELETED, tenant, user_id, "", None))


def people(tenant: TenantContext, count: int, name: str = "Alice") -> list[NewRecord]:
    return [created(tenant, f"{tenant.tenant_id}-{n}", name) for n in range(count)]


async def test_events_of_a_suspended_tenant_wait_over_restarts_and_hold_nobody_up(
    open_log: OpenLog,
) -> None:
    mesh = Mesh(open_log)
    async with mesh.indexing() as log:
        # Suspended while its events are on their way.
        await log.publish_many(USER_EVENTS, people(A, 3000, "First"))
        await until(lambda: len(mesh.users(A)) > 0)
        mesh.put(TenantState.SUSPENDED)
        await log.publish_many(USER_EVENTS, people(A, 3000, "Second"))
        await log.publish_many(USER_EVENTS, people(B, 100))
        await until(lambda: len(mesh.users(B)) == 100)
        await nothing_waits(log)
        at_rest = mesh.users(A)
        assert 0 < len(at_rest) < 3000
        assert set(at_rest.values()) == {"First"}
        gone = sorted(at_rest)[0]
        await log.publish(USER_EVENTS, deleted(A, gone))
        await until(lambda: gone not in mesh.users(A))
        await nothing_waits(log)
    for _ in range(2):
        changes = mesh.store.changes
        async with mesh.indexing() as log:
            name = f"after-{changes}"
            await log.publish(USER_EVENTS, created(B, name))
            await until(lambda name=name: name in mesh.users(B))  # type: ignore[misc]
            await nothing_waits(log)
        # What waits is not even read again, whatever there is of it.
        assert mesh.store.changes == changes + 1
        assert mesh.users(A) == {user: name for user, name in at_rest.items() if user != gone}
    mesh.put(TenantState.ACTIVE)
    async with mesh.indexing() as log:
        await until(lambda: len(mesh.users(A)) == 2999)
        await until(lambda: set(mesh.users(A).values()) == {"Second"})
        assert gone not in mesh.users(A)
        assert await dead_letters(log) == []
    changes = mesh.store.changes
    async with mesh.indexing() as log:
        await log.publish(USER_EVENTS, created(B, "last"))
        await until(lambda: "last" in mesh.users(B))
    assert mesh.store.changes == changes + 1


async def test_who_takes_partitions_over_knows_whose_events_wait(kafka_servers: str) -> None:
    mesh = Mesh(await kafka(kafka_servers))
    mesh.put(TenantState.SUSPENDED)
    async with AsyncExitStack() as second:
        async with mesh.indexing() as log:
            await log.publish_many(USER_EVENTS, [*people(A, 400), *people(B, 40)])
            await until(lambda: len(mesh.users(B)) == 40)
            await nothing_waits(log)
            heir = await second.enter_async_context(mesh.indexing())
            # Until the second one has its part.
            for number in range(200):
                await heir.publish(USER_EVENTS, created(B, f"more-{number}"))
            await until(lambda: len(mesh.users(B)) == 240)
        mesh.put(TenantState.ACTIVE)
        await until(lambda: len(mesh.users(A)) == 400)
        assert await dead_letters(heir) == []


@pytest.mark.timeout(120)
async def test_what_was_accepted_is_found_after_a_suspension_with_kills_in_between(
    tmp_path: Path,
) -> None:
    process = MeshProcess(tmp_path, unlimited("tenant-a"), unlimited("tenant-b"))
    suspended = unlimited("tenant-a")
    suspended["spec"]["suspended"] = True
    async with aiohttp.ClientSession() as http:
        await process.start(http)
        try:
            # The last ones are accepted and not yet indexed when the tenant is suspended.
            batches = [await create(http, process, "tenant-a", n) for n in range(8)]
            process.write_tenant(suspended)
            async with asyncio.timeout(10):
                while (outcome := await create(http, process, "tenant-a", 99)) == "accepted":
                    pass
            assert outcome == "tenant-suspended"
            assert set(batches) == {"accepted"}
            for number in range(3):
                process.kill()
                await process.start(http)
                assert await create(http, process, "tenant-b", number) == "accepted"
                await searchable(http, process, "tenant-b", f"u{number}-199")
                query = {"tenant_id": "tenant-a", "query": "person"}
                url = f"{process.gateway_url}/ai/users/search"
                async with http.get(url, params=query) as answer:
                    assert (await answer.json())["code"] == "tenant-suspended"
            process.write_tenant(unlimited("tenant-a"))
            for number in range(8):
                for user in range(200):
                    await searchable(http, process, "tenant-a", f"u{number}-{user}")
        finally:
            assert process.stop() == 0


async def create(
    http: aiohttp.ClientSession, process: MeshProcess, tenant: str, number: int
) -> str:
    """Create two hundred users; return "accepted", or why not."""
    users = [
        {"userId": f"u{number}-{n}", "name": f"Person {n}", "email": f"p{n}@example.com"}
        for n in range(200)
    ]
    url = f"{process.users_url}/users:batch"
    async with http.post(url, headers={"X-Tenant-Id": tenant}, json=users) as answer:
        body = await answer.json()
        return "accepted" if answer.status == 202 else str(body["code"])


async def searchable(
    http: aiohttp.ClientSession, process: MeshProcess, tenant: str, user_id: str
) -> None:
    url = f"{process.gateway_url}/ai/users/{user_id}"
    async with asyncio.timeout(20):
        while True:
            async with http.get(url, headers={"X-Tenant-Id": tenant}) as answer:
                if answer.status == 200:
                    return
            await asyncio.sleep(0.02)
