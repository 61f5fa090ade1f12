"""Waiting for some of several tasks that run beside each other."""

import asyncio

_IDLE_SECONDS = 0.5


async def any_of(event: asyncio.Event, *tasks: asyncio.Task[None] | None) -> None:
    """Return when the event is set or a task is done; after a moment where there is no task."""
    running = [task for task in tasks if task is not None]
    arrival = asyncio.ensure_future(event.wait())
    try:
        timeout = None if running else _IDLE_SECONDS
        await asyncio.wait(
            [arrival, *running], timeout=timeout, return_when=asyncio.FIRST_COMPLETED
        )
    finally:
        arrival.cancel()


def unless_done(task: asyncio.Task[None] | None) -> asyncio.Task[None] | None:
    """Return a task that still runs, None for one that has ended; raises what that raised."""
    if task is not None and task.done():
        task.result()
        return None
    return task
