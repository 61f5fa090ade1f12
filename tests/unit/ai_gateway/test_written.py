"""Waiting until a write is searchable."""

import asyncio

from ai_gateway.vector_store.memory import MemoryVectorStore
from ai_gateway.written import WrittenWaiter
from builders import at, make_context, make_delete, make_upsert
from meshkit.events.log import Position
from meshkit.events.position import Written

A, B = make_context("tenant-a"), make_context("tenant-b")


def written(offset: int, user_id: str = "u-1") -> Written:
    return Written(user_id, at(offset))


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
    await store.apply([make_delete(A, "u-1", 8)])
    assert await WrittenWaiter(store).wait_for(A, written(8), timeout=5)


async def test_write_in_another_partition_is_waited_for_by_time() -> None:
    store = MemoryVectorStore()
    waiter = WrittenWaiter(store)
    # Its offset is far below the stored one: offsets of two partitions say nothing of each other.
    put = Written("u-1", Position(4, 3, timestamp_ms=2000))
    await store.apply([make_upsert(A, revision=Position(7, 900, timestamp_ms=1000))])
    assert not await waiter.wait_for(A, put, timeout=0.01)
    await store.apply([make_upsert(A, revision=put.position)])
    assert await waiter.wait_for(A, put, timeout=5)


async def test_waiting_ends_without_the_write() -> None:
    waiter = WrittenWaiter(MemoryVectorStore())
    assert not await waiter.wait_for(A, written(1), timeout=0.001)
    assert not waiter._waiters


class CountingStore(MemoryVectorStore):
    """Keeps when it is asked, by the clock of the loop."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[float] = []

    async def revisions(self, users):  # type: ignore[no-untyped-def]
        self.asked.append(asyncio.get_running_loop().time())
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
    assert len(store.asked) < 60


async def test_store_is_asked_when_an_answer_is_to_be_expected() -> None:
    store = CountingStore()
    waiter = WrittenWaiter(store)
    loop = asyncio.get_running_loop()

    async def wait(revision: int) -> float:
        """Wait for a write that is stored after 40 ms; return how soon the store was asked."""
        store.asked.clear()
        began = loop.time()
        waiting = asyncio.create_task(waiter.wait_for(A, written(revision), timeout=10))
        await asyncio.sleep(0.04)
        await store.apply([make_upsert(A, revision=revision)])
        assert await waiting
        return store.asked[0] - began

    soon = [await wait(revision) for revision in range(1, 21)]
    assert soon[0] < 0.01 <= soon[-1]
