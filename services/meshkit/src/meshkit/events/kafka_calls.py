"""Calls of the client library, made so that nobody has to wait for them for ever.

They wait for brokers, some of them without a limit, and leaving a group in the middle of a
rebalance was once seen never to return. So each is made in a daemon thread: who awaits it can be
cancelled, and the interpreter exits without it. The brokers notice a member that is gone.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

import structlog

log = structlog.get_logger()

CLOSE_SECONDS = 5.0

T = TypeVar("T")

_Call = tuple[Future[Any], Callable[[], Any]]


class CallThread:
    """One thread that makes calls, in their order."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        self._started = False

    def submit(self, call: Callable[[], T]) -> Future[T]:
        """Have a call made after those before it."""
        if not self._started:
            self._started = True
            Thread(target=self._run, name=self._name, daemon=True).start()
        future: Future[T] = Future()
        self._calls.put((future, call))
        return future

    async def call(self, call: Callable[[], T]) -> T:
        """Return what a call returns. Cancelled, it is made all the same where it has begun."""
        return await asyncio.wrap_future(self.submit(call))

    async def close(self, last: Callable[[], None], seconds: float = CLOSE_SECONDS) -> bool:
        """Make the last call, and return whether everything came to its end in time."""
        last_made = asyncio.wrap_future(self.submit(last))
        self.end()
        await asyncio.wait([last_made], timeout=seconds)
        if not last_made.done():
            last_made.cancel()
            log.warning("left_without_an_answer", what=self._name, after_seconds=seconds)
            return False
        last_made.result()
        return True

    def end(self) -> None:
        """Let the thread go once the calls so far are made."""
        self._calls.put(None)

    def _run(self) -> None:
        while (next_call := self._calls.get()) is not None:
            future, call = next_call
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(call())
            except BaseException as error:
                future.set_exception(error)


async def called(call: Callable[[], T], name: str) -> T:
    """Return what a call returns that may be made beside others."""
    thread = CallThread(name)
    future = thread.submit(call)
    thread.end()
    return await asyncio.wrap_future(future)


__all__ = ["CLOSE_SECONDS", "CallThread", "called"]
