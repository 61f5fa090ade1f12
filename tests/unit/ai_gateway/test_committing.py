"""How often the index commits how far it has come."""

import asyncio
from typing import Any, cast

import pytest

from ai_gateway.backlog import Backlog
from ai_gateway.committing import COMMIT_EVERY_SECONDS, Commits
from meshkit.events.log import Record


class Engines:
    """A clock, a store whose flush takes `flush_seconds` of it, and a consumer that takes note."""

    collection_id = "one"

    def __init__(self, flush_seconds: float) -> None:
        self.now = 100.0
        self.flush_seconds = flush_seconds
        self.commits = 0
        self.backlog = Backlog(lambda _: 1)
        self._offset = 0
        self.aside = Commits(cast(Any, self), cast(Any, self), self.backlog, lambda: self.now).aside

    async def flush(self) -> None:
        self.now += self.flush_seconds

    async def commit(self, *_: object) -> None:
        self.commits += 1

    async def index_one_and_look(self) -> int:
        """Index one more event, look whether a commit is due, and return how many there were."""
        self.backlog.offer([Record("t", 0, self._offset, b"tenant/u", b"{}", (), 0)])
        self._offset += 1
        self.backlog.finished(self.backlog.take(1))
        self.aside()
        for _ in range(5):
            await asyncio.sleep(0)
        return self.commits


async def test_commits_come_as_often_as_they_may() -> None:
    engines = Engines(flush_seconds=0.0)
    assert await engines.index_one_and_look() == 1
    engines.now += 0.9 * COMMIT_EVERY_SECONDS
    assert await engines.index_one_and_look() == 1
    engines.now += 0.2 * COMMIT_EVERY_SECONDS
    assert await engines.index_one_and_look() == 2


@pytest.mark.parametrize("flush_seconds", [0.5, 3.0])
async def test_store_that_is_slow_to_flush_is_asked_for_a_tenth_of_the_time(
    flush_seconds: float,
) -> None:
    engines = Engines(flush_seconds)
    assert await engines.index_one_and_look() == 1
    engines.now += 8.5 * flush_seconds
    assert await engines.index_one_and_look() == 1
    engines.now += flush_seconds
    assert await engines.index_one_and_look() == 2
