"""Calls that may never end."""

import asyncio
import threading

import pytest

from meshkit.events.kafka_calls import CallThread, called


async def test_calls_are_made_in_their_order_and_the_last_is_waited_for() -> None:
    thread = CallThread("test")
    made: list[int] = []
    first = thread.submit(lambda: made.append(1))
    assert await thread.close(lambda: made.append(2))
    assert first.done()
    assert made == [1, 2]


async def test_call_that_hangs_is_left_behind() -> None:
    for_ever = threading.Event()
    thread = CallThread("test")
    thread.submit(for_ever.wait)
    made: list[int] = []
    assert not await thread.close(lambda: made.append(1), seconds=0.01)
    assert made == []
    for_ever.set()


async def test_who_waits_for_a_call_can_be_cancelled() -> None:
    for_ever = threading.Event()
    task = asyncio.create_task(called(for_ever.wait, "test"))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    for_ever.set()


async def test_what_a_call_raises_reaches_who_awaits_it() -> None:
    def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await called(fail, "test")
    thread = CallThread("test")
    with pytest.raises(ValueError, match="no"):
        await thread.call(fail)
    with pytest.raises(ValueError, match="no"):
        await thread.close(fail)
