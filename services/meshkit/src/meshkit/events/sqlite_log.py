"""The embedded event log: an EventLog in one SQLite file.

Durable means durable: `publish` returns after SQLite has synchronised its write-ahead log with the
disk. Writing is one thread with group commit (`sqlite_writer`), reading another thread with a
connection of its own, so the event loop never waits for the disk. Several processes may use the
same file; their writes queue up at SQLite's lock.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Self, TypeVar

import msgspec
import structlog

from meshkit.clock import unix_ms
from meshkit.errors import LogUnavailable
from meshkit.events.compaction import (
    MIN_DIRTY_SHARE,
    CompactionResult,
    compact_topic,
    dirty_share,
)
from meshkit.events.log import TOPICS, Lag, NewRecord, Position, TopicSpec, UnknownTopic
from meshkit.events.partition import partition_of
from meshkit.events.sqlite_consumer import SqliteConsumer, count_waiting
from meshkit.events.sqlite_schema import connect, open_writer, read_log_id, read_topics
from meshkit.events.sqlite_writer import GroupCommitWriter, Row

log = structlog.get_logger()

T = TypeVar("T")

_COMPACT_EVERY_SECONDS = 60.0
_COMPACT_LEAST_RECORDS = 10_000

_encode_headers = msgspec.msgpack.Encoder().encode


class SqliteEventLog:
    """The log in the file at `path`. Made by `open`, ended by `close`."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self._topics = read_topics(connection)
        self._log_id = read_log_id(connection)
        self._closed = False
        self._wakes: set[asyncio.Event] = set()
        self._writer = GroupCommitWriter(connection, self._on_commit)
        self._reader = connect(path, read_only=True)
        self._reading = ThreadPoolExecutor(1, thread_name_prefix="event-log-reader")
        self._compacting = asyncio.create_task(self._compact_now_and_then())

    @classmethod
    async def open(cls, path: Path, topics: Iterable[TopicSpec] = TOPICS) -> Self:
        """Open the log at `path`, made with `topics` where it is new.

        Raises StartError for a file that is no log of ours, or whose topics differ.
        """
        return cls(path, await asyncio.to_thread(open_writer, path, tuple(topics)))

    @property
    def log_id(self) -> str:
        """The identity of this log: another file has another one."""
        return self._log_id

    async def publish(self, topic: str, record: NewRecord) -> Position:
        """Append one record and return its place once it is durable. Raises LogUnavailable."""
        row = self._row(topic, record)
        return Position(row[1], await self._writer.append([row]))

    async def publish_many(self, topic: str, records: Sequence[NewRecord]) -> Sequence[Position]:
        """Append records in their order, all or none. Raises LogUnavailable."""
        if not records:
            return ()
        rows = [self._row(topic, record) for record in records]
        first = await self._writer.append(rows)
        return [Position(row[1], first + index) for index, row in enumerate(rows)]

    def consumer(self, topic: str, group: str) -> SqliteConsumer:
        """Return a new consumer of all partitions of `topic`. Raises UnknownTopic."""
        topic_id, _ = self._topic(topic)
        wake = asyncio.Event()
        self._wakes.add(wake)
        return SqliteConsumer(topic, topic_id, group, self._read, self._writer.call, wake)

    async def lag(self, topic: str, group: str) -> Lag:
        """Return how far a group is behind."""
        topic_id, _ = self._topic(topic)
        return Lag(*await self._read(lambda c: count_waiting(c, topic_id, group)))

    async def compact(self) -> CompactionResult:
        """Compact every topic that is to be compacted, now."""
        superseded = tombstones = 0
        for topic_id, spec in self._topics.values():
            if spec.compact:
                result = await compact_topic(self._writer.call, topic_id, unix_ms())
                superseded += result.superseded
                tombstones += result.tombstones
        return CompactionResult(superseded, tombstones)

    async def close(self) -> None:
        """Finish what was accepted, then release the file."""
        self._closed = True
        self._on_commit()
        self._compacting.cancel()
        with suppress(asyncio.CancelledError):
            await self._compacting
        await self._writer.close()
        await asyncio.to_thread(self._reading.shutdown)
        self._reader.close()

    def _row(self, topic: str, record: NewRecord) -> Row:
        topic_id, spec = self._topic(topic)
        return (
            topic_id,
            partition_of(record.key, spec.partitions),
            record.key,
            _encode_headers(record.headers),
            record.value,
            unix_ms(),
        )

    def _topic(self, name: str) -> tuple[int, TopicSpec]:
        try:
            return self._topics[name]
        except KeyError:
            raise UnknownTopic(f"this log has no topic {name!r}") from None

    async def _read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        loop = asyncio.get_running_loop()
        if self._closed:
            raise LogUnavailable("the event log is closed", retry_after=1.0)
        try:
            return await loop.run_in_executor(self._reading, query, self._reader)
        except sqlite3.Error as error:
            raise LogUnavailable(f"the disk refused: {error}", retry_after=1.0) from None

    def _on_commit(self) -> None:
        for wake in self._wakes:
            wake.set()

    async def _compact_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(_COMPACT_EVERY_SECONDS)
            try:
                await self._compact_where_due()
            except LogUnavailable as error:
                log.warning("compaction_postponed", reason=error.detail)

    async def _compact_where_due(self) -> None:
        for name, (topic_id, spec) in self._topics.items():
            if not spec.compact:
                continue
            share, total = await self._read(partial(dirty_share, topic_id=topic_id))
            if total >= _COMPACT_LEAST_RECORDS and share >= MIN_DIRTY_SHARE:
                result: Any = await compact_topic(self._writer.call, topic_id, unix_ms())
                log.info("topic_compacted", topic=name, superseded=result.superseded)


__all__ = ["SqliteEventLog"]
