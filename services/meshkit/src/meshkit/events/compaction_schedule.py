"""When the embedded log is compacted: after enough appends, and never two passes at once.

How much of a topic is dirty can only be counted by a scan of the log, so the schedule counts
rarely: after each count it knows how many appends it takes at least until a pass can be due, and
sleeps until they have come. A restart forgets the appends before it, which only makes a pass late.
"""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

import structlog

from meshkit.errors import LogUnavailable
from meshkit.events.compaction import (
    DELETE_RETENTION_MS,
    MIN_DIRTY_SHARE,
    CompactionResult,
    Write,
    compact_topic,
    dirty_and_total,
)

log = structlog.get_logger()

LEAST_RECORDS = 100_000
"""A topic smaller than this is not worth a pass."""

Read = Callable[[Callable[[sqlite3.Connection], Any]], Awaitable[Any]]


class CompactionSchedule:
    """Compacts the topics with `topic_ids`. `read` must not stand in the way of consumers."""

    def __init__(
        self,
        topic_ids: Sequence[int],
        *,
        read: Read,
        write: Write,
        now_ms: Callable[[], int],
        least_records: int = LEAST_RECORDS,
        delete_retention_ms: int = DELETE_RETENTION_MS,
    ) -> None:
        self._topic_ids = topic_ids
        self._read = read
        self._write = write
        self._now_ms = now_ms
        self._least_records = least_records
        self._delete_retention_ms = delete_retention_ms
        # A count is worth its scan once a tenth of the least has come.
        self._least_appends = max(1, least_records // 10)
        self._until_check = self._least_appends
        self._check_due = asyncio.Event()
        self._one_pass = asyncio.Lock()

    def appended(self, records: int) -> None:
        """Take note that so many records were appended."""
        self._until_check -= records
        if self._until_check <= 0:
            self._check_due.set()

    async def compact(self) -> CompactionResult:
        """Compact every topic now. Raises LogUnavailable where the disk refuses."""
        result = CompactionResult(0, 0)
        for topic_id in self._topic_ids:
            result += await self._compact(topic_id)
        return result

    async def run(self) -> None:
        """Compact what is due, whenever it is, until cancelled."""
        while True:
            await self._check_due.wait()
            # Also after a failure: the next try is then a fair number of appends away.
            self._until_check = self._least_appends
            self._check_due.clear()
            try:
                self._until_check = await self._compact_what_is_due()
            except LogUnavailable as error:
                log.warning("compaction_postponed", reason=error.detail)

    async def _compact_what_is_due(self) -> int:
        """Return how many appends it takes at least until something is due again."""
        appends = []
        for topic_id in self._topic_ids:
            dirty, total = await self._read(partial(dirty_and_total, topic_id=topic_id))
            if total >= self._least_records and dirty >= MIN_DIRTY_SHARE * total:
                result = await self._compact(topic_id)
                log.info(
                    "topic_compacted",
                    topic_id=topic_id,
                    superseded=result.superseded,
                    tombstones=result.tombstones,
                )
                dirty, total = await self._read(partial(dirty_and_total, topic_id=topic_id))
            # Each append adds one to both: half is dirty after total - 2 dirty of them.
            appends.append(max(total - 2 * dirty, self._least_records - total))
        return max(self._least_appends, min(appends, default=0))

    async def _compact(self, topic_id: int) -> CompactionResult:
        async with self._one_pass:
            return await compact_topic(
                self._write, topic_id, self._now_ms(), self._delete_retention_ms
            )


__all__ = ["LEAST_RECORDS", "CompactionSchedule"]
