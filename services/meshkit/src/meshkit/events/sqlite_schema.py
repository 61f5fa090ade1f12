"""The file of the embedded log: one append-only table for all topics.

A record's offset is the table's rowid, one sequence for the whole log: appending touches the last
page of one B-tree only (8 µs of CPU a record at 64 a transaction, against 15 µs with a key of
partition and offset). AUTOINCREMENT keeps an offset from ever being used twice, even after
compaction has removed the newest rows.
"""

import sqlite3
import time
from collections.abc import Iterable
from pathlib import Path
from uuid import uuid4

from meshkit.errors import StartError
from meshkit.events.log import TopicSpec

VERSION = 2
_APPLICATION_ID = 0x6D657368  # "mesh"
_WAL_ATTEMPTS = 100
_WAL_RETRY_SECONDS = 0.02

_TABLES = """
CREATE TABLE records (
    offset INTEGER PRIMARY KEY AUTOINCREMENT,
    topic INTEGER NOT NULL,
    partition INTEGER NOT NULL,
    key BLOB NOT NULL,
    headers BLOB NOT NULL,
    value BLOB,
    timestamp_ms INTEGER NOT NULL
);
CREATE TABLE topics (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    partitions INTEGER NOT NULL,
    compact INTEGER NOT NULL,
    clean_offset INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE committed (
    topic INTEGER NOT NULL,
    consumer_group TEXT NOT NULL,
    partition INTEGER NOT NULL,
    next_offset INTEGER NOT NULL,
    committed_ms INTEGER NOT NULL,
    note TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (topic, consumer_group, partition)
) WITHOUT ROWID;
CREATE TABLE log_identity (log_id TEXT NOT NULL);
"""
# What makes a file of the version before into one of this.
_SINCE_VERSION_1 = "ALTER TABLE committed ADD COLUMN note TEXT NOT NULL DEFAULT ''"


def connect(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """Open the file for one thread at a time. Transactions are begun by hand."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
    if read_only:
        connection.execute("PRAGMA query_only = ON")
    return connection


def open_writer(path: Path, topics: Iterable[TopicSpec]) -> sqlite3.Connection:
    """Open the file for writing, made or checked. Raises StartError with the way out."""
    try:
        connection = connect(path)
    except sqlite3.OperationalError as error:
        raise StartError(f"the event log {path} cannot be opened: {error}") from None
    try:
        _prepare(connection, path, topics)
    except sqlite3.OperationalError as error:
        connection.close()
        raise StartError(f"the event log {path} cannot be opened now: {error}") from None
    except sqlite3.DatabaseError as error:
        connection.close()
        raise StartError(
            f"{path} is not an event log of this mesh ({error}). Move it away, or choose another"
            " data folder with MESH_DATA_DIR."
        ) from None
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection, path: Path, topics: Iterable[TopicSpec]) -> None:
    # Larger pages: fewer of them to write for the same records. Only a new file takes it.
    connection.execute("PRAGMA page_size = 16384")
    _check_kind(connection, path)
    _switch_to_wal(connection)
    # FULL: a commit returns after the disk has it. Acknowledged has to mean durable.
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA wal_autocheckpoint = 2000")
    connection.execute("BEGIN IMMEDIATE")
    # Within the lock: two processes may find the same file new.
    version = _check_kind(connection, path)
    if not version:
        for statement in _TABLES.split(";"):
            connection.execute(statement)
        connection.execute("INSERT INTO log_identity VALUES (?)", (str(uuid4()),))
        connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
    elif version == 1:
        connection.execute(_SINCE_VERSION_1)
    connection.execute(f"PRAGMA user_version = {VERSION}")
    for topic in topics:
        _ensure_topic(connection, topic)
    connection.execute("COMMIT")


def _switch_to_wal(connection: sqlite3.Connection) -> None:
    # The one statement that SQLite's busy timeout does not cover: while another process switches
    # the same new file, it fails at once.
    for attempt in range(_WAL_ATTEMPTS):
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError:
            if attempt == _WAL_ATTEMPTS - 1:
                raise
            time.sleep(_WAL_RETRY_SECONDS)
        else:
            return


def _check_kind(connection: sqlite3.Connection, path: Path) -> int:
    """Return the version of the file, 0 where it is new; raise where it is not ours to use."""
    # In one statement: another process may be making the log between two of them.
    application_id, version, tables = connection.execute(
        "SELECT (SELECT application_id FROM pragma_application_id),"
        " (SELECT user_version FROM pragma_user_version), (SELECT count(*) FROM sqlite_master)"
    ).fetchone()
    if tables and application_id != _APPLICATION_ID:
        raise sqlite3.DatabaseError("another application's database")
    if version > VERSION:
        raise StartError(f"{path} was written by a newer mesh ({version}): upgrade this one")
    return int(version) if tables else 0


def _ensure_topic(connection: sqlite3.Connection, topic: TopicSpec) -> None:
    row = connection.execute(
        "SELECT partitions FROM topics WHERE name = ?", (topic.name,)
    ).fetchone()
    if row is None:
        connection.execute(
            "INSERT INTO topics (name, partitions, compact) VALUES (?, ?, ?)",
            (topic.name, topic.partitions, topic.compact),
        )
    elif row[0] != topic.partitions:
        # Another number would move keys to other partitions and break their order.
        raise StartError(
            f"topic {topic.name} has {row[0]} partitions in this log and should have"
            f" {topic.partitions}: use a new data folder (MESH_DATA_DIR) and load it again"
        )


def read_topics(connection: sqlite3.Connection) -> dict[str, tuple[int, TopicSpec]]:
    """Return the topics of the file by name, each with its id."""
    rows = connection.execute("SELECT id, name, partitions, compact FROM topics")
    return {name: (id_, TopicSpec(name, n, bool(compact))) for id_, name, n, compact in rows}


def read_log_id(connection: sqlite3.Connection) -> str:
    """Return the identity that this log was given when it was made."""
    log_id: str = connection.execute("SELECT log_id FROM log_identity").fetchone()[0]
    return log_id


__all__ = ["VERSION", "connect", "open_writer", "read_log_id", "read_topics"]
