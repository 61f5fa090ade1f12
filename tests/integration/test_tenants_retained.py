"""`mesh tenants retained` as a process, beside what a running mesh has written."""

import asyncio
import json
import os
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import pytest

from builders import make_context, tenant_document
from mesh_process import MeshProcess, unlimited, write_tenant
from meshkit.events.envelope import EventType, UserData, UserEvent, to_record
from meshkit.events.kafka_config import KafkaConnection
from meshkit.events.kafka_log import KafkaEventLog
from meshkit.events.kafka_topics import ensure_topics
from meshkit.events.log import USER_EVENTS, NewRecord
from meshkit.tenancy.identity import TenantContext
from meshkit.tenancy.spec import UID_ANNOTATION
from processes import clean_environment, installed

pytestmark = pytest.mark.timeout(120)


async def retained(environment: dict[str, str]) -> list[dict[str, Any]]:
    """What the command lists, without the times."""
    command = [installed("mesh"), "tenants", "retained", "-o", "json"]
    done = await asyncio.to_thread(
        subprocess.run, command, env=environment, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    return [
        {key: one[key] for key in ("tenantId", "tenantUid", "users")}
        for one in json.loads(done.stdout)
    ]


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
async def mesh(tmp_path: Path, http: aiohttp.ClientSession) -> AsyncIterator[MeshProcess]:
    first = tenant_document("tenant-a", {"annotations": {UID_ANNOTATION: "first-life"}})
    mesh = MeshProcess(tmp_path, first, unlimited("tenant-b"))
    await mesh.start(http)
    yield mesh
    assert mesh.stop() == 0


async def test_users_of_a_tenant_whose_file_is_gone_are_listed_until_it_is_adopted(
    mesh: MeshProcess, http: aiohttp.ClientSession
) -> None:
    for tenant, name in (("tenant-a", "Ann"), ("tenant-a", "Bea"), ("tenant-b", "Cid")):
        user = {"name": name, "email": f"{name}@example.com", "userId": name}
        url, headers = f"{mesh.users_url}/users/create", {"X-Tenant-Id": tenant}
        async with http.post(url, headers=headers, json=user) as answer:
            assert answer.status == 202
    url, headers = f"{mesh.users_url}/users/Bea", {"X-Tenant-Id": "tenant-a"}
    async with http.delete(url, headers=headers) as answer:
        assert answer.status == 202
    assert await retained(mesh.environment) == []
    os.remove(mesh.tenants / "tenant-a.yaml")
    gone = {"tenantId": "tenant-a", "tenantUid": "first-life", "users": 1}
    assert await retained(mesh.environment) == [gone]
    # Made anew under its old name it is another tenant.
    mesh.write_tenant(unlimited("tenant-a"))
    assert await retained(mesh.environment) == [gone]
    mesh.write_tenant(tenant_document("tenant-a", adoptUid="first-life"))
    assert await retained(mesh.environment) == []


async def test_log_in_kafka_is_read_as_the_embedded_one(kafka_servers: str, tmp_path: Path) -> None:
    gone, there = make_context("tenant-a", "u-1"), make_context("tenant-b", "u-10")
    connection = KafkaConnection(kafka_servers, prefix=f"{uuid4().hex}.")
    await ensure_topics(connection)
    log = KafkaEventLog(connection)
    # More than is read at once from a partition.
    users = [created(gone, f"user-{n}") for n in range(15_000)]
    deleted = UserEvent("e", EventType.DELETED, gone, "user-7", "", None)
    await log.publish_many(USER_EVENTS, [*users, to_record(deleted), created(there, "alice")])
    await log.close()
    annotations = {"annotations": {UID_ANNOTATION: "u-10"}}
    write_tenant(tmp_path / "tenants", tenant_document("tenant-b", annotations))
    environment = clean_environment(
        TENANTS=str(tmp_path / "tenants"),
        KAFKA_BOOTSTRAP_SERVERS=kafka_servers,
        KAFKA_PREFIX=connection.prefix,
    )
    listed = [{"tenantId": "tenant-a", "tenantUid": "u-1", "users": 14_999}]
    assert await retained(environment) == listed


def created(tenant: TenantContext, user_id: str) -> NewRecord:
    data = UserData(tenant.tenant_id, user_id, f"{user_id}@example.com", "Alice")
    return to_record(UserEvent("e", EventType.CREATED, tenant, user_id, "", data))
