"""Waiting until a write is searchable."""

import asyncio

from ai_gateway.vector_store.memory import MemoryVectorStore
from ai_gateway.vector_store.port import Delete
from ai_gateway.written import WrittenWaiter
from builders import make_context, make_upsert
from meshkit.events.log import Position
from meshkit.events.position import Written

A, B = make_context("tenant-a"), make_context("tenant-b")


def written(offset: int, user_id: str = "u-1") -> Written:
    return Written(user_id, Position(0, offset))


async def test_what_is_searchable_is_hardly_waited_for() -> None:
    store = MemoryVectorStore()
    await store.apply([make_upsert(A, revision=7)])
    waiter = WrittenWaiter(store)
    assert await waiter.wait_for(A, written(7), timeout=5)
    assert await waiter.wait_for(A, written(3), timeout=5)


async def test_waiter_goes_on_when_its_write_arrives_and_not_before() -> None:
    store = MemoryVectorStore()
    waiting = asyncio.create_task(WrittenWaiter(store).wait_for(A, written(7), timeout=10))
    await store.apply([make_upsert(A, revision=6), make_upsert(B, revision=9)])
    done, _ = await asyncio.wait([waiting], timeout=0.05)
    assert not done
    await store.apply([make_upsert(A, revision=7)])
    assert await waiting


async def test_deletion_is_a_write_like_any_other() -> None:
    store = MemoryVectorStore()
    await store.apply([Delete(A, "u-1", 8)])
    assert await WrittenWaiter(store).wait_for(A, written(8), timeout=5)


async def test_waiting_ends_without_the_write() -> None:
    waiter = WrittenWaiter(MemoryVectorStore())
    assert not await waiter.wait_for(A, written(1), timeout=0.001)
    assert not waiter._waiters


class CountingStore(MemoryVectorStore):
    """Counts how often it is asked."""

    asked = 0

    async def revisions(self, users):  # type: ignore[no-untyped-def]
        self.asked += 1
        return await super().revisions(users)


async def test_many_who_wait_cost_the_store_as_much_as_one() -> None:
    store = CountingStore()
    waiter = WrittenWaiter(store)
    waiting = [
        asyncio.create_task(waiter.wait_for(A, written(1, f"u-{n}"), timeout=10))
        for n in range(200)
    ]
    await asyncio.sleep(0.05)
    await store.apply([make_upsert(A, f"u-{n}", revision=1) for n in range(200)])
    assert all(await asyncio.gather(*waiting))
    assert store.asked < 60
