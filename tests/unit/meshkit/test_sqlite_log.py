"""What is the SQLite log's own: group commit, compaction, and files that are not ours."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meshkit.errors import LogUnavailable, StartError
from meshkit.events import compaction, sqlite_writer
from meshkit.events.log import NewRecord, Record, TopicSpec
from meshkit.events.sqlite_log import SqliteEventLog

TOPIC = "things"
TOPICS = (TopicSpec(TOPIC, 4), TopicSpec("kept", 1, compact=False))


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[SqliteEventLog]:
    log = await SqliteEventLog.open(tmp_path / "events.db", TOPICS)
    yield log
    await log.close()


async def everything(log: SqliteEventLog, topic: str = TOPIC) -> list[Record]:
    consumer = log.consumer(topic, "all")
    records: list[Record] = []
    while batch := await consumer.consume(1000, 0):
        records += batch
    return records


async def test_concurrent_publishers_share_transactions(
    log: SqliteEventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    transactions = []
    transact = sqlite_writer.GroupCommitWriter._transact

    def counted(self: sqlite_writer.GroupCommitWriter, tasks: list[sqlite_writer.Task]) -> None:
        transactions.append(len(tasks))
        transact(self, tasks)

    monkeypatch.setattr(sqlite_writer.GroupCommitWriter, "_transact", counted)
    await asyncio.gather(*(log.publish(TOPIC, NewRecord(b"k", b"v")) for _ in range(500)))
    assert sum(transactions) == 500
    assert len(transactions) <= 10


async def test_disk_that_refuses_is_503_and_recovers(log: SqliteEventLog) -> None:
    def full(connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA max_page_count = 1")

    await log._writer.call(full)
    with pytest.raises(LogUnavailable, match="disk refused"):
        await log.publish(TOPIC, NewRecord(b"k", b"x" * 2_000_000))
    await log._writer.call(lambda c: c.execute("PRAGMA max_page_count = 1000000"))
    await log.publish(TOPIC, NewRecord(b"k", b"again"))
    assert [r.value for r in await everything(log)] == [b"again"]


async def test_full_queue_is_refused_at_once(
    log: SqliteEventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_writer, "QUEUE_MOST", 10)
    results = await asyncio.gather(
        *(log.publish(TOPIC, NewRecord(b"k", b"v")) for _ in range(30)), return_exceptions=True
    )
    assert sum(isinstance(result, LogUnavailable) for result in results) == 20
    assert len(await everything(log)) == 10


async def test_compaction_keeps_the_newest_of_each_key(log: SqliteEventLog) -> None:
    for number in range(30):
        await log.publish(TOPIC, NewRecord(b"k%d" % (number % 3), b"%d" % number))
        await log.publish("kept", NewRecord(b"k", b"%d" % number))
    result = await log.compact()
    assert result.superseded == 27
    assert {r.key: r.value for r in await everything(log)} == {
        b"k0": b"27",
        b"k1": b"28",
        b"k2": b"29",
    }
    assert len(await everything(log, "kept")) == 30


async def test_offset_is_never_used_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compaction, "DELETE_RETENTION_MS", -1000)
    log = await SqliteEventLog.open(tmp_path / "events.db", TOPICS)
    await log.publish(TOPIC, NewRecord(b"k", b"v"))
    last = await log.publish(TOPIC, NewRecord(b"k", None))
    consumer = log.consumer(TOPIC, "all")
    await consumer.commit({r.partition: r.offset + 1 for r in await consumer.consume(10, 1)})
    assert (await log.compact()).tombstones == 1
    await log.close()
    log = await SqliteEventLog.open(tmp_path / "events.db", TOPICS)
    assert (await log.publish(TOPIC, NewRecord(b"k", b"v"))).offset > last.offset
    await log.close()


async def test_tombstone_stays_until_every_group_has_read_it(
    log: SqliteEventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compaction, "DELETE_RETENTION_MS", -1000)
    await log.publish(TOPIC, NewRecord(b"k", None))
    assert (await log.compact()).tombstones == 0
    slow = log.consumer(TOPIC, "slow")
    records = await slow.consume(10, 1)
    assert (await log.compact()).tombstones == 0
    await slow.commit({r.partition: r.offset + 1 for r in records})
    assert (await log.compact()).tombstones == 1


async def test_young_tombstone_stays(log: SqliteEventLog) -> None:
    await log.publish(TOPIC, NewRecord(b"k", b"v"))
    await log.publish(TOPIC, NewRecord(b"k", None))
    await log.compact()
    assert [r.value for r in await everything(log)] == [None]


operations = st.lists(
    st.tuples(st.integers(0, 5), st.none() | st.binary(min_size=1, max_size=3), st.booleans()),
    max_size=40,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(operations)
async def test_compaction_at_any_time_leaves_the_same_state(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, bytes | None, bool]]
) -> None:
    log = await SqliteEventLog.open(tmp_path_factory.mktemp("log") / "events.db", TOPICS)
    try:
        newest: dict[bytes, bytes | None] = {}
        for number, value, compact in steps:
            key = b"k%d" % number
            await log.publish(TOPIC, NewRecord(key, value))
            newest[key] = value
            if compact:
                await log.compact()
        await log.compact()
        assert {r.key: r.value for r in await everything(log)} == newest
        assert len(await everything(log)) == len(newest)
    finally:
        await log.close()


async def test_other_number_of_partitions_is_refused(tmp_path: Path) -> None:
    await (await SqliteEventLog.open(tmp_path / "events.db", TOPICS)).close()
    with pytest.raises(StartError, match="has 4 partitions"):
        await SqliteEventLog.open(tmp_path / "events.db", [TopicSpec(TOPIC, 5)])


async def test_new_topic_joins_an_old_log(tmp_path: Path) -> None:
    await (await SqliteEventLog.open(tmp_path / "events.db", TOPICS)).close()
    log = await SqliteEventLog.open(tmp_path / "events.db", [TopicSpec("new", 2)])
    await log.publish("new", NewRecord(b"k", b"v"))
    await log.close()


@pytest.mark.parametrize("content", [b"not a database at all" * 100, None])
async def test_file_of_another_kind_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "events.db"
    if content is None:
        connection = sqlite3.connect(path)
        connection.execute("CREATE TABLE theirs (x)")
        connection.close()
    else:
        path.write_bytes(content)
    with pytest.raises(StartError, match="is not an event log"):
        await SqliteEventLog.open(path, TOPICS)


async def test_log_of_a_newer_mesh_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    await (await SqliteEventLog.open(path, TOPICS)).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(StartError, match="newer mesh"):
        await SqliteEventLog.open(path, TOPICS)


async def test_log_keeps_its_identity(tmp_path: Path) -> None:
    identities = []
    for name in ("a.db", "a.db", "b.db"):
        log = await SqliteEventLog.open(tmp_path / name, TOPICS)
        identities.append(log.log_id)
        await log.close()
    assert identities[0] == identities[1] != identities[2]


async def test_two_processes_may_write_and_read(tmp_path: Path) -> None:
    one = await SqliteEventLog.open(tmp_path / "events.db", TOPICS)
    two = await SqliteEventLog.open(tmp_path / "events.db", TOPICS)
    consumer = one.consumer(TOPIC, "all")
    waiting = asyncio.create_task(consumer.consume(10, 10))
    await asyncio.gather(
        *(log.publish(TOPIC, NewRecord(b"k", b"v")) for log in (one, two) for _ in range(50))
    )
    records = list(await waiting)
    while len(records) < 100:
        records += await consumer.consume(100, 1)
    assert len({r.offset for r in records}) == 100
    await one.close()
    await two.close()
