"""The queue of names: once each, never twice at a time, urgent ones first."""

import asyncio

import pytest

from tenant_operator.work_queue import WorkQueue
from waiting import SetClock, eventually


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
def queue(clock: SetClock) -> WorkQueue:
    return WorkQueue(clock)


async def test_name_told_often_is_looked_at_once(queue: WorkQueue) -> None:
    for _ in range(5):
        queue.add("a")
    assert await queue.take() == "a"
    queue.done("a")
    assert queue.idle


async def test_name_told_while_it_is_looked_at_comes_again(queue: WorkQueue) -> None:
    queue.add("a")
    await queue.take()
    queue.add("a")
    assert len(queue) == 0
    assert not queue.idle
    queue.done("a")
    assert await queue.take() == "a"


async def test_urgent_names_go_before_the_others(queue: WorkQueue) -> None:
    for name in ("a", "b", "c"):
        queue.add(name, background=True)
    queue.add("z")
    queue.add("c")
    assert [await queue.take() for _ in range(4)] == ["z", "c", "a", "b"]


async def test_background_name_does_not_make_an_urgent_one_wait(queue: WorkQueue) -> None:
    queue.add("a")
    queue.add("a", background=True)
    assert await queue.take(urgent_only=True) == "a"


async def test_name_told_as_urgent_while_it_is_looked_at_stays_urgent(queue: WorkQueue) -> None:
    queue.add("a")
    await queue.take()
    queue.add("a")
    queue.add("a", background=True)
    queue.add("b", background=True)
    queue.done("a")
    assert await queue.take(urgent_only=True) == "a"


async def test_worker_for_what_is_urgent_leaves_the_rest_alone(queue: WorkQueue) -> None:
    taking = asyncio.create_task(queue.take(urgent_only=True))
    queue.add("a", background=True)
    assert await queue.take() == "a"
    assert not taking.done()
    queue.add("b")
    assert await taking == "b"


async def test_name_put_off_comes_when_it_is_due(queue: WorkQueue, clock: SetClock) -> None:
    queue.add_later("a", 5.0)
    taking = asyncio.create_task(queue.take())
    await asyncio.sleep(0)
    assert not taking.done()
    clock.now += 6.0
    queue.add("b")
    names = {await taking, await queue.take()}
    assert names == {"a", "b"}


async def test_earlier_of_two_times_holds(queue: WorkQueue, clock: SetClock) -> None:
    queue.add_later("a", 5.0)
    queue.add_later("a", 1.0)
    queue.add_later("a", 9.0)
    clock.now += 2.0
    assert await queue.take() == "a"
    queue.done("a")
    clock.now += 20.0
    taking = asyncio.create_task(queue.take())
    await asyncio.sleep(0)
    queue.add("b")
    # The times that no longer hold bring it no second time.
    assert await taking == "b"
    assert queue.idle is False


async def test_several_workers_share_what_comes(queue: WorkQueue) -> None:
    taken: list[str] = []

    async def work() -> None:
        while True:
            name = await queue.take()
            taken.append(name)
            await asyncio.sleep(0)
            queue.done(name)

    workers = [asyncio.create_task(work()) for _ in range(4)]
    for number in range(50):
        queue.add(f"t{number}")
    await eventually(lambda: len(taken) == 50)
    assert sorted(set(taken)) == sorted(taken)
    for worker in workers:
        worker.cancel()
