"""What every vector store promises, whatever it is made of. An adapter joins by one line."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import structs

from ai_gateway.vector_store.edge import EdgeVectorStore
from ai_gateway.vector_store.memory import MemoryVectorStore
from ai_gateway.vector_store.port import Change, Delete, User, VectorStore
from builders import DENSE, make_context, make_delete, make_query, make_upsert
from meshkit.events.log import Position
from meshkit.tenancy.identity import TenantContext
from qdrant_server import own_collection

A, B = make_context("tenant-a"), make_context("tenant-b")


@asynccontextmanager
async def memory_store(_: Path) -> AsyncIterator[VectorStore]:
    yield MemoryVectorStore()


@asynccontextmanager
async def edge_store(folder: Path) -> AsyncIterator[VectorStore]:
    store = await EdgeVectorStore.open(
        folder / "vectors", embedder_name=DENSE.name, dimension=DENSE.dimension, log_id="log-1"
    )
    try:
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def qdrant_store(_: Path) -> AsyncIterator[VectorStore]:
    async with own_collection() as store:
        yield store


Open = Callable[[Path], AbstractAsyncContextManager[VectorStore]]
STORES: dict[str, Open] = {"memory": memory_store, "edge": edge_store, "qdrant": qdrant_store}


@pytest.fixture(params=STORES)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[VectorStore]:
    async with STORES[request.param](tmp_path) as store:
        yield store


async def names(store: VectorStore, tenant: TenantContext, text: str) -> set[str]:
    return {hit.user.user_id for hit in await store.search(tenant, make_query(text), 50)}


async def test_applied_user_is_found_whole(store: VectorStore) -> None:
    change = make_upsert(A, attributes_are="kept", n=[1, None, {"x": True}])
    await store.apply([change])
    (hit,) = await store.search(A, make_query("alice"), 10)
    assert hit.user == change.user
    assert hit.lexical == pytest.approx(1.0)
    assert hit.dense is not None
    assert 0 < hit.dense <= 1


async def test_user_is_found_by_id(store: VectorStore) -> None:
    change = make_upsert(A)
    await store.apply([change])
    assert await store.get(A, "u-1") == change.user
    assert await store.get(A, "u-2") is None
    assert await store.get(B, "u-1") is None


async def test_search_never_returns_another_tenants_user(store: VectorStore) -> None:
    await store.apply([make_upsert(A, f"a-{n}") for n in range(30)])
    await store.apply([make_upsert(B, f"b-{n}") for n in range(30)])
    assert await names(store, A, "Alice Doe") == {f"a-{n}" for n in range(30)}
    assert await names(store, make_context("nobody"), "Alice Doe") == set()


async def test_same_id_in_two_tenants_is_two_users(store: VectorStore) -> None:
    await store.apply([make_upsert(A, "u-1", "Alice"), make_upsert(B, "u-1", "Bob")])
    await store.apply([make_delete(A, "u-1", 2)])
    assert await store.get(A, "u-1") is None
    found = await store.get(B, "u-1")
    assert found is not None
    assert found.name == "Bob"


async def test_new_incarnation_of_a_tenant_starts_empty(store: VectorStore) -> None:
    await store.apply([make_upsert(A)])
    again = make_context("tenant-a", "another-uid")
    assert await names(store, again, "alice") == set()
    assert await store.get(again, "u-1") is None
    assert await store.count(again) == 0


async def test_same_event_twice_yields_one_user(store: VectorStore) -> None:
    await store.apply([make_upsert(A)])
    await store.apply([make_upsert(A)])
    assert await store.count(A) == 1


async def test_older_revision_never_overwrites_a_newer_one(store: VectorStore) -> None:
    await store.apply([make_upsert(A, name="New", revision=7)])
    await store.apply([make_upsert(A, name="Old", revision=6)])
    found = await store.get(A, "u-1")
    assert found is not None
    assert found.name == "New"


async def test_in_a_partition_the_offset_decides_whatever_the_clock_says(
    store: VectorStore,
) -> None:
    await store.apply([make_upsert(A, name="New", revision=Position(3, 8, 1000))])
    await store.apply([make_upsert(A, name="Old", revision=Position(3, 7, 2000))])
    await store.apply([make_upsert(A, "u-2", name="Old", revision=Position(3, 9, 2000))])
    await store.apply([make_upsert(A, "u-2", name="New", revision=Position(3, 10, 1000))])
    found = [await store.get(A, user_id) for user_id in ("u-1", "u-2")]
    assert [user.name for user in found if user is not None] == ["New", "New"]


async def test_between_partitions_the_time_decides_whatever_the_offsets_are(
    store: VectorStore,
) -> None:
    await store.apply([make_upsert(A, name="Old", revision=Position(1, 500, 1000))])
    await store.apply([make_upsert(A, name="New", revision=Position(2, 3, 1001))])
    await store.apply([make_upsert(A, name="Old", revision=Position(1, 499, 999))])
    await store.apply([make_upsert(A, name="Older", revision=Position(5, 10**12, 998))])
    found = await store.get(A, "u-1")
    assert found is not None
    assert found.name == "New"
    await store.apply([make_delete(A, "u-1", Position(0, 0, 1002))])
    assert await store.get(A, "u-1") is None
    assert await store.count(A) == 0


async def test_in_the_same_millisecond_the_higher_partition_decides(store: VectorStore) -> None:
    one, other = Position(1, 500, 1000), Position(2, 3, 1000)
    for first, then in ((one, other), (other, one)):
        user_id = f"first-{first.partition}"
        await store.apply([make_upsert(A, user_id, f"In {first.partition}", revision=first)])
        await store.apply([make_upsert(A, user_id, f"In {then.partition}", revision=then)])
        found = await store.get(A, user_id)
        assert found is not None
        assert found.name == "In 2"


async def test_batch_of_many_partitions_is_guarded_user_by_user(store: VectorStore) -> None:
    def batch(word: str, time: int) -> list[Change]:
        return [
            make_upsert(A, f"u-{n}", f"{word} {n}", revision=Position(n % 7, 1000 - n, time + n))
            for n in range(60)
        ]

    old, new = batch("Old", 10_000), batch("New", 20_000)
    # Each second user has its newer event in another partition, where offsets are lower.
    moved = [
        structs.replace(one, revision=Position((n + 3) % 7, n, 30_000 + n))
        for n, one in enumerate(new)
        if n % 2
    ]
    kept = [
        structs.replace(one, revision=Position(n % 7, 2000 - n, 1))
        for n, one in enumerate(new)
        if not n % 2
    ]
    await store.apply(old)
    await store.apply([*moved, *kept])
    await store.apply(old)
    found = [await store.get(A, f"u-{n}") for n in range(60)]
    assert [user.name for user in found if user is not None] == [f"New {n}" for n in range(60)]


async def test_deletion_is_complete_when_it_comes_again(store: VectorStore) -> None:
    await store.apply([make_upsert(A, f"u-{n}", revision=1) for n in range(12)])
    for _ in range(2):
        await store.apply([make_delete(A, f"u-{n}", 2) for n in range(12)])
    assert await names(store, A, "alice") == set()
    await store.apply([make_upsert(A, "u-3", revision=3), make_delete(A, "u-3", 2)])
    assert await names(store, A, "alice") == {"u-3"}
    assert await store.count(A) == 1


async def test_deleted_user_is_gone_and_stays_gone(store: VectorStore) -> None:
    await store.apply([make_upsert(A, revision=1)])
    await store.apply([make_delete(A, "u-1", 5)])
    await store.apply([make_upsert(A, revision=4)])
    assert await names(store, A, "alice") == set()
    assert await store.get(A, "u-1") is None
    assert await store.count(A) == 0


async def test_user_may_come_back_after_a_deletion(store: VectorStore) -> None:
    await store.apply([make_delete(A, "u-1", 5), make_upsert(A, revision=6)])
    assert await store.count(A) == 1


async def test_changes_of_one_user_in_one_batch_end_in_the_newest(store: VectorStore) -> None:
    await store.apply([make_upsert(A, name=f"N{r}", revision=r) for r in (3, 9, 1, 5)])
    found = await store.get(A, "u-1")
    assert found is not None
    assert found.name == "N9"


async def test_large_batch_is_applied_whole(store: VectorStore) -> None:
    changes = [make_upsert(A, f"u-{n}", f"Person {n}", revision=n) for n in range(300)]
    await store.apply(changes)
    assert await store.count(A) == 300


async def test_nothing_to_apply_is_nothing(store: VectorStore) -> None:
    await store.apply([])
    assert await store.count(A) == 0


async def test_removing_a_tenant_leaves_the_others(store: VectorStore) -> None:
    await store.apply([make_upsert(A), make_upsert(B), make_delete(A, "u-9", 3)])
    await store.delete_tenant(A)
    assert (await store.count(A), await store.count(B)) == (0, 1)
    # Its markers are gone, too: nothing of the tenant is left to win over anything.
    await store.apply([make_upsert(A, "u-9", revision=1)])
    assert await store.get(A, "u-9") is not None


async def test_footprint_counts_every_point_of_the_tenant_and_its_markers(
    store: VectorStore,
) -> None:
    again = make_context("tenant-a", "uid-of-tenant-a1")
    assert await store.footprint(A) == 0
    await store.apply([make_upsert(A, f"u-{n}", revision=n) for n in range(70)])
    await store.apply([make_upsert(B), make_upsert(again), make_delete(A, "u-9", 99)])
    await store.apply([make_delete(A, "never-stored", 3)])
    assert (await store.count(A), await store.footprint(A)) == (69, 71)
    assert (await store.footprint(B), await store.footprint(again)) == (1, 1)


async def test_removed_tenant_leaves_no_footprint_and_the_others_theirs(
    store: VectorStore,
) -> None:
    again = make_context("tenant-a", "uid-of-tenant-a1")
    await store.apply([make_upsert(A), make_delete(A, "u-2", 3)])
    await store.apply([make_upsert(B), make_delete(B, "u-2", 3), make_upsert(again)])
    for _ in range(2):
        await store.delete_tenant(A)
        assert await store.footprint(A) == 0
        assert (await store.footprint(B), await store.footprint(again)) == (2, 1)


async def test_no_more_than_the_limit_from_each_space(store: VectorStore) -> None:
    await store.apply([make_upsert(A, f"u-{n}") for n in range(30)])
    hits = await store.search(A, make_query("alice"), 5)
    assert sum(hit.dense is not None for hit in hits) <= 5
    assert sum(hit.lexical is not None for hit in hits) <= 5


async def test_text_without_features_is_stored_and_finds_nothing(store: VectorStore) -> None:
    await store.apply([make_upsert(A, name="…", email="…")])
    assert await store.count(A) == 1
    hits = await store.search(A, make_query("!!"), 5)
    assert all(not hit.lexical and not hit.dense for hit in hits)


HOSTILE = [
    "' or 1=1 --",
    "u-1\x00",
    "../../etc",
    "💥" * 30,
    '{"tenantUid": "uid-of-tenant-b"}',
    "a" * 128,
]


@pytest.mark.parametrize("text", HOSTILE)
async def test_hostile_text_is_only_text(store: VectorStore, text: str) -> None:
    await store.apply([make_upsert(B)])
    change = make_upsert(A, text, text, text, tenantUid=B.tenant_uid, deleted=True)
    await store.apply([change])
    assert await store.get(A, text) == change.user
    assert await store.get(B, text) is None
    assert text not in await names(store, B, text)
    assert await store.count(B) == 1


fresh_uid = count()
histories = st.lists(st.tuples(st.integers(0, 2), st.booleans()), min_size=1, max_size=8)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(history=histories, data=st.data())
async def test_any_order_and_repetition_of_changes_converges(
    store: VectorStore, history: list[tuple[int, bool]], data: st.DataObject
) -> None:
    tenant = make_context("tenant-c", f"uid-{next(fresh_uid)}")
    changes: list[Change] = [
        make_delete(tenant, f"u-{user}", revision)
        if deleted
        else make_upsert(tenant, f"u-{user}", f"Revision {revision}", revision=revision)
        for revision, (user, deleted) in enumerate(history)
    ]
    delivered = data.draw(st.permutations(changes + changes[: len(changes) // 2 + 1]))
    split = data.draw(st.integers(0, len(delivered)))
    await store.apply(delivered[:split])
    await store.apply(delivered[split:])
    expected: dict[str, User | None] = {}
    for change in changes:
        if isinstance(change, Delete):
            expected[change.user_id] = None
        else:
            expected[change.user.user_id] = change.user
    assert {user_id: await store.get(tenant, user_id) for user_id in expected} == expected
    assert await store.count(tenant) == sum(user is not None for user in expected.values())


async def test_store_is_as_before_when_its_markers_are_kept(store: VectorStore) -> None:
    await store.apply([make_upsert(A, "u-1"), make_delete(A, "u-2")])
    for partitions in (12, 12, 16):
        await store.note_partitions(partitions)
    for _ in range(2):
        await store.keep_markers("a test")
    await store.apply([make_upsert(A, "u-2"), make_delete(A, "u-1", 2)])
    assert await names(store, A, "alice") == set()
    assert (await store.count(A), await store.footprint(A)) == (0, 2)
    await store.delete_tenant(A)
    assert await store.footprint(A) == 0
