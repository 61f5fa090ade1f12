"""A real Qdrant server behind a door that is lied to: what comes out is checked once more."""

from collections.abc import AsyncIterator

import orjson
import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ai_gateway.vector_store.port import UserKey, point_text
from ai_gateway.vector_store.qdrant import QdrantVectorStore
from builders import at, make_context, make_delete, make_query, make_upsert
from qdrant_server import own_collection

A, B = make_context("tenant-a"), make_context("tenant-b")


@pytest.fixture
async def store() -> AsyncIterator[QdrantVectorStore]:
    async with own_collection() as store:
        await store.apply([make_upsert(A, f"u-{n}", f"Alice {n}") for n in range(50)])
        await store.apply([make_upsert(B, f"u-{n}", f"Bob {n}", revision=7) for n in range(50)])
        yield store


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(query=st.text(max_size=60), limit=st.integers(1, 100), of_a=st.booleans())
async def test_no_query_finds_a_foreign_point(
    store: QdrantVectorStore, query: str, limit: int, of_a: bool
) -> None:
    tenant, name = (A, "Alice") if of_a else (B, "Bob")
    hits = await store.search(tenant, make_query(query), limit)
    assert all(hit.user.name.startswith(name) for hit in hits)


async def test_same_id_is_another_user_in_every_read_and_write(store: QdrantVectorStore) -> None:
    found = await store.get(A, "u-1"), await store.get(B, "u-1")
    assert [user.name for user in found if user] == ["Alice 1", "Bob 1"]
    assert await store.revisions([UserKey(A, "u-1"), UserKey(B, "u-1")]) == [at(1), at(7)]
    await store.apply([make_upsert(B, "u-1", "Robert", revision=8)])
    assert (user := await store.get(A, "u-1")) is not None
    assert user.name == "Alice 1"
    await store.delete_tenant(B)
    assert (await store.count(A), await store.count(B)) == (50, 0)


async def test_foreign_hit_is_dropped_logged_and_never_served(
    store: QdrantVectorStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = store._http.read

    async def lied_to(path: str, body: bytes) -> bytes:
        # The server is asked as tenant B; the caller is tenant A.
        assert A.tenant_uid.encode() in body
        return await read(path, body.replace(A.tenant_uid.encode(), B.tenant_uid.encode()))

    monkeypatch.setattr(store._http, "read", lied_to)
    with structlog.testing.capture_logs() as logs:
        assert await store.search(A, make_query("bob"), 10) == []
    assert {line["event"] for line in logs} == {"foreign_point_dropped"}


async def test_foreign_user_under_ones_own_id_is_not_shown(
    store: QdrantVectorStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = store._http.read

    async def lied_to(path: str, body: bytes) -> bytes:
        answer = orjson.loads(await read(path, body))
        for point in answer["result"]:
            point["payload"]["tenantUid"] = B.tenant_uid
        return orjson.dumps(answer)

    monkeypatch.setattr(store._http, "read", lied_to)
    assert await store.get(A, "u-1") is None


async def test_marker_is_nobody_whatever_vectors_it_has(store: QdrantVectorStore) -> None:
    """As one of an earlier version, which left a deleted user its vectors."""
    body = orjson.dumps(
        {"payload": {"deleted": True, "deletedAt": 1}, "points": [point_text(A, "u-7")]}
    )
    path = f"/collections/{store._opened().name}/points/payload?wait=true"
    await store._http.call("POST", path, body)
    found = {hit.user.user_id for hit in await store.search(A, make_query("Alice 7"), 50)}
    assert len(found) == 49
    assert "u-7" not in found
    assert await store.get(A, "u-7") is None
    assert (await store.count(A), await store.count(B)) == (49, 50)
    assert await store.footprint(A) == 50


async def test_counts_are_exact_and_of_one_tenant_at_once(store: QdrantVectorStore) -> None:
    await store.apply([make_delete(A, f"u-{n}", 2) for n in range(20)])
    # An estimate would still have some of them.
    assert (await store.count(A), await store.count(B)) == (30, 50)
    assert (await store.footprint(A), await store.footprint(B)) == (50, 50)


async def test_search_that_names_no_tenant_is_refused_by_the_server(
    store: QdrantVectorStore,
) -> None:
    vector = make_query("alice").dense.tolist()
    path = f"{store._url}/collections/{store._opened().name}/points/query"
    body = {"query": vector, "using": "dense", "limit": 3}
    async with store._http._session.post(path, data=orjson.dumps(body)) as answer:
        assert answer.status in (400, 403)
