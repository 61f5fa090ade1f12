"""Coroutines that are begun where they are made.

A task costs a turn of the event loop and a good part of what a refusal takes. So a request runs at
once until it waits for something; where it ends before that, nothing else is needed, and where it
does not, a task goes on with it. Python 3.12 has this as `asyncio.eager_task_factory`, for all
tasks of a loop.
"""

import asyncio
import types
from collections.abc import Coroutine, Generator
from typing import Any, Generic, TypeVar, cast

T = TypeVar("T")


class Begun(Generic[T]):
    """A coroutine, run until it waited for something, or to its end.

    Until then there is no current task: what needs one (`asyncio.timeout`) comes after `in_task()`.
    """

    __slots__ = ("_coroutine", "_result", "_waits_for")

    _result: T

    def __init__(self, coroutine: Coroutine[Any, Any, T]) -> None:
        """Begin. Raises what the coroutine raises."""
        self._coroutine: Coroutine[Any, Any, T] | None = coroutine
        self._waits_for: Any = None
        try:
            self._waits_for = coroutine.send(None)
        except StopIteration as end:
            self._coroutine = None
            self._result = end.value

    @property
    def ended(self) -> bool:
        """Whether there was nothing to wait for."""
        return self._coroutine is None

    @property
    def result(self) -> T:
        """What the coroutine returned, if it has ended."""
        return self._result

    async def rest(self) -> T:
        """Go on with it, once, and return what it returns."""
        coroutine, self._coroutine = self._coroutine, None
        if coroutine is None:
            return self._result
        return await _resume(coroutine, self._waits_for)


async def in_task() -> None:
    """Go on in a task. Where this is one already, let others run once."""
    await asyncio.sleep(0)


@types.coroutine
def _resume(coroutine: Coroutine[Any, Any, T], waits_for: Any) -> Generator[Any, Any, T]:
    try:
        yield waits_for
    except BaseException as error:
        # A task that is cancelled: what waits is to know.
        try:
            waits_for = coroutine.throw(error)
        except StopIteration as end:
            return cast(T, end.value)
        return (yield from _resume(coroutine, waits_for))
    ended: T = yield from coroutine
    return ended


__all__ = ["Begun", "in_task"]
