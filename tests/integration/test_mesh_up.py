"""`mesh up` as a newcomer meets it: the quick start, an edit, a mistake, a stop, a second start."""

import asyncio
import subprocess
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from builders import tenant_document
from mesh_process import MeshProcess, unlimited

ALICE = {"name": "Alice Doe", "email": "alice@example.com"}
A = {"X-Tenant-Id": "tenant-a"}

pytestmark = pytest.mark.timeout(90)


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
async def mesh(tmp_path: Path, http: aiohttp.ClientSession) -> AsyncIterator[MeshProcess]:
    mesh = MeshProcess(tmp_path, unlimited("tenant-a"), unlimited("tenant-b"))
    await mesh.start(http)
    yield mesh
    assert mesh.stop() == 0


async def create(mesh: MeshProcess, http: aiohttp.ClientSession, **user: Any) -> dict[str, Any]:
    async with http.post(f"{mesh.users_url}/users/create", headers=A, json=ALICE | user) as answer:
        assert answer.status == 202, await answer.text()
        body: dict[str, Any] = await answer.json()
        return body


async def search(mesh: MeshProcess, http: aiohttp.ClientSession, **query: str) -> dict[str, Any]:
    url = f"{mesh.gateway_url}/ai/users/search"
    async with http.get(url, params={"tenant_id": "tenant-a"} | query) as answer:
        body: dict[str, Any] = await answer.json()
        return body


async def test_created_user_is_found_by_its_tenant_and_no_other(
    mesh: MeshProcess, http: aiohttp.ClientSession
) -> None:
    position = (await create(mesh, http))["position"]
    found = await search(mesh, http, query="alice", after=position)
    assert [user["email"] for user in found["results"]] == ["alice@example.com"]
    assert 0 < found["results"][0]["score"] <= 1
    assert found["upToDate"] is True
    assert (await search(mesh, http, tenant_id="tenant-b", query="alice"))["results"] == []
    # A position is its tenant's own.
    stolen = await search(mesh, http, tenant_id="tenant-b", query="alice", after=position)
    assert stolen["code"] == "invalid-position"


async def test_edit_is_enforced_within_a_quarter_of_a_second(
    mesh: MeshProcess, http: aiohttp.ClientSession
) -> None:
    await create(mesh, http)
    delays = []
    for requests in (0, 1000, 0, 1000, 0):
        limit = {"name": "users.write", "requests": requests}
        mesh.write_tenant(tenant_document("tenant-a", rateLimits=[limit]))
        saved = time.monotonic()
        wanted = 429 if requests == 0 else 202
        async with asyncio.timeout(5):
            while True:
                async with http.post(f"{mesh.users_url}/users", headers=A, json=ALICE) as answer:
                    if answer.status == wanted:
                        break
        delays.append(time.monotonic() - saved)
    print(f"edit to enforced: {sorted(round(delay * 1000) for delay in delays)} ms")  # noqa: T201


async def test_broken_file_changes_nothing_but_the_log_and_the_check(
    mesh: MeshProcess, http: aiohttp.ClientSession
) -> None:
    (mesh.tenants / "tenant-a.yaml").write_text("kind: Tenant\nspec: [")
    async with asyncio.timeout(5):
        while "tenant_not_accepted" not in mesh.log.read_text():
            await asyncio.sleep(0.01)
    await create(mesh, http)
    check = subprocess.run(
        [mesh.command[0], "tenants", "check"], env=mesh.environment, capture_output=True, text=True
    )
    assert check.returncode == 1
    assert "tenant-a.yaml" in check.stdout


async def test_stop_and_start_continue_on_the_same_data(
    mesh: MeshProcess, http: aiohttp.ClientSession
) -> None:
    await create(mesh, http, userId="alice-1")
    assert mesh.stop() == 0
    await mesh.start(http)
    position = (await create(mesh, http, name="Bob Roe", email="bob@example.com"))["position"]
    found = await search(mesh, http, query="alice doe", after=position)
    assert found["results"][0]["userId"] == "alice-1"


async def test_lost_vectors_are_made_again_from_the_log(
    mesh: MeshProcess, http: aiohttp.ClientSession
) -> None:
    position = (await create(mesh, http, userId="alice-1"))["position"]
    assert mesh.stop() == 0
    vectors = mesh.folder / "data" / "vectors"
    vectors.rename(vectors.with_name("lost"))
    await mesh.start(http)
    found = await search(mesh, http, query="alice", after=position)
    assert found["results"][0]["userId"] == "alice-1"


async def test_taken_port_is_told_in_one_sentence(mesh: MeshProcess, tmp_path: Path) -> None:
    second = subprocess.run(mesh.command, env=mesh.environment, capture_output=True, text=True)
    assert second.returncode == 2
    assert "Choose another with MESH_USER_SERVICE_PORT" in second.stderr
    assert "Traceback" not in second.stderr


async def test_data_in_use_is_told_in_one_sentence(mesh: MeshProcess, tmp_path: Path) -> None:
    other = MeshProcess(tmp_path)
    environment = other.environment | {"MESH_DATA_DIR": mesh.environment["MESH_DATA_DIR"]}
    second = subprocess.run(other.command, env=environment, capture_output=True, text=True)
    assert second.returncode == 2
    assert "is in use by another mesh" in second.stderr
    assert "Traceback" not in second.stderr


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("MESH_TENANTS", "/nowhere/at/all", "MESH_TENANTS"),
        ("MESH_USER_SERVICE_PORT", "http", "MESH_USER_SERVICE_PORT"),
        ("MESH_DATA_DIR", "/proc/no/such", "MESH_DATA_DIR"),
        ("MESH_EMBEDDER", "magic", "MESH_EMBEDDER"),
    ],
)
def test_wrong_setting_is_told_by_its_name(
    tmp_path: Path, variable: str, value: str, said: str
) -> None:
    mesh = MeshProcess(tmp_path, unlimited("tenant-a"))
    environment = mesh.environment | {variable: value}
    run = subprocess.run(mesh.command, env=environment, capture_output=True, text=True)
    assert run.returncode == 2
    assert said in run.stderr
    assert "Traceback" not in run.stderr


async def test_admin_port_says_ready_and_counts(
    mesh: MeshProcess, http: aiohttp.ClientSession
) -> None:
    await create(mesh, http)
    for port in (mesh.admin_port, mesh.admin_port + 10):
        async with http.get(f"http://127.0.0.1:{port}/readyz") as answer:
            assert (answer.status, (await answer.json())["status"]) == (200, "ready")
    async with http.get(f"http://127.0.0.1:{mesh.admin_port}/metrics") as answer:
        text = await answer.text()
    assert 'mesh_http_requests_total{operation="createUser",status="202"} 1.0' in text
    assert "tenant-a" not in text
    async with http.get(f"{mesh.users_url}/metrics") as answer:
        assert answer.status == 404
