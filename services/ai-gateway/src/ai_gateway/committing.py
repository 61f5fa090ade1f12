"""Committing how far the index has come, beside the indexing and after it.

Offsets are committed only after the store has made what came before them durable. Left undone, a
commit costs nothing but that more is read again.
"""

import asyncio

import structlog

from ai_gateway.backlog import Backlog
from ai_gateway.vector_store.port import StoreUnavailable, VectorStore
from meshkit.clock import Clock
from meshkit.errors import LogUnavailable
from meshkit.events.log import Consumer, Start
from meshkit.telemetry import metrics

log = structlog.get_logger()

# Making the embedded store durable holds up searches, by some 7 ms and 6 µs a point: so it is done
# often, before it becomes long, but in no more than a part of the time, where a disk is slow. What
# is not committed is read again.
COMMIT_EVERY_SECONDS = 0.2
_PART_OF_TIME = 0.1
# What is left uncommitted is read again: nothing to hold up a stop for.
_LAST_COMMIT_SECONDS = 5.0


class Commits:
    """The commits of one collection, one at a time."""

    def __init__(
        self, consumer: Consumer, store: VectorStore, backlog: Backlog, clock: Clock
    ) -> None:
        self._consumer = consumer
        self._store = store
        self._collection_id = store.collection_id
        self._backlog = backlog
        self._clock = clock
        self._committed: dict[int, Start] = {}
        self._due = 0.0
        self._running: asyncio.Task[None] | None = None

    def aside(self) -> None:
        """Commit where it is due, without holding up the next batch."""
        if self._clock() < self._due:
            return
        if self._running is not None:
            if not self._running.done():
                return
            self._running.result()
        self._due = self._clock() + COMMIT_EVERY_SECONDS
        self._running = asyncio.create_task(self._commit(), name="commit")

    async def last(self) -> None:
        """Commit before leaving, as far as the engines answer in time."""

        async def commit() -> None:
            if self._running is not None:
                await self._running
            await self._commit()

        last = asyncio.create_task(commit(), name="last-commit")
        await asyncio.wait([last], timeout=_LAST_COMMIT_SECONDS)
        if not last.done():
            last.cancel()
            log.warning("left_without_a_commit", after_seconds=_LAST_COMMIT_SECONDS)

    async def _commit(self) -> None:
        """Commit what the store has made durable. Left undone, it is only read again."""
        offsets, notes = self._backlog.committable()
        places = {n: Start(offset, notes.get(n, "")) for n, offset in offsets.items()}
        new = {n: place for n, place in places.items() if self._committed.get(n) != place}
        self._tell_lag()
        if not new:
            return
        started = self._clock()
        try:
            await self._store.flush()
            took = self._clock() - started
            self._due = max(self._due, started + took / _PART_OF_TIME)
            if self._store.collection_id == self._collection_id:
                await self._consumer.commit({n: place.offset for n, place in new.items()}, notes)
                self._committed.update(new)
        except (StoreUnavailable, LogUnavailable) as error:
            log.warning("commit_postponed", reason=str(error))

    def _tell_lag(self) -> None:
        suspended, catching_up = self._backlog.apart
        metrics.INDEXER_LAG.set(self._backlog.behind())
        metrics.INDEXER_APART.labels("suspended").set(suspended)
        metrics.INDEXER_APART.labels("resumed").set(catching_up)
