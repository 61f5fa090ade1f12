"""What only the server does: collections that are not ours, aliases that move, keys, absence."""

import asyncio
from typing import Any

import aiohttp
import pytest
from qdrant_client import AsyncQdrantClient, models  # noqa: TID251 - the outsider's view

from ai_gateway.vector_store.port import StoreMismatch, StoreRefused, StoreUnavailable
from ai_gateway.vector_store.qdrant import QdrantVectorStore
from ai_gateway.vector_store.qdrant_layout import QdrantLayout
from builders import DENSE, at, make_context, make_delete, make_query, make_upsert
from processes import free_ports
from qdrant_server import open_store, own_alias, own_collection, qdrant_url
from waiting import eventually

A, B = make_context("tenant-a"), make_context("tenant-b")


@pytest.mark.parametrize(
    ("given", "named"), [({"embedder_name": "other-v9"}, "embedder"), ({"log_id": "2"}, "log")]
)
async def test_collection_of_something_else_is_refused_with_the_way_out(
    given: dict[str, Any], named: str
) -> None:
    async with own_alias() as alias:
        store = await open_store(alias)
        await store.close()
        with pytest.raises(StoreMismatch, match=f"{named}.*mesh reindex"):
            await open_store(alias, **given)


async def test_collection_opened_again_is_the_same_one() -> None:
    async with own_alias() as alias:
        store = await open_store(alias)
        first = store.collection_id
        await store.apply([make_upsert(A)])
        await store.close()
        again = await open_store(alias)
        assert again.collection_id == first
        assert await again.count(A) == 1
        await again.close()


async def test_collection_that_somebody_changed_is_refused() -> None:
    async with own_alias() as alias:
        await (await open_store(alias)).close()
        client = AsyncQdrantClient(url=qdrant_url(), check_compatibility=False)
        await client.delete_payload_index(f"{alias}_1", "tenantUid")
        await client.close()
        with pytest.raises(StoreMismatch, match="no tenant index"):
            await open_store(alias)


async def test_collection_of_somebody_else_is_refused() -> None:
    async with own_alias() as alias:
        client = AsyncQdrantClient(url=qdrant_url(), check_compatibility=False)
        size = models.VectorParams(size=4, distance=models.Distance.DOT)
        await client.create_collection(f"{alias}_1", vectors_config=size)
        await client.close()
        layout = QdrantLayout(qdrant_url(), None, alias)
        await layout.point_alias_to(f"{alias}_1")
        await layout.close()
        with pytest.raises(StoreMismatch, match=r"no cosine vector.*mesh reindex"):
            await open_store(alias)


async def test_processes_that_start_together_use_one_collection() -> None:
    async with own_alias() as alias:
        stores = await asyncio.gather(*(open_store(alias) for _ in range(5)))
        assert len({store.collection_id for store in stores}) == 1
        await asyncio.gather(*(store.close() for store in stores))


async def test_search_follows_the_alias_within_seconds() -> None:
    async with own_alias() as alias:
        store = await open_store(alias)
        await store.apply([make_upsert(A, name="Old")])
        layout = QdrantLayout(qdrant_url(), None, alias)
        made = await layout.create(2, DENSE.name, DENSE.dimension, "log-1")
        await layout.point_alias_to(made.name)
        await layout.close()
        await eventually(lambda: store.collection_id == made.meta.collection_id)
        assert await store.count(A) == 0
        await store.close()


async def test_erasure_reaches_the_replaced_collection_and_the_next_one() -> None:
    async with own_alias() as alias:
        old = await open_store(alias)
        await old.apply([make_upsert(A), make_upsert(B)])
        layout = QdrantLayout(qdrant_url(), None, alias)
        made = await layout.create(2, DENSE.name, DENSE.dimension, "log-1")
        following = QdrantVectorStore.of(qdrant_url(), None, alias, made)
        await following.apply([make_upsert(A), make_upsert(A, "u-2")])
        for store in (old, following):
            assert await store.footprint(A) == 3
        await old.delete_tenant(A)
        for store in (old, following):
            assert (await store.footprint(A), await store.footprint(B)) == (0, 1)
        await layout.close()
        await following.close()
        await old.close()


async def test_server_without_a_collection_holds_nothing_of_anybody() -> None:
    async with own_alias() as alias:
        searching = await QdrantVectorStore.open(
            qdrant_url(), alias=alias, embedder_name=DENSE.name, dimension=DENSE.dimension
        )
        await searching.delete_tenant(A)
        assert await searching.footprint(A) == 0
        await searching.close()


async def test_process_of_the_old_embedder_serves_until_its_collection_is_gone() -> None:
    async with own_alias() as alias:
        store = await open_store(alias)
        await store.apply([make_upsert(A)])
        layout = QdrantLayout(qdrant_url(), None, alias)
        made = await layout.create(2, "other-v9", 8, "log-1")
        await layout.point_alias_to(made.name)
        await eventually(lambda: store._superseded is not None)
        assert await store.check() is None
        assert len(await store.search(A, make_query("alice"), 5)) == 1
        await layout.drop(f"{alias}_1")
        await layout.close()
        await eventually(lambda: store.collection_id == "")
        assert "other-v9" in (await store.check() or "")
        await store.close()


async def test_searching_process_may_come_before_the_collection() -> None:
    async with own_alias() as alias:
        searching = await QdrantVectorStore.open(
            qdrant_url(), alias=alias, embedder_name=DENSE.name, dimension=DENSE.dimension
        )
        with pytest.raises(StoreUnavailable, match="no collection yet"):
            await searching.search(A, make_query("alice"), 5)
        filling = await open_store(alias)
        await filling.apply([make_upsert(A)])
        async with asyncio.timeout(10):
            while await searching.check() is not None:
                await asyncio.sleep(0.05)
        assert await searching.count(A) == 1
        await filling.close()
        await searching.close()


async def test_server_that_is_away_is_said_to_be() -> None:
    (port,) = free_ports(1)
    with pytest.raises(StoreUnavailable, match="does not answer"):
        await QdrantVectorStore.open(
            f"http://127.0.0.1:{port}",
            embedder_name=DENSE.name,
            dimension=DENSE.dimension,
            log_id="log-1",
        )


async def test_request_that_is_wrong_is_no_outage() -> None:
    async with own_collection() as store:
        change = make_upsert(A)
        too_long = DENSE.vectors(["x"]).repeat(2, axis=1)[0]
        wrong = type(change)(A, change.user, at(2), too_long, change.lexical)
        with pytest.raises(StoreRefused):
            await store.apply([wrong])


async def test_server_itself_refuses_a_vector_search_without_a_tenant() -> None:
    async with own_alias() as alias:
        store = await open_store(alias)
        await store.apply([make_upsert(A)])
        vector = make_query("alice").dense.tolist()
        body = {"query": vector, "using": "dense", "limit": 5, "with_payload": True}
        async with (
            aiohttp.ClientSession() as http,
            http.post(f"{qdrant_url()}/collections/{alias}/points/query", json=body) as answer,
        ):
            content = await answer.text()
        await store.close()
        # By version; sparse searches are not covered by the rule.
        assert answer.status in (400, 403), content


async def test_point_that_another_tenant_owns_is_dropped_on_the_way_out() -> None:
    async with own_alias() as alias:
        store = await open_store(alias)
        await store.apply([make_upsert(A)])
        # Somebody writes past us: a point under A's id with B's uid.
        client = AsyncQdrantClient(url=qdrant_url(), check_compatibility=False)
        everything = models.Filter(must=[models.HasVectorCondition(has_vector="dense")])
        await client.set_payload(alias, {"tenantUid": B.tenant_uid}, points=everything, wait=True)
        await client.close()
        assert await store.get(A, "u-1") is None
        assert list(await store.search(A, make_query("alice"), 5)) == []
        await store.close()


async def test_users_deleted_from_optimised_segments_are_found_by_no_read() -> None:
    """An upsert onto a point of an optimised segment keeps the vectors that it leaves out (Qdrant
    1.18.3): so a deletion has to remove them, or the user is searchable for ever."""
    async with own_alias() as alias:
        store = await open_store(alias)
        users = [f"u-{n}" for n in range(2000)]
        client = AsyncQdrantClient(url=qdrant_url(), check_compatibility=False)
        # In kilobytes of vectors: each of these segments is large enough to be optimised.
        threshold = models.OptimizersConfigDiff(indexing_threshold=100)
        await client.update_collection(f"{alias}_1", optimizers_config=threshold)
        await store.apply([make_upsert(A, user, f"Alice {user}") for user in users])
        await _until_optimised(client, f"{alias}_1")
        await client.close()
        gone, back = users[10:40], users[10:13]
        await store.apply([make_delete(A, user, 2) for user in gone])
        await store.apply([make_upsert(A, user, f"Alice {user}", revision=3) for user in back])
        missing = set(gone) - set(back)
        # Each by its own name, which is nearest to it of all.
        for user in gone:
            found = {h.user.user_id for h in await store.search(A, make_query(f"Alice {user}"), 20)}
            assert not found & missing
            assert (user in found) == (user in back)
            assert (await store.get(A, user) is None) == (user in missing)
        assert await store.count(A) == len(users) - len(missing)
        assert await store.footprint(A) == len(users)
        await store.close()


async def _until_optimised(client: AsyncQdrantClient, collection: str) -> None:
    """Return once the server's optimizer has nothing left to do. A stand-in that has none keeps
    what it does of its own accord."""
    async with asyncio.timeout(60):
        while True:
            info = await client.get_collection(collection)
            if info.status == models.CollectionStatus.GREEN:
                return
            await asyncio.sleep(0.1)


async def test_late_writer_cannot_put_an_old_state_back() -> None:
    """A zombie: it read its events before it lost the partition, and writes them after."""
    async with own_alias() as alias:
        zombie, owner = await open_store(alias), await open_store(alias)
        users = [f"u-{n}" for n in range(100)]
        held = [make_upsert(A, user, "Old", revision=n) for n, user in enumerate(users)]
        await owner.apply(held)
        await owner.apply(
            [make_upsert(A, user, "New", revision=1000 + n) for n, user in enumerate(users)]
        )
        await asyncio.gather(*(zombie.apply(held) for _ in range(3)))
        found = [await owner.get(A, user) for user in users]
        assert {user.name for user in found if user is not None} == {"New"}
        assert None not in found
        await zombie.close()
        await owner.close()
