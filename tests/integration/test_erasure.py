"""A tenant erased as the operator does it: a policy in a real API server, the admin ports, and
nothing left in the log or in the store."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import pytest
from msgspec.structs import replace

from builders import make_context, make_policy
from kube_api import KubeApi
from mesh_process import MeshProcess, unlimited
from meshkit.events.envelope import EventType, UserData, UserEvent, to_record
from meshkit.events.kafka_config import KafkaConnection
from meshkit.events.kafka_log import KafkaEventLog
from meshkit.events.kafka_topics import ensure_topics
from meshkit.events.log import USER_EVENTS, EventLog, NewRecord
from meshkit.events.partition import partition_of
from meshkit.events.scanning import read_all
from meshkit.events.sqlite_log import SqliteEventLog
from meshkit.kube.client import KubeClient
from meshkit.tenancy.identity import TenantContext
from meshkit.tenancy.policy import TenantState
from meshkit.tenancy.resources import POLICIES, TENANTS
from meshkit.tenancy.spec import API_VERSION
from operator_rig import OperatorProcess, until_condition
from qdrant_server import own_alias, qdrant_url
from tenant_operator.cluster import CONFIG_MAPS
from user_service.erasing import KeyCount, KeyEraser

pytestmark = pytest.mark.timeout(120)

A, B = make_context("tenant-a"), make_context("tenant-b", "uid-of-tenant-a1")


def user(tenant: TenantContext, number: int) -> NewRecord:
    data = UserData(tenant.tenant_id, f"u{number}", "alice@example.com", "Alice")
    return to_record(UserEvent("e", EventType.CREATED, tenant, f"u{number}", "", data))


@pytest.fixture(params=["sqlite", "kafka"])
async def log(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[EventLog]:
    log: EventLog
    if request.param == "sqlite":
        log = await SqliteEventLog.open(tmp_path / "events.db")
    else:
        servers = request.getfixturevalue("kafka_servers")
        connection = KafkaConnection(servers, prefix=f"{uuid4().hex}.")
        await ensure_topics(connection)
        log = KafkaEventLog(connection)
    yield log
    await log.close()


async def test_every_key_of_the_tenant_is_ended_in_a_real_log(log: EventLog) -> None:
    await log.publish_many(USER_EVENTS, [user(B, n) for n in range(700)])
    await log.publish_many(USER_EVENTS, [user(A, n) for n in range(2500)])
    await log.publish_many(USER_EVENTS, [user(A, n) for n in range(100)])
    eraser = KeyEraser(log)
    assert await eraser.count(A) == KeyCount(2500, 0, 2500)
    assert await eraser.tombstone(A) == KeyCount(2500, 2500, 0)
    assert await eraser.tombstone(A) == KeyCount(2500, 0, 0)
    await log.publish(USER_EVENTS, user(A, 7))
    assert await eraser.tombstone(A) == KeyCount(2500, 1, 0)
    assert await eraser.count(B) == KeyCount(700, 0, 700)


async def test_records_under_keys_of_others_are_ended_where_they_lie(log: EventLog) -> None:
    body = {"tenantId": "tenant-a", "userId": "u1", "email": "a@example.com", "name": "Alice"}
    event = {"specversion": "1.0", "id": "e", "source": "/crm", "type": "user.created"}
    named = {"tenantid": "tenant-a", "tenantuid": A.tenant_uid, "subject": "u2", "data": body}
    bare = NewRecord(b"crm-1", json.dumps(body).encode(), (), 3)
    structured = NewRecord(b"crm-2", json.dumps(event | named).encode(), (), 5)
    forged = replace(bare, key=f"{B.tenant_uid}/u1".encode())
    shared = [replace(bare, key=b"crm-3"), NewRecord(b"crm-3", b"{}", (), 3)]
    await log.publish_many(USER_EVENTS, [user(B, n) for n in range(50)])
    await log.publish_many(USER_EVENTS, [bare, structured, forged, *shared])
    eraser = KeyEraser(log, uids_in_force=lambda: (A.tenant_uid, B.tenant_uid))
    assert await eraser.count(A) == KeyCount(4, 0, 4)
    # B's key belongs into another partition than 3, where A's record is alone under it.
    assert partition_of(forged.key, 12) != 3
    assert await eraser.tombstone(A) == KeyCount(4, 3, 1)
    assert await eraser.count(A) == KeyCount(4, 0, 1)
    ended = [record async for record in read_all(log, USER_EVENTS, dict.fromkeys(range(12), 0))]
    places = {(r.key, r.partition) for r in ended if r.value is None}
    assert places == {(b"crm-1", 3), (b"crm-2", 5), (forged.key, 3)}
    assert await eraser.count(B) == KeyCount(50, 0, 50)


def policy(name: str, state: TenantState, uid: str) -> dict[str, Any]:
    spec = make_policy(name, state=state, tenant_uid=uid, revision=state.value).document()
    return {
        "apiVersion": API_VERSION,
        "kind": "TenantPolicy",
        "metadata": {"name": name},
        "spec": spec,
    }


class Operator:
    """What the operator does with a mesh: it writes policies and calls the admin ports."""

    def __init__(self, client: KubeClient, http: aiohttp.ClientSession, mesh: MeshProcess) -> None:
        self._client = client
        self._http = http
        # A mesh in one process is one member: either port answers for all of it.
        self.admins = [f"http://127.0.0.1:{mesh.admin_port + n}" for n in (0, 10)]

    async def declare(self, name: str, uid: str, state: TenantState) -> None:
        await self._client.apply(POLICIES, policy(name, state, uid), manager="operator")

    async def call(self, method: str, what: str, uid: str) -> tuple[int, dict[str, Any]]:
        return await self.ask(self.admins[0], method, what, uid)

    async def ask(self, admin: str, method: str, what: str, uid: str) -> tuple[int, dict[str, Any]]:
        async with self._http.request(method, f"{admin}/internal/tenants/{uid}/{what}") as answer:
            return answer.status, await answer.json()

    async def fenced(self, uid: str) -> None:
        """Wait until both services hold the tenant to be leaving and nothing is on its way."""
        async with asyncio.timeout(20):
            for admin in self.admins:
                while True:
                    status, said = await self.ask(admin, "GET", "draining", uid)
                    if status == 200 and not said["busy"]:
                        break
                    assert status in (200, 409), said
                    await asyncio.sleep(0.02)


async def fill(http: aiohttp.ClientSession, mesh: MeshProcess, tenant: str) -> None:
    """Create 50 users, delete one of them, and wait until that can be seen."""
    header = {"X-Tenant-Id": tenant}
    for number in range(50):
        body = {"userId": f"u{number}", "name": "Alice Doe", "email": "alice@example.com"}
        async with http.post(f"{mesh.users_url}/users", headers=header, json=body) as answer:
            assert answer.status == 202, await answer.text()
    async with http.delete(f"{mesh.users_url}/users/u7", headers=header) as answer:
        after = (await answer.json())["position"]
    await search(http, mesh, tenant, after=after)


async def search(
    http: aiohttp.ClientSession, mesh: MeshProcess, tenant: str, **more: str
) -> list[Any]:
    query = {"tenant_id": tenant, "query": "alice", "limit": "100"} | more
    async with http.get(f"{mesh.gateway_url}/ai/users/search", params=query) as answer:
        assert answer.status == 200, await answer.text()
        found: list[Any] = (await answer.json())["results"]
        return found


async def mesh_of(
    stack: AsyncExitStack,
    request: pytest.FixtureRequest,
    api: KubeApi,
    namespace: str,
    folder: Path,
    engines: str,
) -> MeshProcess:
    """A mesh that takes its tenants from a namespace, not yet started."""
    settings = {}
    if engines == "servers":
        settings = {
            "KAFKA_BOOTSTRAP_SERVERS": request.getfixturevalue("kafka_servers"),
            "KAFKA_PREFIX": f"{uuid4().hex}.",
            "QDRANT_URL": qdrant_url(),
            "QDRANT_COLLECTION": await stack.enter_async_context(own_alias()),
        }
    mesh = MeshProcess(folder, **settings)
    mesh.environment |= {
        "MESH_TENANTS": f"kubernetes:{namespace}",
        "KUBECONFIG": str(api.kubeconfig),
    }
    return mesh


@pytest.mark.parametrize("engines", ["embedded", "servers"])
async def test_tenant_is_erased_from_a_running_mesh_and_its_namesake_is_not(
    kube_api: KubeApi,
    namespace: str,
    client: KubeClient,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    engines: str,
) -> None:
    async with AsyncExitStack() as stack:
        mesh = await mesh_of(stack, request, kube_api, namespace, tmp_path, engines)
        http = await stack.enter_async_context(aiohttp.ClientSession())
        operator = Operator(client, http, mesh)
        await operator.declare("leaving", "uid-1", TenantState.ACTIVE)
        await operator.declare("staying", "uid-11", TenantState.ACTIVE)
        await mesh.start(http)
        stack.callback(mesh.stop)
        for tenant in ("leaving", "staying"):
            await fill(http, mesh, tenant)
        assert (await operator.call("DELETE", "points", "uid-1"))[0] == 409
        assert (await operator.call("POST", "tombstones", "uid-1"))[0] == 409
        await operator.declare("leaving", "uid-1", TenantState.TERMINATING)
        await operator.fenced("uid-1")
        uid = {"tenantUid": "uid-1"}
        for admin in operator.admins:
            held = await operator.ask(admin, "GET", "points", "uid-1")
            assert held == (200, uid | {"points": 50})
            keys = await operator.ask(admin, "GET", "tombstones", "uid-1")
            assert keys == (200, uid | {"keys": 50, "tombstoned": 0, "remaining": 49})
        assert await operator.call("DELETE", "points", "uid-1") == (200, uid | {"points": 0})
        ended = await operator.call("POST", "tombstones", "uid-1")
        assert ended == (200, uid | {"keys": 50, "tombstoned": 49, "remaining": 0})
        assert (await operator.call("POST", "tombstones", "uid-11"))[0] == 409
        for method, what in (("GET", "points"), ("GET", "tombstones")):
            _, left = await operator.call(method, what, "uid-1")
            assert left.get("points", left.get("remaining")) == 0
        # Made again under its name it starts empty.
        await operator.declare("leaving", "uid-2", TenantState.ACTIVE)
        await fill_when_admitted(http, mesh)
        assert len(await search(http, mesh, "leaving")) == 49
        assert len(await search(http, mesh, "staying")) == 49


async def fill_when_admitted(http: aiohttp.ClientSession, mesh: MeshProcess) -> None:
    """Fill the tenant `leaving` once both services serve it again."""
    async with asyncio.timeout(20):
        for url in (f"{mesh.users_url}/tenants/self", f"{mesh.gateway_url}/tenants/self"):
            while True:
                async with http.get(url, headers={"X-Tenant-Id": "leaving"}) as answer:
                    if answer.status == 200:
                        break
                await asyncio.sleep(0.02)
    await fill(http, mesh, "leaving")


async def test_deleted_tenant_goes_when_nothing_is_left_of_it(
    kube_api: KubeApi,
    namespace: str,
    client: KubeClient,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    async with AsyncExitStack() as stack:
        mesh = await mesh_of(stack, request, kube_api, namespace, tmp_path, "embedded")
        http = await stack.enter_async_context(aiohttp.ClientSession())
        operator = OperatorProcess(kube_api, namespace, tmp_path)
        await operator.start(http)
        stack.callback(operator.stop)
        await mesh.start(http)
        stack.callback(mesh.stop)
        uids = {}
        for name in ("leaving", "staying"):
            document = unlimited(name)
            document["spec"]["deletionPolicy"] = "Delete"
            await client.apply(TENANTS, document, manager="people")
            found = await until_condition(client, name, "Enforced")
            await fill(http, mesh, name)
            uids[name] = found["metadata"]["uid"]
        await client.delete(TENANTS, "leaving")
        async with asyncio.timeout(30):
            while "leaving" in {t["metadata"]["name"] for t in (await client.list(TENANTS))[0]}:
                await asyncio.sleep(0.05)
        report = (await client.get(CONFIG_MAPS, f"erasure-leaving-{uids['leaving'][:8]}"))["data"]
        assert (report["pointsErased"], report["keysErased"]) == ("50", "49")
        assert len(await search(http, mesh, "staying")) == 49
