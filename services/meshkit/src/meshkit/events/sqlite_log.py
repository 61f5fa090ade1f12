"""The embedded event log: an EventLog in one SQLite file.

Durable means durable: `publish` returns after SQLite has synchronised its write-ahead log with the
disk. Writing is one thread with group commit (`sqlite_writer`), reading another thread with a
connection of its own, so the event loop never waits for the disk. Several processes may use the
same file; their writes queue up at SQLite's lock.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, Self, TypeVar

import msgspec

from meshkit.clock import unix_ms
from meshkit.errors import LogUnavailable
from meshkit.events.compaction import DELETE_RETENTION_MS, CompactionResult
from meshkit.events.compaction_schedule import LEAST_RECORDS, CompactionSchedule
from meshkit.events.log import (
    TOPICS,
    Committable,
    Lag,
    NewRecord,
    Position,
    TopicSpec,
    UnknownTopic,
)
from meshkit.events.partition import partition_of
from meshkit.events.sqlite_consumer import SqliteConsumer, count_waiting
from meshkit.events.sqlite_reader import SqliteReader, read_ends
from meshkit.events.sqlite_schema import connect, open_writer, read_log_id, read_topics
from meshkit.events.sqlite_writer import GroupCommitWriter, Row

T = TypeVar("T")

_encode_headers = msgspec.msgpack.Encoder().encode


class SqliteEventLog:
    """The log in the file at `path`. Made by `open`, ended by `close`."""

    def __init__(
        self,
        path: Path,
        connection: sqlite3.Connection,
        *,
        now_ms: Callable[[], int] = unix_ms,
        least_records: int = LEAST_RECORDS,
        delete_retention_ms: int = DELETE_RETENTION_MS,
    ) -> None:
        self._path = path
        self._now_ms = now_ms
        self._topics = read_topics(connection)
        self._log_id = read_log_id(connection)
        self._closed = False
        self._wakes: dict[asyncio.Event, int] = {}
        self._reader = connect(path, read_only=True)
        self._reading = ThreadPoolExecutor(1, thread_name_prefix="event-log-reader")
        self._writer = GroupCommitWriter(connection, self._on_commit)
        self._compaction = CompactionSchedule(
            [topic_id for topic_id, spec in self._topics.values() if spec.compact],
            read=self._read_aside,
            write=self._writer.call,
            now_ms=now_ms,
            least_records=least_records,
            delete_retention_ms=delete_retention_ms,
        )
        self._compacting = asyncio.create_task(self._compaction.run())

    @classmethod
    async def open(
        cls,
        path: Path,
        topics: Iterable[TopicSpec] = TOPICS,
        *,
        now_ms: Callable[[], int] = unix_ms,
        least_records: int = LEAST_RECORDS,
        delete_retention_ms: int = DELETE_RETENTION_MS,
    ) -> Self:
        """Open the log at `path`, made with `topics` where it is new.

        A topic is compacted by itself from `least_records` on; its tombstones stay at least
        `delete_retention_ms`. Raises StartError for a file that is no log of ours, or whose
        topics differ.
        """
        return cls(
            path,
            await asyncio.to_thread(open_writer, path, tuple(topics)),
            now_ms=now_ms,
            least_records=least_records,
            delete_retention_ms=delete_retention_ms,
        )

    async def check(self, topics: Collection[str]) -> str | None:
        """Return None: topics that differ are refused by `open`."""
        return None

    def remarks(self) -> str:
        """Return nothing: topics that differ are refused by `open`."""
        return ""

    async def log_id(self) -> str:
        """Return the identity of this log: another file has another one."""
        return self._log_id

    async def publish(self, topic: str, record: NewRecord) -> Position:
        """Append one record and return its place once it is durable. Raises LogUnavailable."""
        row = self._row(topic, record)
        return Position(row[1], await self._writer.append([row]), row[5])

    async def publish_many(self, topic: str, records: Sequence[NewRecord]) -> Sequence[Position]:
        """Append records in their order, all or none. Raises LogUnavailable."""
        if not records:
            return ()
        rows = [self._row(topic, record) for record in records]
        first = await self._writer.append(rows)
        return [Position(row[1], first + index, row[5]) for index, row in enumerate(rows)]

    def consumer(
        self, topic: str, group: str, committable: Committable | None = None
    ) -> SqliteConsumer:
        """Return a new consumer of all partitions of `topic`, which it never hands over.

        Raises UnknownTopic.
        """
        topic_id, _ = self._topic(topic)
        wake = asyncio.Event()
        self._wakes[wake] = topic_id
        return SqliteConsumer(
            topic,
            topic_id,
            group,
            read=self._read,
            write=self._writer.call,
            wake=wake,
            leave=lambda: self._forget(wake),
            now_ms=self._now_ms,
        )

    def reader(self, topic: str) -> SqliteReader:
        """Return a new reader of `topic`. Raises UnknownTopic."""
        topic_id, _ = self._topic(topic)
        return SqliteReader(topic, topic_id, self._read_aside)

    async def ends(self, topic: str) -> Mapping[int, tuple[int, int]]:
        """Return per partition the offset of its first record and of the next one to come.

        Looks at every record: this is for people and their tools, not for the way of a request.
        """
        topic_id, spec = self._topic(topic)
        ends = await self._read_aside(lambda c: read_ends(c, topic_id))
        return {number: ends.get(number, (0, 0)) for number in range(spec.partitions)}

    async def lag(self, topic: str, group: str) -> Lag:
        """Return how far a group is behind."""
        topic_id, _ = self._topic(topic)
        return Lag(*await self._read_aside(lambda c: count_waiting(c, topic_id, group)))

    async def compact(self) -> CompactionResult:
        """Compact every topic that is to be compacted, now. Raises LogUnavailable."""
        return await self._compaction.compact()

    async def close(self) -> None:
        """Finish what was accepted, then release the file."""
        self._closed = True
        for wake in self._wakes:
            wake.set()
        self._compacting.cancel()
        await asyncio.wait([self._compacting])
        await self._writer.close()
        await asyncio.to_thread(self._reading.shutdown)
        self._reader.close()

    def _row(self, topic: str, record: NewRecord) -> Row:
        topic_id, spec = self._topic(topic)
        return (
            topic_id,
            _partition(record, spec.partitions),
            record.key,
            _encode_headers(record.headers),
            record.value,
            self._now_ms(),
        )

    def _topic(self, name: str) -> tuple[int, TopicSpec]:
        try:
            return self._topics[name]
        except KeyError:
            raise UnknownTopic(f"this log has no topic {name!r}") from None

    async def _read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """Run a consumer's query, on the reader thread."""
        loop = asyncio.get_running_loop()
        self._refuse_if_closed()
        try:
            return await loop.run_in_executor(self._reading, query, self._reader)
        except sqlite3.Error as error:
            raise _unreadable(error) from None

    async def _read_aside(self, query: Callable[[sqlite3.Connection], Any]) -> Any:
        """Run a query that may take long, where no consumer has to wait for it."""

        def run() -> Any:
            with closing(connect(self._path, read_only=True)) as connection:
                return query(connection)

        self._refuse_if_closed()
        try:
            return await asyncio.to_thread(run)
        except sqlite3.Error as error:
            raise _unreadable(error) from None

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise LogUnavailable("the event log is closed", retry_after=1.0)

    def _forget(self, wake: asyncio.Event) -> None:
        self._wakes.pop(wake, None)

    def _on_commit(self, appended: Mapping[int, int]) -> None:
        # The others would look in vain, after each transaction.
        for wake, topic_id in self._wakes.items():
            if topic_id in appended:
                wake.set()
        self._compaction.appended(sum(appended.values()))


def _unreadable(error: sqlite3.Error) -> LogUnavailable:
    return LogUnavailable(f"the disk refused: {error}", retry_after=1.0)


def _partition(record: NewRecord, partitions: int) -> int:
    if record.partition is None:
        return partition_of(record.key, partitions)
    if not 0 <= record.partition < partitions:
        raise ValueError(f"there is no partition {record.partition}, only {partitions} of them")
    return record.partition


__all__ = ["SqliteEventLog"]
