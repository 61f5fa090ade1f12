"""Coroutines that are begun where they are made, and end there or in a task."""

import asyncio

import pytest

from meshkit.web.beginning import Begun, in_task


async def test_what_waits_for_nothing_has_ended_at_once() -> None:
    async def nothing() -> int:
        return 7

    begun = Begun(nothing())
    assert begun.ended
    assert begun.result == 7
    assert await begun.rest() == 7


async def test_task_goes_on_where_it_had_to_wait() -> None:
    answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    reached = []

    async def waits() -> int:
        reached.append("before")
        first = await answer
        reached.append("after")
        await asyncio.sleep(0)
        return first + 1

    begun = Begun(waits())
    assert not begun.ended
    assert reached == ["before"]
    task = asyncio.create_task(begun.rest())
    await asyncio.sleep(0)
    assert reached == ["before"]
    answer.set_result(7)
    assert await task == 8


async def test_what_came_meanwhile_is_there_when_a_task_goes_on() -> None:
    answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def waits() -> int:
        return await answer

    begun = Begun(waits())
    answer.set_result(7)
    assert await begun.rest() == 7


async def test_there_is_a_task_after_in_task() -> None:
    async def needs_a_task() -> bool:
        await in_task()
        async with asyncio.timeout(5):
            await asyncio.sleep(0)
        return asyncio.current_task() is task

    task = asyncio.create_task(Begun(needs_a_task()).rest())
    assert await task


async def test_fault_is_raised_where_it_happens() -> None:
    async def at_once() -> None:
        raise ZeroDivisionError

    async def later() -> None:
        await in_task()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Begun(at_once())
    begun = Begun(later())
    with pytest.raises(ZeroDivisionError):
        await begun.rest()


@pytest.mark.parametrize("steps", [0, 1])
async def test_who_is_cancelled_tidies_up(steps: int) -> None:
    tidied = []

    async def waits() -> None:
        try:
            for _ in range(steps):
                await asyncio.sleep(0)
            await asyncio.Event().wait()
        finally:
            # Tidying up may have to wait, too.
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            tidied.append(True)

    task = asyncio.create_task(Begun(waits()).rest())
    for _ in range(steps + 1):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert tidied


async def test_who_is_cancelled_may_answer_all_the_same() -> None:
    async def stubborn() -> int:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return 7
        return 0

    task = asyncio.create_task(Begun(stubborn()).rest())
    await asyncio.sleep(0)
    task.cancel()
    assert await task == 7


async def test_what_nobody_goes_on_with_tidies_up() -> None:
    tidied = []

    async def waits() -> None:
        try:
            await in_task()
        finally:
            tidied.append(True)

    begun = Begun(waits())
    assert not tidied
    del begun
    assert tidied
