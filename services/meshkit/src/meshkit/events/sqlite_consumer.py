"""Reading the embedded log: one scan over the common sequence for all partitions of a topic.

Offsets of all partitions come from one sequence, so a consumer needs one cursor. What it commits
is kept per partition all the same, as Kafka does; beside it stands the scan floor, the offset
before which nothing is left to read in any partition, so that a restart never scans from the start.
The floor may lag, which costs time; it must never lead, which would skip records for good.
"""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Mapping, Sequence, Set
from typing import Any

import msgspec

from meshkit.clock import unix_ms
from meshkit.events.log import NO_NOTES, Record, Start

_READ = (
    "SELECT r.offset, r.partition, r.key, r.headers, r.value, r.timestamp_ms FROM records r"
    " WHERE r.offset >= :cursor AND r.topic = :topic ORDER BY r.offset LIMIT :most"
)
# Where partitions were committed unevenly: leaves out what a partition is done with.
_READ_UNEVEN = (
    "SELECT r.offset, r.partition, r.key, r.headers, r.value, r.timestamp_ms"
    " FROM records r LEFT JOIN committed c"
    " ON c.topic = r.topic AND c.consumer_group = :consumer_group AND c.partition = r.partition"
    " WHERE r.offset >= :cursor AND r.topic = :topic"
    " AND (c.next_offset IS NULL OR r.offset >= c.next_offset) ORDER BY r.offset LIMIT :most"
)
_COUNT = (
    "SELECT count(*) FROM records r LEFT JOIN committed c"
    " ON c.topic = r.topic AND c.consumer_group = :consumer_group AND c.partition = r.partition"
    " WHERE r.offset >= :cursor AND r.topic = :topic"
    " AND (c.next_offset IS NULL OR r.offset >= c.next_offset)"
)
_UPSERT = (
    "INSERT INTO committed VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE"
    " SET next_offset = excluded.next_offset, committed_ms = excluded.committed_ms,"
    " note = excluded.note"
)
FLOOR = -1
"""The partition number under which the scan floor is kept."""

# Records that another process appended are noticed this late; our own at once.
_FOREIGN_POLL_SECONDS = 0.25

decode_headers = msgspec.msgpack.Decoder(tuple[tuple[str, bytes], ...]).decode

Read = Callable[[Callable[[sqlite3.Connection], Any]], Awaitable[Any]]
Write = Callable[[Callable[[sqlite3.Connection], Any]], Awaitable[Any]]


class SqliteConsumer:
    """A consumer of all partitions of one topic. `wake` is set when there may be new records;
    `leave` is called when the consumer is closed."""

    def __init__(
        self,
        topic: str,
        topic_id: int,
        group: str,
        *,
        read: Read,
        write: Write,
        wake: asyncio.Event,
        leave: Callable[[], None],
        now_ms: Callable[[], int] = unix_ms,
    ) -> None:
        self._topic = topic
        self._topic_id = topic_id
        self._group = group
        self._read = read
        self._write = write
        self._wake = wake
        self._leave = leave
        self._now_ms = now_ms
        self._cursor: int | None = None
        self._even_from = 0
        self._committed: dict[int, int] = {}
        self._outstanding: dict[int, list[int]] = {}
        self._noted: dict[int, Start] = {}

    async def consume(self, max_records: int, timeout: float) -> Sequence[Record]:
        """Return the next records, or none after `timeout` seconds."""
        if not max_records:
            await asyncio.sleep(timeout)
            return ()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        while True:
            self._wake.clear()
            if records := await self._read_on(max_records):
                return records
            left = deadline - loop.time()
            if left <= 0:
                return ()
            try:
                async with asyncio.timeout(min(left, _FOREIGN_POLL_SECONDS)):
                    await self._wake.wait()
            except TimeoutError:
                continue

    def revoked(self) -> Set[int]:
        """Nobody takes partitions away: a group has one member here."""
        return frozenset()

    def noted(self) -> Mapping[int, Start]:
        """Return the notes from which this member started."""
        noted, self._noted = self._noted, {}
        return noted

    async def commit(self, offsets: Mapping[int, int], notes: Mapping[int, str] = NO_NOTES) -> None:
        """Remember per partition the offset of the next record to read, and a note."""
        cursor = await self._start()
        outstanding = dict(self._outstanding)
        for partition, next_offset in offsets.items():
            unread = [o for o in outstanding.get(partition, ()) if o >= next_offset]
            if next_offset < self._committed.get(partition, 0):
                # Going back: the floor has to wait for what lies from there on.
                unread.insert(0, next_offset)
            outstanding[partition] = unread
        floor = min([cursor, *(unread[0] for unread in outstanding.values() if unread)])
        now = self._now_ms()
        rows = [
            (self._topic_id, self._group, partition, next_offset, now, notes.get(partition, ""))
            for partition, next_offset in {**offsets, FLOOR: floor}.items()
        ]
        await self._write(lambda connection: connection.executemany(_UPSERT, rows) and None)
        # Only now: after a commit that failed, the floor must still count what it left undone.
        self._outstanding = outstanding
        self._committed.update(offsets)

    async def rewind(self) -> None:
        """Go back to the committed offsets."""
        self._cursor = None
        self._outstanding = {}

    async def close(self) -> None:
        """Leave the group."""
        self._leave()

    async def _start(self) -> int:
        if self._cursor is None:
            starts = await self._read(lambda c: read_starts(c, self._topic_id, self._group))
            floor = starts.pop(FLOOR, None)
            self._cursor = floor.offset if floor is not None else 0
            self._noted = {number: start for number, start in starts.items() if start.note}
            committed = self._committed = {n: start.offset for n, start in starts.items()}
            self._even_from = max(committed.values(), default=0)
        return self._cursor

    async def _read_on(self, max_records: int) -> list[Record]:
        cursor = await self._start()
        query = _READ if cursor >= self._even_from else _READ_UNEVEN
        arguments = {
            "cursor": cursor,
            "topic": self._topic_id,
            "consumer_group": self._group,
            "most": max_records,
        }
        rows, end = await self._read(lambda c: _rows_and_end(c, query, arguments))
        if not rows:
            # Nothing of this topic up to the log's end: never scan that stretch again.
            self._cursor = max(cursor, end)
            return []
        self._cursor = rows[-1][0] + 1
        records = []
        for row in rows:
            record = to_record(self._topic, row)
            self._outstanding.setdefault(record.partition, []).append(record.offset)
            records.append(record)
        return records


def to_record(topic: str, row: tuple[Any, ...]) -> Record:
    """Return a row of `_READ` as a record."""
    offset, partition, key, headers, value, timestamp_ms = row
    return Record(topic, partition, offset, key, value, decode_headers(headers), timestamp_ms)


def _rows_and_end(
    connection: sqlite3.Connection, query: str, arguments: dict[str, Any]
) -> tuple[list[Any], int]:
    # The end first: whatever is appended after it must not be taken for read.
    end = (connection.execute("SELECT max(offset) FROM records").fetchone()[0] or 0) + 1
    return connection.execute(query, arguments).fetchall(), end


def read_starts(connection: sqlite3.Connection, topic_id: int, group: str) -> dict[int, Start]:
    """Return what a group has committed by partition, the scan floor among it."""
    rows = connection.execute(
        "SELECT partition, next_offset, note FROM committed WHERE topic = ? AND consumer_group = ?",
        (topic_id, group),
    )
    return {partition: Start(offset, note) for partition, offset, note in rows}


def count_waiting(connection: sqlite3.Connection, topic_id: int, group: str) -> tuple[Any, int]:
    """Return a group's committed offsets and how many records wait from them on."""
    starts = read_starts(connection, topic_id, group)
    committed = {partition: start.offset for partition, start in starts.items()}
    floor = committed.pop(FLOOR, 0)
    arguments = {"cursor": floor, "topic": topic_id, "consumer_group": group}
    waiting = connection.execute(_COUNT, arguments).fetchone()[0]
    return committed, waiting


__all__ = [
    "FLOOR",
    "SqliteConsumer",
    "count_waiting",
    "decode_headers",
    "read_starts",
    "to_record",
]
