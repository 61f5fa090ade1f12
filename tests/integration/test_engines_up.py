"""The quick start on the engines people know: `mesh up`, and every part as a process of its own."""

import asyncio
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import pytest

from engine_mesh import EngineMesh
from kafka_broker import missing
from mesh_process import MeshProcess, unlimited
from processes import clean_environment, installed
from qdrant_server import own_alias, qdrant_url

pytestmark = pytest.mark.timeout(90)

ALICE = {"name": "Alice Doe", "email": "alice@example.com"}


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def answer_of(request: Any) -> dict[str, Any]:
    """The body of an answer that has to be a success."""
    async with request as answer:
        assert answer.status in (200, 202), await answer.text()
        body: dict[str, Any] = await answer.json()
        return body


async def quick_start(http: aiohttp.ClientSession, users_url: str, gateway_url: str) -> None:
    """Create a user and find it, as its tenant and as no other; delete it."""
    header = {"X-Tenant-Id": "tenant-a"}
    created = await answer_of(http.post(f"{users_url}/users/create", headers=header, json=ALICE))
    search = f"{gateway_url}/ai/users/search"
    query = {"tenant_id": "tenant-a", "query": "alise", "after": created["position"]}
    # The indexer may still be joining its group: then `after` waits its time, and says so.
    async with asyncio.timeout(30):
        while not (found := await answer_of(http.get(search, params=query)))["upToDate"]:
            pass
    assert [user["email"] for user in found["results"]] == ["alice@example.com"]
    other = {"tenant_id": "tenant-b", "query": "alice"}
    assert (await answer_of(http.get(search, params=other)))["results"] == []
    one = f"{users_url}/users/{created['userId']}"
    query["after"] = (await answer_of(http.delete(one, headers=header)))["position"]
    async with asyncio.timeout(30):
        while (await answer_of(http.get(search, params=query)))["results"]:
            pass


async def test_mesh_up_on_kafka_and_qdrant(
    http: aiohttp.ClientSession, tmp_path: Path, kafka_servers: str
) -> None:
    async with own_alias() as alias:
        mesh = MeshProcess(
            tmp_path,
            unlimited("tenant-a"),
            unlimited("tenant-b"),
            KAFKA_BOOTSTRAP_SERVERS=kafka_servers,
            KAFKA_PREFIX=f"{uuid4().hex}.",
            QDRANT_URL=qdrant_url(),
            QDRANT_COLLECTION=alias,
        )
        try:
            for _ in range(2):
                await mesh.start(http)
                await quick_start(http, mesh.users_url, mesh.gateway_url)
                assert mesh.stop() == 0
        finally:
            mesh.kill()
        # The data is on the engines; the folder has only the key of the positions.
        assert [path.name for path in (tmp_path / "data").iterdir()] == ["position.key"]


async def test_three_processes_on_kafka_and_qdrant(
    http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    if lack := missing():
        pytest.skip(f"a broker of our own is needed, and {lack}")
    mesh = EngineMesh(tmp_path, indexers=1)
    try:
        await mesh.start(http)
        await quick_start(http, mesh.users_url, mesh.gateway_url)
        for service in mesh.services.values():
            port = service.environment["MESH_ADMIN_PORT"]
            ready = await answer_of(http.get(f"http://127.0.0.1:{port}/readyz"))
            assert ready["status"] == "ready"
            draining = f"http://127.0.0.1:{port}/internal/tenants/uid-of-nobody/draining"
            async with http.get(draining) as answer:
                assert answer.status == 409
                assert (await answer.json())["code"] == "tenant-not-terminating"
        await mesh.stop()
    finally:
        mesh.abandon()


async def test_indexer_beside_the_embedded_engine_says_that_there_is_no_need(
    tmp_path: Path,
) -> None:
    environment = clean_environment(DATA_DIR=str(tmp_path / "data"))
    done = await asyncio.to_thread(
        subprocess.run,
        [installed("ai-gateway-indexer")],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "MESH_QDRANT_URL" in done.stderr
    assert "Traceback" not in done.stderr
