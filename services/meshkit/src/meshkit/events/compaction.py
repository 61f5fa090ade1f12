"""Compaction of the embedded log: of each key only the newest record stays.

As in Kafka: a pass runs when at least half of a topic is dirty (appended since the last pass), so
its cost is a constant per record appended. It notes the newest offset of each dirty key in a
temporary table, deletes what is older, and lets a tombstone go when it is older than the
retention and every living consumer group has read it. Every step is a short transaction of its
own on the write connection, between two batches of publishers; a pass that is cut off is done
again.
"""

import sqlite3
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
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


async def compact_topic(write: Write, topic_id: int, now_ms: int) -> CompactionResult:
    """Compact one topic up to its present end."""
    clean, end, consumed = await write(lambda c: _begin(c, topic_id, now_ms))
    for start in range(clean, end, STEP_RECORDS):
        await write(_noting(topic_id, start, min(start + STEP_RECORDS, end)))
    first = await write(lambda c: _scalar(c, "SELECT min(offset) FROM records"))
    superseded = tombstones = 0
    for start in range(first, end, STEP_RECORDS):
        stop = min(start + STEP_RECORDS, end)
        superseded += await write(_deleting_superseded(topic_id, start, stop))
        oldest = now_ms - DELETE_RETENTION_MS
        if start < consumed:
            stop = min(stop, consumed)
            tombstones += await write(_deleting_tombstones(topic_id, start, stop, oldest))
    await write(lambda c: _finish(c, topic_id, end))
    return CompactionResult(superseded, tombstones)


def dirty_share(connection: sqlite3.Connection, topic_id: int) -> tuple[float, int]:
    """Return which share of a topic's records is dirty, and how many records it has."""
    total = _scalar(connection, "SELECT count(*) FROM records WHERE topic = ?", topic_id)
    dirty = _scalar(
        connection,
        "SELECT count(*) FROM records WHERE topic = ?1 AND offset >="
        " (SELECT clean_offset FROM topics WHERE id = ?1)",
        topic_id,
    )
    return (dirty / total if total else 0.0), total


def _begin(connection: sqlite3.Connection, topic_id: int, now_ms: int) -> tuple[int, int, int]:
    connection.execute("CREATE TEMP TABLE IF NOT EXISTS newest (key BLOB PRIMARY KEY, offset)")
    connection.execute("DELETE FROM newest")
    clean = _scalar(connection, "SELECT clean_offset FROM topics WHERE id = ?", topic_id)
    end = _scalar(connection, "SELECT max(offset) FROM records WHERE topic = ?", topic_id) + 1
    consumed = _scalar(
        connection,
        "SELECT min(next_offset) FROM committed"
        " WHERE topic = ? AND partition = ? AND committed_ms > ?",
        topic_id,
        FLOOR,
        now_ms - GROUP_RETENTION_MS,
    )
    return clean, end, consumed


def _noting(topic_id: int, start: int, stop: int) -> Callable[[sqlite3.Connection], None]:
    def note(connection: sqlite3.Connection) -> None:
        connection.execute(
            "INSERT INTO newest SELECT key, max(offset) FROM records"
            " WHERE offset >= ? AND offset < ? AND topic = ? GROUP BY key"
            " ON CONFLICT DO UPDATE SET offset = excluded.offset",
            (start, stop, topic_id),
        )

    return note


def _deleting_superseded(topic_id: int, start: int, stop: int) -> Callable[[Any], int]:
    def delete(connection: sqlite3.Connection) -> int:
        return connection.execute(
            "DELETE FROM records WHERE offset >= ? AND offset < ? AND topic = ? AND offset <"
            " (SELECT newest.offset FROM newest WHERE newest.key = records.key)",
            (start, stop, topic_id),
        ).rowcount

    return delete


def _deleting_tombstones(
    topic_id: int, start: int, stop: int, oldest_ms: int
) -> Callable[[Any], int]:
    def delete(connection: sqlite3.Connection) -> int:
        # Whatever is left of a key before `end` is its newest record there; if a newer one was
        # appended meanwhile, the tombstone is superseded and may go all the same.
        return connection.execute(
            "DELETE FROM records WHERE offset >= ? AND offset < ? AND topic = ?"
            " AND value IS NULL AND timestamp_ms < ?",
            (start, stop, topic_id, oldest_ms),
        ).rowcount

    return delete


def _finish(connection: sqlite3.Connection, topic_id: int, end: int) -> None:
    connection.execute("UPDATE topics SET clean_offset = ? WHERE id = ?", (end, topic_id))
    connection.execute("DELETE FROM newest")


def _scalar(connection: sqlite3.Connection, query: str, *arguments: Any) -> int:
    value = connection.execute(query, arguments).fetchone()[0]
    return 0 if value is None else int(value)


__all__ = ["MIN_DIRTY_SHARE", "CompactionResult", "compact_topic", "dirty_share"]
