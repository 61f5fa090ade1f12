"""Reading the embedded log: one scan over the common sequence for all partitions of a topic.

Offsets of all partitions come from one sequence, so a consumer needs one cursor. What it commits
is kept per partition all the same, as Kafka does; beside it stands the scan floor, the offset
before which nothing is left to read in any partition, so that a restart never scans from the start.
"""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import msgspec

from meshkit.clock import unix_ms
from meshkit.events.log import Record

_READ = (
    "SELECT offset, partition, key, headers, value, timestamp_ms FROM records"
    " WHERE offset >= ? AND topic = ? ORDER BY offset LIMIT ?"
)
_UPSERT = (
    "INSERT INTO committed VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE"
    " SET next_offset = excluded.next_offset, committed_ms = excluded.committed_ms"
)
FLOOR = -1
"""The partition number under which the scan floor is kept."""

# Records that another process appended are noticed this late; our own at once.
_FOREIGN_POLL_SECONDS = 0.25

decode_headers = msgspec.msgpack.Decoder(tuple[tuple[str, bytes], ...]).decode

Read = Callable[[Callable[[sqlite3.Connection], Any]], Awaitable[Any]]
Write = Callable[[Callable[[sqlite3.Connection], Any]], Awaitable[Any]]


class SqliteConsumer:
    """A consumer of all partitions of one topic."""

    def __init__(
        self, topic: str, topic_id: int, group: str, read: Read, write: Write, wake: asyncio.Event
    ) -> None:
        self._topic = topic
        self._topic_id = topic_id
        self._group = group
        self._read = read
        self._write = write
        self._wake = wake
        self._cursor: int | None = None
        self._committed: dict[int, int] = {}
        self._outstanding: dict[int, list[int]] = {}

    async def consume(self, max_records: int, timeout: float) -> Sequence[Record]:
        """Return the next records, or none after `timeout` seconds."""
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

    async def commit(self, offsets: Mapping[int, int]) -> None:
        """Remember per partition the offset of the next record to read."""
        for partition, next_offset in offsets.items():
            waiting = self._outstanding.get(partition, [])
            self._outstanding[partition] = [o for o in waiting if o >= next_offset]
            self._committed[partition] = next_offset
        remembered = dict(offsets)
        if self._cursor is not None:
            unread = [offsets[0] for offsets in self._outstanding.values() if offsets]
            remembered[FLOOR] = min([self._cursor, *unread])
        now = unix_ms()
        rows = [(self._topic_id, self._group, p, o, now) for p, o in remembered.items()]
        await self._write(lambda connection: connection.executemany(_UPSERT, rows) and None)

    async def rewind(self) -> None:
        """Go back to the committed offsets."""
        self._cursor = None
        self._outstanding = {}

    async def close(self) -> None:
        """Leave the group."""

    async def _read_on(self, max_records: int) -> list[Record]:
        if self._cursor is None:
            committed = await self._read(lambda c: read_committed(c, self._topic_id, self._group))
            self._cursor = committed.pop(FLOOR, 0)
            self._committed = committed
        cursor = self._cursor
        arguments = (cursor, self._topic_id, max_records)
        rows = await self._read(lambda c: c.execute(_READ, arguments).fetchall())
        if not rows:
            return []
        self._cursor = rows[-1][0] + 1
        records = []
        for offset, partition, key, headers, value, timestamp_ms in rows:
            if offset < self._committed.get(partition, 0):
                continue
            self._outstanding.setdefault(partition, []).append(offset)
            pairs = decode_headers(headers)
            records.append(Record(self._topic, partition, offset, key, value, pairs, timestamp_ms))
        return records or await self._read_on(max_records)


def read_committed(connection: sqlite3.Connection, topic_id: int, group: str) -> dict[int, int]:
    """Return the committed offsets of a group by partition, the scan floor among them."""
    return dict(
        connection.execute(
            "SELECT partition, next_offset FROM committed WHERE topic = ? AND consumer_group = ?",
            (topic_id, group),
        ).fetchall()
    )


def count_waiting(connection: sqlite3.Connection, topic_id: int, group: str) -> tuple[Any, int]:
    """Return a group's committed offsets and how many records wait from them on."""
    committed = read_committed(connection, topic_id, group)
    floor = committed.pop(FLOOR, 0)
    waiting = 0
    by_partition = connection.execute(
        "SELECT partition, offset FROM records WHERE offset >= ? AND topic = ?", (floor, topic_id)
    )
    for partition, offset in by_partition:
        waiting += offset >= committed.get(partition, 0)
    return committed, waiting


__all__ = ["FLOOR", "SqliteConsumer", "count_waiting", "decode_headers", "read_committed"]
