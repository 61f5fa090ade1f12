"""Compaction of the embedded log: of each key only the newest record stays.

A key's newest record is the newest of all partitions. Kafka compacts each partition by itself, and
keeps an older record of a key that lies in two; here the older one goes, and a tombstone ends the
key wherever it lies. So keys that an older version put into other partitions need no migration.

As in Kafka: a pass runs when at least half of a topic is dirty (appended since the last pass), so
its cost is a constant per record appended. It notes the newest offset of each dirty key in a
temporary table, deletes what is older, and lets a tombstone go when it is older than the
retention and every living consumer group has read it.

Every step is a short transaction of its own on the write connection, between two batches of
publishers. Steps go from old to new, so a tombstone only goes after all it has ended is gone; a
pass that is cut off has done no harm and is done again. Two passes at once would share the
temporary table: `compaction_schedule` runs one at a time.
"""

import sqlite3
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from meshkit.events.sqlite_consumer import FLOOR

STEP_RECORDS = 500
MIN_DIRTY_SHARE = 0.5
DELETE_RETENTION_MS = 24 * 3600 * 1000
# A group that has not committed for so long is taken for gone, as Kafka does.
GROUP_RETENTION_MS = 7 * DELETE_RETENTION_MS

Write = Callable[[Callable[[sqlite3.Connection], Any]], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class CompactionResult:
    """How many superseded records and how many old tombstones a pass removed."""

    superseded: int
    tombstones: int

    def __add__(self, other: "CompactionResult") -> "CompactionResult":
        return CompactionResult(
            self.superseded + other.superseded, self.tombstones + other.tombstones
        )


@dataclass(frozen=True, slots=True)
class _Pass:
    """What one pass works on: offsets before `end`, of which those from `clean` on are dirty.
    Tombstones go before offset `consumed`, where they were written before `oldest_ms`."""

    topic_id: int
    clean: int
    end: int
    consumed: int
    oldest_ms: int


async def compact_topic(
    write: Write, topic_id: int, now_ms: int, delete_retention_ms: int
) -> CompactionResult:
    """Compact one topic up to its present end. Raises LogUnavailable with the pass undone."""
    work: _Pass = await write(
        partial(_begin, topic_id=topic_id, now_ms=now_ms, delete_retention_ms=delete_retention_ms)
    )
    start: int = work.clean
    while start < work.end:
        start = await write(partial(_note, work=work, start=start))
    total = CompactionResult(0, 0)
    start = 0
    while start < work.end:
        start, removed = await write(partial(_delete, work=work, start=start))
        total += removed
    await write(partial(_finish, work=work))
    return total


def dirty_and_total(connection: sqlite3.Connection, topic_id: int) -> tuple[int, int]:
    """Return how many records of a topic are dirty, and how many it has. Scans the log."""
    dirty, total = connection.execute(
        "SELECT count(*) FILTER (WHERE offset >="
        " (SELECT clean_offset FROM topics WHERE id = :topic)), count(*)"
        " FROM records WHERE topic = :topic",
        {"topic": topic_id},
    ).fetchone()
    return dirty, total


def _begin(
    connection: sqlite3.Connection, topic_id: int, now_ms: int, delete_retention_ms: int
) -> _Pass:
    connection.execute("CREATE TEMP TABLE IF NOT EXISTS newest (key BLOB PRIMARY KEY, offset)")
    connection.execute("DELETE FROM newest")
    consumed = _scalar(
        connection,
        "SELECT min(next_offset) FROM committed"
        " WHERE topic = ? AND partition = ? AND committed_ms > ?",
        topic_id,
        FLOOR,
        now_ms - GROUP_RETENTION_MS,
    )
    return _Pass(
        topic_id=topic_id,
        clean=_scalar(connection, "SELECT clean_offset FROM topics WHERE id = ?", topic_id),
        end=_scalar(connection, "SELECT max(offset) FROM records") + 1,
        consumed=consumed,
        oldest_ms=now_ms - delete_retention_ms,
    )


def _note(connection: sqlite3.Connection, work: _Pass, start: int) -> int:
    stop = _step_end(connection, start, work.end)
    connection.execute(
        "INSERT INTO newest SELECT key, max(offset) FROM records"
        " WHERE offset >= ? AND offset < ? AND topic = ? GROUP BY key"
        " ON CONFLICT DO UPDATE SET offset = excluded.offset",
        (start, stop, work.topic_id),
    )
    return stop


def _delete(
    connection: sqlite3.Connection, work: _Pass, start: int
) -> tuple[int, CompactionResult]:
    stop = _step_end(connection, start, work.end)
    superseded = connection.execute(
        "DELETE FROM records WHERE offset >= ? AND offset < ? AND topic = ? AND offset <"
        " (SELECT newest.offset FROM newest WHERE newest.key = records.key)",
        (start, stop, work.topic_id),
    ).rowcount
    # Whatever is left of a key before `end` is its newest record there; if a newer one was
    # appended meanwhile, the tombstone is superseded and may go all the same.
    tombstones = connection.execute(
        "DELETE FROM records WHERE offset >= ? AND offset < ? AND topic = ?"
        " AND value IS NULL AND timestamp_ms < ?",
        (start, min(stop, work.consumed), work.topic_id, work.oldest_ms),
    ).rowcount
    return stop, CompactionResult(superseded, tombstones)


def _step_end(connection: sqlite3.Connection, start: int, end: int) -> int:
    # Steps count records, not offsets: compaction leaves gaps of any width.
    stop = _scalar(
        connection,
        "SELECT offset FROM records WHERE offset >= ? ORDER BY offset LIMIT 1 OFFSET ?",
        start,
        STEP_RECORDS,
    )
    return min(stop or end, end)


def _finish(connection: sqlite3.Connection, work: _Pass) -> None:
    connection.execute("UPDATE topics SET clean_offset = ? WHERE id = ?", (work.end, work.topic_id))
    connection.execute("DELETE FROM newest")


def _scalar(connection: sqlite3.Connection, query: str, *arguments: Any) -> int:
    row = connection.execute(query, arguments).fetchone()
    return 0 if row is None or row[0] is None else int(row[0])


__all__ = [
    "DELETE_RETENTION_MS",
    "MIN_DIRTY_SHARE",
    "CompactionResult",
    "compact_topic",
    "dirty_and_total",
]
