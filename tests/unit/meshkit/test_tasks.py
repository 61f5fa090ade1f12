"""Ending tasks."""

import asyncio

import pytest

from meshkit.tasks import end


async def test_tasks_have_ended_all_of_them_asked_at_once() -> None:
    order: list[str] = []

    async def lasts(name: str, rounds: int) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            for _ in range(rounds):
                await asyncio.sleep(0)
            order.append(name)

    tasks = [asyncio.create_task(lasts(name, n)) for name, n in (("slow", 5), ("quick", 0))]
    await asyncio.sleep(0)
    await end(*tasks, None)
    assert order == ["quick", "slow"]
    assert all(task.cancelled() for task in tasks)


async def test_what_a_task_has_failed_with_is_raised() -> None:
    async def fails() -> None:
        raise ValueError("before anybody ended it")

    task = asyncio.create_task(fails())
    await asyncio.sleep(0)
    with pytest.raises(ValueError, match="before anybody"):
        await end(task)
