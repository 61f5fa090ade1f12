"""The routes of ai-gateway about users, over an indexer that runs."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from ai_gateway.vector_store.memory import MemoryVectorStore
from ai_gateway.vector_store.port import StoreUnavailable
from apps import Mesh, running_mesh

A = {"X-Tenant-Id": "tenant-a"}


@pytest.fixture
async def mesh() -> AsyncIterator[Mesh]:
    async with running_mesh() as mesh:
        yield mesh


async def test_search_sees_the_write_it_was_told_of(mesh: Mesh) -> None:
    accepted = await mesh.create("tenant-a", attributes={"team": "billing"})
    found = await mesh.search("tenant-a", "alice", after=accepted["position"])
    assert found == {
        "tenantId": "tenant-a",
        "query": "alice",
        "results": [
            {
                "userId": accepted["userId"],
                "email": "alice@example.com",
                "name": "Alice Doe",
                "score": 1.0,
                "attributes": {"team": "billing"},
            }
        ],
        "upToDate": True,
    }


async def test_replaced_and_deleted_users_are_found_as_they_are_now(mesh: Mesh) -> None:
    await mesh.create("tenant-a", userId="u-1")
    body = {"name": "Carol Roe", "email": "carol@example.com"}
    position = (await mesh.users.put("/users/u-1", headers=A, json=body)).json()["position"]
    found = await mesh.search("tenant-a", "carol", after=position)
    assert [user["name"] for user in found["results"]] == ["Carol Roe"]
    position = (await mesh.users.delete("/users/u-1", headers=A)).json()["position"]
    assert (await mesh.search("tenant-a", "carol", after=position))["results"] == []


async def test_user_is_found_by_id(mesh: Mesh) -> None:
    accepted = await mesh.create("tenant-a", userId="u-1")
    await mesh.search("tenant-a", "x", after=accepted["position"])
    answer = await mesh.gateway.get("/ai/users/u-1", headers=A)
    assert (answer.status_code, answer.json()["email"]) == (200, "alice@example.com")
    assert (await mesh.gateway.get("/ai/users/u-2", headers=A)).json()["code"] == "user-not-found"


async def test_tenant_sees_how_much_it_stores(mesh: Mesh) -> None:
    accepted = await mesh.create("tenant-a")
    await mesh.search("tenant-a", "x", after=accepted["position"])
    quotas = (await mesh.gateway.get("/tenants/self", headers=A)).json()["quotas"]
    used = {quota["name"]: quota["used"] for quota in quotas}
    assert used == {"storedUsers": 1, "eventsPerDay": 1, "llmTokensPerDay": 0}


@pytest.mark.parametrize(
    ("query", "status", "path"),
    [
        ("query=", 422, "query"),
        ("", 422, "query"),
        ("query=%20", 422, "query"),
        (f"query={'x' * 513}", 422, "query"),
        ("query=a&limit=0", 422, "limit"),
        ("query=a&limit=101", 422, "limit"),
        ("query=a&limit=1e1", 422, "limit"),
        ("query=a&limit=٣", 422, "limit"),
        ("query=a&query=b", 422, "query"),
        ("query=a&filter=tenantUid", 422, "filter"),
    ],
)
async def test_odd_search_is_refused_by_parameter(
    mesh: Mesh, query: str, status: int, path: str
) -> None:
    answer = await mesh.gateway.get(f"/ai/users/search?tenant_id=tenant-a&{query}")
    assert (answer.status_code, answer.json()["errors"][0]["path"]) == (status, path)


@pytest.mark.parametrize("after", ["", "x", "A" * 54, "é" * 54])
async def test_forged_position_is_a_400(mesh: Mesh, after: str) -> None:
    parameters = {"tenant_id": "tenant-a", "query": "a", "after": after}
    answer = await mesh.gateway.get("/ai/users/search", params=parameters)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid-position")


class AwayStore(MemoryVectorStore):
    """A store that does not answer reads."""

    async def search(self, *_: Any) -> Any:
        raise StoreUnavailable("away")

    async def get(self, *_: Any) -> Any:
        raise StoreUnavailable("away")


async def test_store_that_is_away_is_a_503() -> None:
    async with running_mesh(store=AwayStore()) as mesh:
        for path in ("/ai/users/search?query=a", "/ai/users/u-1"):
            answer = await mesh.gateway.get(path, headers=A)
            assert (answer.status_code, answer.json()["code"]) == (503, "search-unavailable")
            assert answer.headers["retry-after"] == "1"
