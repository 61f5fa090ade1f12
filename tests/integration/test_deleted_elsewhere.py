"""A deleted user whose records lie elsewhere than the deletion, and an index made anew.

On Kafka compaction removes the deletion after a day, and what came before it under the same key in
the same partition. What lies under another key, or in another partition, stays for ever.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import structlog
from msgspec.structs import replace
from qdrant_client import AsyncQdrantClient, models  # noqa: TID251 - the outsider's view

from ai_gateway.embedding.features import FeatureExtractor
from ai_gateway.embedding.hash import HashEmbedder
from ai_gateway.embedding.lexical import LexicalEncoder
from ai_gateway.embedding.vectorizer import Vectorizer
from ai_gateway.indexer import Indexer
from ai_gateway.indexing import indexing
from ai_gateway.reindexing import reindex
from ai_gateway.vector_store import qdrant, qdrant_rebuild
from ai_gateway.vector_store.port import Delete, UserKey
from ai_gateway.vector_store.qdrant import QdrantVectorStore
from ai_gateway.vector_store.qdrant_layout import Meta, QdrantLayout
from ai_gateway.vector_store.qdrant_rebuild import QdrantRebuild
from builders import DENSE, at, make_context, make_delete, make_query
from meshkit.clock import unix_ms
from meshkit.events.envelope import EventType, UserData, UserEvent, record_key, to_record
from meshkit.events.log import USER_EVENTS, EventLog, NewRecord, Position
from meshkit.events.memory_log import MemoryEventLog
from meshkit.events.partition import partition_of
from qdrant_server import open_store, own_alias, qdrant_url

pytestmark = pytest.mark.timeout(90)

A = make_context("tenant-a")
Placed = Callable[[NewRecord], NewRecord]


def created(user_id: str, name: str = "Alice") -> NewRecord:
    data = UserData("tenant-a", user_id, f"{user_id}@example.com", f"{name} {user_id}")
    return to_record(UserEvent("e", EventType.CREATED, A, user_id, "", data))


def deleted(user_id: str) -> NewRecord:
    return to_record(UserEvent("d", EventType.DELETED, A, user_id, "", None))


def in_its_place(record: NewRecord) -> NewRecord:
    return record


def in_another_partition(record: NewRecord) -> NewRecord:
    return replace(record, partition=(partition_of(record.key, 12) + 5) % 12)


def under_another_key(record: NewRecord) -> NewRecord:
    return replace(record, key=b"crm-" + record.key)


def indexer(log: EventLog, store: QdrantVectorStore) -> Indexer:
    extractor = FeatureExtractor()
    vectorizer = Vectorizer(HashEmbedder(extractor), LexicalEncoder(extractor))
    return Indexer(log, store, vectorizer, lambda _: A)


async def index(log: MemoryEventLog, store: QdrantVectorStore, users: set[str]) -> None:
    """Index until these are the users there are."""
    async with indexing(lambda: indexer(log, store)), asyncio.timeout(20):
        while not (await found(store) == users and await store.count(A) == len(users)):
            await asyncio.sleep(0.02)


async def found(store: QdrantVectorStore) -> set[str]:
    return {hit.user.user_id for hit in await store.search(A, make_query("alice"), 50)}


def forget_tombstones(log: MemoryEventLog) -> None:
    """Do what compaction does a day after a deletion: it goes, and nothing follows it here."""
    for partition in log.partitions(USER_EVENTS):
        while partition and partition[-1].value is None:
            partition.pop()


async def sweep(store: QdrantVectorStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sweep as if all markers were a day old."""
    with monkeypatch.context() as patch:
        patch.setattr(qdrant, "_MARKER_RETENTION_MS", -60_000)
        await store._remove_old_markers()


@asynccontextmanager
async def next_collection(alias: str, log_id: str = "log-1") -> AsyncIterator[QdrantRebuild]:
    rebuild = await QdrantRebuild.open(
        qdrant_url(),
        api_key=None,
        alias=alias,
        embedder_name=DENSE.name,
        dimension=DENSE.dimension,
        log_id=log_id,
    )
    try:
        yield rebuild
    finally:
        await rebuild.close()


async def make_anew(log: MemoryEventLog, rebuild: QdrantRebuild) -> None:
    extractor = FeatureExtractor()
    vectorizer = Vectorizer(HashEmbedder(extractor), LexicalEncoder(extractor))
    await reindex(log, rebuild, vectorizer, lambda _: A, lambda done, total: None)


async def meta(alias: str, number: int) -> Meta:
    layout = QdrantLayout(qdrant_url(), None, alias)
    try:
        return (await layout.read(layout.name(number))).meta
    finally:
        await layout.close()


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> MemoryEventLog:
    monkeypatch.setattr(QdrantRebuild, "handover_seconds", 0.0)
    return MemoryEventLog()


@pytest.mark.parametrize("placed", [under_another_key, in_another_partition])
async def test_deleted_user_stays_deleted_when_the_log_has_forgotten_the_deletion(
    log: MemoryEventLog, placed: Placed, monkeypatch: pytest.MonkeyPatch
) -> None:
    await log.publish_many(USER_EVENTS, [placed(created("gone")), created("stays")])
    async with own_alias() as alias:
        store = await open_store(alias)
        await index(log, store, {"gone", "stays"})
        await log.publish(USER_EVENTS, deleted("gone"))
        await index(log, store, {"stays"})
        await sweep(store, monkeypatch)
        forget_tombstones(log)
        for number in (2, 3):
            async with next_collection(alias) as rebuild:
                await make_anew(log, rebuild)
                assert await found(rebuild.store) == {"stays"}
                assert await rebuild.store.get(A, "gone") is None
                assert await rebuild.store.count(A) == 1
                await sweep(rebuild.store, monkeypatch)
            assert (await meta(alias, number)).scattered
        await store.close()


async def test_markers_are_swept_where_all_records_lie_in_their_places(
    log: MemoryEventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    await log.publish_many(USER_EVENTS, [created("gone"), created("stays")])
    async with own_alias() as alias:
        store = await open_store(alias)
        await index(log, store, {"gone", "stays"})
        await log.publish(USER_EVENTS, deleted("gone"))
        await index(log, store, {"stays"})
        # The log still has the deletion, and the store its marker, for a day.
        await store._remove_old_markers()
        assert await store.footprint(A) == 2
        async with next_collection(alias) as rebuild:
            await make_anew(log, rebuild)
            assert await found(rebuild.store) == {"stays"}
        for number in (1, 2):
            assert not (await meta(alias, number)).scattered
        await sweep(store, monkeypatch)
        # The user, and both points in the next collection.
        assert await store.footprint(A) == 1 + 2
        await store.close()


async def test_user_who_came_back_is_there_after_markers_were_copied(log: MemoryEventLog) -> None:
    await log.publish_many(USER_EVENTS, [under_another_key(created("back")), created("stays")])
    async with own_alias() as alias:
        store = await open_store(alias)
        await index(log, store, {"back", "stays"})
        await log.publish(USER_EVENTS, deleted("back"))
        await index(log, store, {"stays"})
        async with next_collection(alias) as rebuild:
            assert await rebuild.copy_markers() == 1
            await log.publish(USER_EVENTS, created("back", "Alice again"))
            await make_anew(log, rebuild)
            assert await found(rebuild.store) == {"back", "stays"}
            user = await rebuild.store.get(A, "back")
            assert user is not None
            assert user.name == "Alice again back"
        await store.close()


async def test_interrupted_run_copies_the_markers_again(log: MemoryEventLog) -> None:
    async with own_alias() as alias:
        store = await open_store(alias)
        await store.keep_markers("a test")
        await store.apply([make_delete(A, f"u-{n}", n + 1) for n in range(2500)])
        for _ in range(2):
            async with next_collection(alias) as rebuild:
                assert await rebuild.copy_markers() == 2500
                users = [UserKey(A, f"u-{n}") for n in (0, 1300, 2499)]
                assert await rebuild.store.revisions(users) == [at(1), at(1301), at(2500)]
                assert await rebuild.store.footprint(A) == 5000
                assert await rebuild.store.count(A) == 0
        await store.close()


class SlowRebuild:
    """A rebuild in whose filling a user is deleted, and the log forgets it again."""

    def __init__(self, rebuild: QdrantRebuild, old: QdrantVectorStore) -> None:
        self.store, self.handover_seconds = rebuild.store, 0.0
        self._rebuild, self._old, self._filled = rebuild, old, False

    async def copy_markers(self) -> int:
        if self._filled:
            deleted_at = Position(partition_of(record_key(A, "gone"), 12), 0, unix_ms())
            await self._old.apply([Delete(A, "gone", deleted_at)])
        self._filled = True
        return await self._rebuild.copy_markers()

    async def switch(self) -> str:
        return await self._rebuild.switch()

    async def drop_old(self) -> None:
        await self._rebuild.drop_old()

    async def close(self) -> None:
        await self._rebuild.close()


async def test_deletion_that_the_log_forgets_while_it_is_read_is_kept(log: MemoryEventLog) -> None:
    await log.publish_many(USER_EVENTS, [in_another_partition(created("gone")), created("stays")])
    async with own_alias() as alias:
        store = await open_store(alias)
        await index(log, store, {"gone", "stays"})
        async with next_collection(alias) as rebuild:
            extractor = FeatureExtractor()
            vectorizer = Vectorizer(HashEmbedder(extractor), LexicalEncoder(extractor))
            slow = SlowRebuild(rebuild, store)
            await reindex(log, slow, vectorizer, lambda _: A, lambda done, total: None)
            assert await found(rebuild.store) == {"stays"}
        await store.close()


async def test_markers_are_copied_once_and_then_the_new_ones(
    log: MemoryEventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(qdrant_rebuild, "_CLOCK_ERROR_MS", 0)
    async with own_alias() as alias:
        store = await open_store(alias)
        await store.apply([make_delete(A, "u-1"), make_delete(A, "u-2")])
        await asyncio.sleep(0.05)
        async with next_collection(alias) as rebuild:
            assert await rebuild.copy_markers() == 2
            await store.apply([make_delete(A, "u-3")])
            assert await rebuild.copy_markers() == 1
        await store.close()


async def test_markers_of_another_log_or_that_cannot_be_read_are_left(log: MemoryEventLog) -> None:
    async with own_alias() as alias:
        store = await open_store(alias)
        await store.keep_markers("a test")
        await store.apply([make_delete(A, "u-1"), make_delete(A, "u-2")])
        async with next_collection(alias, "log-2") as rebuild:
            assert await rebuild.copy_markers() == 0
            assert not (await meta(alias, 2)).scattered
        client = AsyncQdrantClient(url=qdrant_url(), check_compatibility=False)
        damaged = models.Filter(
            must=[models.FieldCondition(key="userId", match=models.MatchValue(value="u-1"))]
        )
        await client.create_payload_index(
            f"{alias}_1", "userId", models.PayloadSchemaType.KEYWORD, wait=True
        )
        await client.set_payload(f"{alias}_1", {"tenantId": "No Tenant"}, points=damaged, wait=True)
        await client.close()
        async with next_collection(alias) as rebuild:
            with structlog.testing.capture_logs() as logs:
                assert await rebuild.copy_markers() == 1
            assert ("markers_not_read", 1) in {(one["event"], one.get("markers")) for one in logs}
        await store.close()


async def test_markers_of_a_collection_that_somebody_changed_are_copied_as_far_as_they_can_be(
    log: MemoryEventLog,
) -> None:
    async with own_alias() as alias:
        store = await open_store(alias)
        await store.keep_markers("a test")
        await store.apply([make_delete(A, "u-1")])
        client = AsyncQdrantClient(url=qdrant_url(), check_compatibility=False)
        await client.delete_payload_index(f"{alias}_1", "tenantUid")
        async with next_collection(alias) as rebuild:
            assert await rebuild.copy_markers() == 1
        # Without this index the server refuses to look for them.
        await client.delete_payload_index(f"{alias}_1", "deletedAt")
        async with next_collection(alias) as rebuild:
            with structlog.testing.capture_logs() as logs:
                assert await rebuild.copy_markers() == 0
            assert "markers_not_copied" in {line["event"] for line in logs}
        assert (await meta(alias, 2)).scattered
        await client.close()
        await store.close()


async def test_first_collection_has_no_markers_to_copy() -> None:
    async with own_alias() as alias, next_collection(alias) as rebuild:
        assert await rebuild.copy_markers() == 0


async def test_flag_is_set_by_several_at_once_and_seen_by_the_others_sweep(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with own_alias() as alias:
        stores = [await open_store(alias) for _ in range(4)]
        before = await meta(alias, 1)
        sweeper = stores.pop()
        await sweeper.apply([make_delete(A, "u-1")])
        with structlog.testing.capture_logs() as logs:
            await asyncio.gather(*(store.keep_markers("a test") for store in stores))
            await stores[0].keep_markers("a test")
            for _ in range(2):
                await sweep(sweeper, monkeypatch)
        assert await meta(alias, 1) == replace(before, scattered=True)
        assert await sweeper.footprint(A) == 1
        events = [line["event"] for line in logs]
        assert events.count("deletion_markers_kept") == 3
        assert events.count("deletion_markers_not_removed") == 1
        for store in [*stores, sweeper]:
            await store.close()


async def test_more_partitions_than_at_first_flag_this_collection_and_the_next(
    log: MemoryEventLog,
) -> None:
    async with own_alias() as alias:
        store = await open_store(alias)
        for noted in (12, 12, 11):
            await store.note_partitions(noted)
        assert ((await meta(alias, 1)).scattered, (await meta(alias, 1)).partitions) == (False, 12)
        # The indexers in service have not noticed yet.
        async with next_collection(alias) as rebuild:
            await rebuild.copy_markers()
            await rebuild.store.note_partitions(16)
        assert (await meta(alias, 2)).scattered
        await store.note_partitions(16)
        assert (await meta(alias, 1)).scattered
        await store.close()
