"""Ending tasks that run for as long as somebody lives."""

import asyncio
from contextlib import suppress


async def end(*tasks: asyncio.Task[None] | None) -> None:
    """Cancel tasks and wait until each has ended; raises what one of them raised before that. None
    stands for one that was never begun."""
    begun = [task for task in tasks if task is not None]
    for task in begun:
        task.cancel()
    for task in begun:
        with suppress(asyncio.CancelledError):
            await task


__all__ = ["end"]
