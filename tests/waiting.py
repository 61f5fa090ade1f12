"""Waiting in tests: for a condition, with a deadline, never for a time."""

import asyncio
from collections.abc import Callable


async def eventually(condition: Callable[[], bool], seconds: float = 10) -> None:
    """Return as soon as `condition` holds. Raises TimeoutError where it does not in time."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)
