"""Reading anywhere in the embedded log, one partition at a time."""

import sqlite3
from typing import Any

from meshkit.events.log import Chunk
from meshkit.events.sqlite_consumer import Read, to_record

_READ = (
    "SELECT offset, partition, key, headers, value, timestamp_ms FROM records"
    " WHERE offset >= :offset AND offset < :end AND topic = :topic AND partition = :partition"
    " ORDER BY offset LIMIT :most"
)
# There is no index by partition: a partition with few records is looked for in stretches.
_SCANNED_MOST = 20_000


class SqliteReader:
    """Reads one topic's partitions."""

    def __init__(self, topic: str, topic_id: int, read: Read) -> None:
        self._topic = topic
        self._topic_id = topic_id
        self._read = read

    async def read(self, partition: int, offset: int, max_records: int) -> Chunk:
        """Return the records of a partition from `offset` on. Raises LogUnavailable."""
        rows, end = await self._read(lambda c: self._rows(c, partition, offset, max_records))
        return Chunk([to_record(self._topic, row) for row in rows], end)

    async def close(self) -> None:
        """Nothing to release."""

    def _rows(
        self, connection: sqlite3.Connection, partition: int, offset: int, most: int
    ) -> tuple[list[Any], int]:
        last = connection.execute("SELECT max(offset) FROM records").fetchone()[0] or 0
        end = max(offset, min(offset + _SCANNED_MOST, last + 1))
        arguments = {
            "offset": offset,
            "end": end,
            "topic": self._topic_id,
            "partition": partition,
            "most": most,
        }
        rows = connection.execute(_READ, arguments).fetchall()
        return rows, rows[-1][0] + 1 if len(rows) == most else end


def read_ends(connection: sqlite3.Connection, topic_id: int) -> dict[int, tuple[int, int]]:
    """Return by partition the offsets of the first record and after the last one."""
    rows = connection.execute(
        "SELECT partition, min(offset), max(offset) + 1 FROM records WHERE topic = ?"
        " GROUP BY partition",
        (topic_id,),
    ).fetchall()
    return {partition: (first, end) for partition, first, end in rows}


__all__ = ["SqliteReader", "read_ends"]
