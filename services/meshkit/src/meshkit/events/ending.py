"""Ending what may never end: a last call gets its time, and the process goes on without it.

Leaving a Kafka group in the middle of a rebalance was once seen to hang in the client library for
good. Whoever stops a process must not wait for that: the brokers notice a member that is gone.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from threading import Thread

import structlog

log = structlog.get_logger()

CLOSE_SECONDS = 5.0


async def ended(call: Callable[[], None], what: str, seconds: float = CLOSE_SECONDS) -> bool:
    """Make a call that waits, and return whether it came to its end in time.

    Its thread is one that the interpreter does not wait for when it exits.
    """
    loop = asyncio.get_running_loop()
    done = asyncio.Event()

    def run() -> None:
        try:
            call()
        finally:
            # The loop may have ended meanwhile.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(done.set)

    Thread(target=run, name=f"ending-{what}", daemon=True).start()
    try:
        async with asyncio.timeout(seconds):
            await done.wait()
    except TimeoutError:
        log.warning("left_without_an_answer", what=what, after_seconds=seconds)
        return False
    return True


__all__ = ["CLOSE_SECONDS", "ended"]
