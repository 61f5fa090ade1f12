"""Calls that may never end."""

import threading

from meshkit.events.ending import ended


async def test_call_that_ends_is_waited_for() -> None:
    called: list[int] = []
    assert await ended(lambda: called.append(1), "test")
    assert called == [1]


async def test_call_that_hangs_is_left_behind() -> None:
    for_ever = threading.Event()

    def hang() -> None:
        for_ever.wait()

    assert not await ended(hang, "test", seconds=0.01)
    for_ever.set()
