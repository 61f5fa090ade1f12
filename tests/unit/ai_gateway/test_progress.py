"""Waiting until a write is searchable."""

import asyncio

from ai_gateway.progress import IndexProgress
from meshkit.events.log import Position


async def test_what_is_searchable_is_not_waited_for() -> None:
    progress = IndexProgress()
    progress.advance(3, 18)
    assert await progress.wait_for(Position(3, 17), timeout=0)


async def test_waiter_goes_on_as_soon_as_its_position_is_reached() -> None:
    progress = IndexProgress()
    waiting = asyncio.create_task(progress.wait_for(Position(3, 17), timeout=10))
    await asyncio.sleep(0)
    progress.advance(3, 17)
    progress.advance(4, 100)
    await asyncio.sleep(0)
    assert not waiting.done()
    progress.advance(3, 18)
    assert await waiting


async def test_waiting_ends_without_the_position() -> None:
    progress = IndexProgress()
    assert not await progress.wait_for(Position(0, 0), timeout=0.001)
    assert not progress._waiters


def test_progress_never_goes_back() -> None:
    progress = IndexProgress()
    progress.advance(0, 10)
    progress.advance(0, 5)
    assert progress.includes(Position(0, 9))
