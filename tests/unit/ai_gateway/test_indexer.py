"""From the log to the store: nothing lost, nothing twice, one bad event costs only itself."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import pytest
from msgspec.structs import replace

from ai_gateway.embedding.features import FeatureExtractor
from ai_gateway.embedding.hash import HashEmbedder
from ai_gateway.embedding.lexical import LexicalEncoder
from ai_gateway.embedding.vectorizer import Vectorizer
from ai_gateway.indexer import GROUP, Indexer
from ai_gateway.vector_store.memory import MemoryVectorStore
from ai_gateway.vector_store.port import Change, StoreUnavailable, Upsert
from builders import make_context
from meshkit.events.envelope import EventType, UserData, UserEvent, to_record
from meshkit.events.log import USER_EVENTS, USER_EVENTS_DLQ, NewRecord
from meshkit.events.memory_log import MemoryEventLog
from meshkit.telemetry import metrics
from meshkit.tenancy.identity import TenantContext
from waiting import eventually

A, B = make_context("tenant-a"), make_context("tenant-b")


def make_record(user_id: str, name: str = "Alice", tenant: TenantContext = A) -> NewRecord:
    data = UserData(tenant.tenant_id, user_id, f"{user_id}@example.com", name)
    return to_record(UserEvent("e", EventType.CREATED, tenant, user_id, "", data))


class Harness:
    """An indexer over adapters in memory, whose clock never makes a commit due by itself."""

    def __init__(self, store: MemoryVectorStore | None = None) -> None:
        self.log = MemoryEventLog()
        self.store = store or MemoryVectorStore()
        self.now = 0.0
        self.fenced: set[str] = set()
        extractor = FeatureExtractor()
        self.vectorizer = Vectorizer(HashEmbedder(extractor), LexicalEncoder(extractor))

    def indexer(self) -> Indexer:
        return Indexer(
            self.log,
            self.store,
            self.vectorizer,
            lambda tenant_id: A if tenant_id == "tenant-a" else None,
            fenced=self.fenced,
            clock=lambda: self.now,
        )

    async def run_until(self, condition: Callable[[], Any]) -> None:
        task = asyncio.create_task(self.indexer().run())
        async with asyncio.timeout(10):
            while not condition():
                assert not task.done() or task.result()
                await asyncio.sleep(0.001)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    def stored(self) -> dict[str, str]:
        return {u.user.user_id: u.user.name for u in self.store._users(A)}

    def dead_letters(self) -> list[Any]:
        return self.log.partitions(USER_EVENTS_DLQ)[0]


async def test_stop_commits_what_was_indexed() -> None:
    mesh = Harness()
    await mesh.log.publish_many(USER_EVENTS, [make_record(f"u{n}") for n in range(20)])
    await mesh.run_until(lambda: len(mesh.stored()) == 20)
    assert (await mesh.log.lag(USER_EVENTS, f"{GROUP}.memory")).records == 0


async def test_restart_without_commit_reads_again_and_changes_nothing() -> None:
    mesh = Harness()
    await mesh.log.publish_many(USER_EVENTS, [make_record(f"u{n}") for n in range(20)])
    await mesh.run_until(lambda: len(mesh.stored()) == 20)
    mesh.log._committed.clear()
    before = mesh.stored()
    await mesh.log.publish(USER_EVENTS, make_record("last"))
    await mesh.run_until(lambda: "last" in mesh.stored())
    assert mesh.stored() == before | {"last": "Alice"}


async def test_bad_event_goes_to_the_dead_letters_with_all_it_had() -> None:
    mesh = Harness()
    bad = NewRecord(b"some-key", b"\xff not json", (("ce_specversion", b"1.0"), ("x", b"y")))
    await mesh.log.publish(USER_EVENTS, make_record("u1"))
    place = await mesh.log.publish(USER_EVENTS, bad)
    await mesh.log.publish(USER_EVENTS, make_record("u2"))
    await mesh.run_until(lambda: len(mesh.stored()) == 2 and mesh.dead_letters())
    (dead,) = mesh.dead_letters()
    headers = dict(dead.headers)
    assert (dead.key, dead.value, headers["x"]) == (bad.key, bad.value, b"y")
    assert b"event type" in headers["mesh_dlq_reason"]
    source = f"{USER_EVENTS}/{place.partition}/{place.offset}"
    assert headers["mesh_dlq_source"].decode() == source
    assert headers["mesh_dlq_attempts"] == b"1"


class FlakyStore(MemoryVectorStore):
    """A store that is away for the first calls."""

    def __init__(self, failures: int) -> None:
        super().__init__()
        self.failures = failures

    async def apply(self, changes: Sequence[Change]) -> None:
        if self.failures:
            self.failures -= 1
            raise StoreUnavailable("away")
        await super().apply(changes)


async def test_store_that_is_away_is_waited_for_and_nothing_is_dead_lettered() -> None:
    mesh = Harness(FlakyStore(3))
    await mesh.log.publish_many(USER_EVENTS, [make_record(f"u{n}") for n in range(5)])
    await mesh.run_until(lambda: len(mesh.stored()) == 5)
    assert mesh.dead_letters() == []


class PickyStore(MemoryVectorStore):
    """A store that cannot take one user, whatever else is in the batch."""

    async def apply(self, changes: Sequence[Change]) -> None:
        if any(isinstance(c, Upsert) and c.user.user_id == "poison" for c in changes):
            raise ValueError("this one breaks me")
        await super().apply(changes)


async def test_poison_in_a_batch_costs_only_itself() -> None:
    mesh = Harness(PickyStore())
    names = [f"u{n}" for n in range(200)]
    names.insert(117, "poison")
    await mesh.log.publish_many(USER_EVENTS, [make_record(name) for name in names])
    await mesh.run_until(lambda: len(mesh.stored()) == 200 and mesh.dead_letters())
    (dead,) = mesh.dead_letters()
    assert dead.key.endswith(b"/poison")


class ReplacedStore(MemoryVectorStore):
    """A store whose collection can be lost and made anew."""

    name = "first"

    @property
    def collection_id(self) -> str:
        return self.name


async def test_new_collection_is_filled_from_the_start_of_the_log() -> None:
    store = ReplacedStore()
    mesh = Harness(store)
    await mesh.log.publish_many(USER_EVENTS, [make_record(f"u{n}") for n in range(20)])
    await mesh.run_until(lambda: len(mesh.stored()) == 20)
    store._points.clear()
    store.name = "second"
    await mesh.run_until(lambda: len(mesh.stored()) == 20)


async def test_collection_replaced_while_running_ends_the_run() -> None:
    store = ReplacedStore()
    mesh = Harness(store)
    await mesh.log.publish(USER_EVENTS, make_record("u1"))
    task = asyncio.create_task(mesh.indexer().run())
    async with asyncio.timeout(5):
        while not mesh.stored():
            await asyncio.sleep(0.001)
        store.name = "second"
        await task
    with pytest.raises(KeyError):
        # Nothing of the old collection's progress may be committed for the new one.
        mesh.log._committed[USER_EVENTS, f"{GROUP}.second"]


def fenced_so_far() -> float:
    fenced: float = metrics.EVENTS_FENCED._value.get()
    return fenced


async def test_tombstone_of_a_tenant_that_is_gone_deletes_what_was_read_before() -> None:
    """Its data was retained, and a reindexing reads the log from the start."""
    mesh = Harness()
    records = [make_record("u-1"), make_record("u-2"), NewRecord(b"uid-of-tenant-a/u-1", None)]
    await mesh.log.publish_many(USER_EVENTS, [replace(r, partition=0) for r in records])
    await mesh.run_until(lambda: list(mesh.stored()) == ["u-2"])
    assert mesh.dead_letters() == []


async def test_tombstone_of_a_tenant_that_nobody_knows_is_set_aside() -> None:
    mesh = Harness()
    await mesh.log.publish(USER_EVENTS, NewRecord(b"uid-of-tenant-a/u-1", None))
    await mesh.run_until(mesh.dead_letters)
    assert b"adoptUid" in dict(mesh.dead_letters()[0].headers)["mesh_dlq_reason"]


async def test_event_of_a_fenced_tenant_is_passed_over_counted_and_committed() -> None:
    mesh = Harness()
    mesh.fenced.add(A.tenant_uid)
    gone = to_record(UserEvent("e", EventType.DELETED, A, "u9", "", None))
    bare = NewRecord(b"", b'{"tenantId": "tenant-a", "email": "a@example.com", "name": "A"}')
    await mesh.log.publish_many(USER_EVENTS, [make_record("u1"), gone, bare])
    await mesh.log.publish(USER_EVENTS, make_record("u1", tenant=B))
    before = fenced_so_far()
    await mesh.run_until(lambda: fenced_so_far() == before + 3 and mesh.store._users(B))
    assert (await mesh.store.footprint(A), await mesh.store.footprint(B)) == (0, 1)
    assert mesh.dead_letters() == []
    assert (await mesh.log.lag(USER_EVENTS, f"{GROUP}.memory")).records == 0


async def test_bad_event_of_a_fenced_tenant_leaves_no_dead_letter() -> None:
    mesh = Harness()
    mesh.fenced.add(A.tenant_uid)
    bad = NewRecord(b"uid-of-tenant-a/u1", b"\xff secret", (("ce_specversion", b"1.0"),))
    await mesh.log.publish(USER_EVENTS, bad)
    await mesh.log.publish(USER_EVENTS, make_record("u1", tenant=B))
    before = fenced_so_far()
    await mesh.run_until(lambda: fenced_so_far() == before + 1 and mesh.store._users(B))
    assert mesh.dead_letters() == []


async def test_another_incarnation_of_a_fenced_tenant_is_indexed() -> None:
    mesh = Harness()
    mesh.fenced.add(A.tenant_uid)
    again = make_context("tenant-a", "uid-of-tenant-a1")
    await mesh.log.publish_many(USER_EVENTS, [make_record("u1"), make_record("u1", tenant=again)])
    await mesh.run_until(lambda: mesh.store._users(again))
    assert await mesh.store.footprint(A) == 0


class GatedStore(MemoryVectorStore):
    """A store that holds every write at its gate."""

    def __init__(self) -> None:
        super().__init__()
        self.at_the_gate = 0
        self.gate = asyncio.Event()

    async def apply(self, changes: Sequence[Change]) -> None:
        self.at_the_gate += 1
        await self.gate.wait()
        await super().apply(changes)


async def test_indexer_is_busy_with_a_tenant_until_what_passed_the_fence_is_stored() -> None:
    store = GatedStore()
    mesh = Harness(store)
    indexer = mesh.indexer()
    task = asyncio.create_task(indexer.run())
    assert not indexer.busy_with(A.tenant_uid)
    await mesh.log.publish(USER_EVENTS, make_record("before"))
    await eventually(lambda: store.at_the_gate == 1)
    mesh.fenced.add(A.tenant_uid)
    await mesh.log.publish(USER_EVENTS, make_record("after"))
    assert indexer.busy_with(A.tenant_uid)
    assert not indexer.busy_with(B.tenant_uid)
    store.gate.set()
    await eventually(lambda: not indexer.busy_with(A.tenant_uid))
    assert set(mesh.stored()) == {"before"}
    await store.delete_tenant(A)
    # What waited beside it has been read by the time that another tenant's event is stored.
    await mesh.log.publish(USER_EVENTS, make_record("u1", tenant=B))
    await eventually(lambda: bool(store._users(B)))
    assert await store.footprint(A) == 0
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def test_batch_that_only_waits_for_the_one_before_counts_as_busy() -> None:
    store = GatedStore()
    mesh = Harness(store)
    indexer = mesh.indexer()
    task = asyncio.create_task(indexer.run())
    # Two may be at the store while only backlogs are worked off.
    for number in (1, 2):
        await mesh.log.publish(USER_EVENTS, make_record(f"u{number}", tenant=B))
        await eventually(lambda number=number: store.at_the_gate == number)  # type: ignore[misc]
    await mesh.log.publish(USER_EVENTS, make_record("u1"))
    await eventually(lambda: indexer.busy_with(A.tenant_uid))
    assert store.at_the_gate == 2
    mesh.fenced.add(A.tenant_uid)
    store.gate.set()
    await eventually(lambda: not indexer.busy_with(A.tenant_uid))
    assert set(mesh.stored()) == {"u1"}
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


class OvertakingStore(MemoryVectorStore):
    """A store that holds its first write until another one is through."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = 0
        self.second = asyncio.Event()

    async def apply(self, changes: Sequence[Change]) -> None:
        self.begun += 1
        if self.begun == 1:
            await self.second.wait()
        await super().apply(changes)
        self.second.set()


async def test_batch_that_overtakes_the_one_before_keeps_the_newest_and_the_commit() -> None:
    store = OvertakingStore()
    mesh = Harness(store)
    indexer = mesh.indexer()
    task = asyncio.create_task(indexer.run())
    await mesh.log.publish(USER_EVENTS, make_record("u1", "Old"))
    await eventually(lambda: store.begun == 1)
    assert indexer._done.offsets == {}
    await mesh.log.publish(USER_EVENTS, make_record("u1", "New"))
    await eventually(lambda: mesh.stored() == {"u1": "New"} and not indexer.busy_with(A.tenant_uid))
    assert (store.begun, mesh.stored()) == (2, {"u1": "New"})
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert (await mesh.log.lag(USER_EVENTS, f"{GROUP}.memory")).records == 0


async def test_culprit_set_aside_does_not_keep_the_indexer_busy() -> None:
    mesh = Harness(PickyStore())
    indexer = mesh.indexer()
    task = asyncio.create_task(indexer.run())
    await mesh.log.publish_many(USER_EVENTS, [make_record("u1"), make_record("poison")])
    await eventually(lambda: bool(mesh.dead_letters()))
    await eventually(lambda: not indexer.busy_with(A.tenant_uid))
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
