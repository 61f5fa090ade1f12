"""What is the SQLite log's own: group commit, compaction, and files that are not ours."""

import asyncio
import sqlite3
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meshkit.clock import unix_ms
from meshkit.errors import LogUnavailable, StartError
from meshkit.events import compaction, sqlite_consumer, sqlite_schema, sqlite_writer
from meshkit.events.log import NewRecord, Record, TopicSpec
from meshkit.events.sqlite_log import SqliteEventLog

TOPIC = "things"
TOPICS = (TopicSpec(TOPIC, 4), TopicSpec("kept", 1, compact=False))


DAY_MS = 24 * 3600 * 1000


class SetClock:
    """A wall clock in milliseconds that only moves when a test moves it."""

    def __init__(self) -> None:
        self.ms = 1_800_000_000_000

    def __call__(self) -> int:
        return self.ms


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
async def log(tmp_path: Path, clock: SetClock) -> AsyncIterator[SqliteEventLog]:
    log = await SqliteEventLog.open(
        tmp_path / "events.db", TOPICS, now_ms=clock, least_records=1000
    )
    yield log
    await log.close()


def next_offsets(records: Sequence[Record]) -> dict[int, int]:
    return {r.partition: r.offset + 1 for r in records}


async def everything(log: SqliteEventLog, topic: str = TOPIC, group: str = "all") -> list[Record]:
    consumer = log.consumer(topic, group)
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


async def test_transaction_is_bounded_and_batches_stay_whole(
    log: SqliteEventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []
    transact = sqlite_writer.GroupCommitWriter._transact

    def counted(self: sqlite_writer.GroupCommitWriter, tasks: list[sqlite_writer.Task]) -> None:
        sizes.append(sum(sqlite_writer._size(task) for task in tasks))
        transact(self, tasks)

    monkeypatch.setattr(sqlite_writer.GroupCommitWriter, "_transact", counted)
    monkeypatch.setattr(sqlite_writer, "TRANSACTION_MOST", 100)
    batch = [NewRecord(b"k", b"v")] * 70
    places = await asyncio.gather(*(log.publish_many(TOPIC, batch) for _ in range(10)))
    assert sizes == [70] * 10
    assert [p.offset for batch in places for p in batch] == list(range(1, 701))


async def test_batch_larger_than_the_queue_is_taken_when_it_is_alone(
    log: SqliteEventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_writer, "QUEUE_MOST", 10)
    assert len(await log.publish_many(TOPIC, [NewRecord(b"k", b"v")] * 11)) == 11


async def test_disk_that_refuses_is_503_and_recovers(log: SqliteEventLog) -> None:
    def full(connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA max_page_count = 1")

    await log._writer.call(full)
    with pytest.raises(LogUnavailable, match="disk refused") as refused:
        await log.publish(TOPIC, NewRecord(b"k", b"x" * 2_000_000))
    assert refused.value.retry_after == 1.0
    await log._writer.call(lambda c: c.execute("PRAGMA max_page_count = 1000000"))
    await log.publish(TOPIC, NewRecord(b"k", b"again"))
    assert [r.value for r in await everything(log)] == [b"again"]


class FailingDisk:
    """A write connection on which some statements fail, as on a disk that is away."""

    def __init__(self, connection: sqlite3.Connection, *failing: str) -> None:
        self._connection = connection
        self._failing = failing

    def execute(self, statement: str) -> sqlite3.Cursor:
        if statement in self._failing:
            raise sqlite3.OperationalError("disk I/O error")
        return self._connection.execute(statement)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


@pytest.mark.parametrize("failing", [("COMMIT",), ("COMMIT", "ROLLBACK"), ("BEGIN IMMEDIATE",)])
async def test_failed_sync_fails_its_whole_batch_and_the_next_one_passes(
    log: SqliteEventLog, monkeypatch: pytest.MonkeyPatch, failing: tuple[str, ...]
) -> None:
    with monkeypatch.context() as away:
        away.setattr(log._writer, "_connection", FailingDisk(log._writer._connection, *failing))
        results = await asyncio.gather(
            *(log.publish(TOPIC, NewRecord(b"k", b"lost")) for _ in range(5)),
            return_exceptions=True,
        )
    assert [type(result) for result in results] == [LogUnavailable] * 5
    await log.publish(TOPIC, NewRecord(b"k", b"kept"))
    assert [r.value for r in await everything(log)] == [b"kept"]


async def test_record_that_is_wrong_in_itself_fails_alone(log: SqliteEventLog) -> None:
    wrong: Any = object()
    results = await asyncio.gather(
        *(log.publish(TOPIC, NewRecord(b"k", value)) for value in (b"1", wrong, b"2")),
        return_exceptions=True,
    )
    assert isinstance(results[1], sqlite3.ProgrammingError)
    assert [r.value for r in await everything(log)] == [b"1", b"2"]


async def test_step_of_compaction_that_fails_takes_no_publisher_with_it(
    log: SqliteEventLog,
) -> None:
    def fail(connection: sqlite3.Connection) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    results = await asyncio.gather(
        log.publish(TOPIC, NewRecord(b"k", b"1")),
        log._writer.call(fail),
        log.publish(TOPIC, NewRecord(b"k", b"2")),
        return_exceptions=True,
    )
    assert isinstance(results[1], LogUnavailable)
    assert [r.value for r in await everything(log)] == [b"1", b"2"]


async def test_commit_that_failed_skips_nothing_later(
    log: SqliteEventLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(40):
        await log.publish(TOPIC, NewRecord(b"k%d" % number, b"v"))
    consumer = log.consumer(TOPIC, "g")
    records = await consumer.consume(100, 1)
    offsets = next_offsets(records)
    with monkeypatch.context() as away:
        away.setattr(log._writer, "_connection", FailingDisk(log._writer._connection, "COMMIT"))
        with pytest.raises(LogUnavailable):
            await consumer.commit({0: offsets[0]})
    await consumer.commit({p: o for p, o in offsets.items() if p})
    again = await log.consumer(TOPIC, "g").consume(100, 1)
    assert again == [r for r in records if r.partition == 0]


async def test_closed_consumer_is_forgotten(log: SqliteEventLog) -> None:
    consumers = [log.consumer(TOPIC, "g") for _ in range(5)]
    for consumer in consumers:
        await consumer.close()
    assert not log._wakes


async def test_consumer_is_not_woken_by_other_topics(
    log: SqliteEventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_consumer, "_FOREIGN_POLL_SECONDS", 60)
    quiet = log.consumer("kept", "g")
    assert isinstance(quiet, sqlite_consumer.SqliteConsumer)
    looks = mock.AsyncMock(wraps=quiet._read_on)
    monkeypatch.setattr(quiet, "_read_on", looks)
    waiting = asyncio.create_task(quiet.consume(10, 60))
    for _ in range(5):
        await log.publish(TOPIC, NewRecord(b"k", b"v"))
    assert looks.await_count == 1
    await log.publish("kept", NewRecord(b"k", b"own"))
    assert [record.value for record in await waiting] == [b"own"]
    assert looks.await_count == 2


async def test_quiet_topic_does_not_scan_its_busy_neighbour_twice(log: SqliteEventLog) -> None:
    await log.publish_many(TOPIC, [NewRecord(b"k", b"v")] * 50)
    quiet = log.consumer("kept", "g")
    assert not await quiet.consume(1, 0)
    assert quiet._cursor == 51
    await log.publish("kept", NewRecord(b"k", b"v"))
    assert len(await quiet.consume(1, 5)) == 1


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


async def test_offset_is_never_used_again(tmp_path: Path) -> None:
    log = await SqliteEventLog.open(tmp_path / "events.db", TOPICS, delete_retention_ms=-1)
    await log.publish(TOPIC, NewRecord(b"k", b"v"))
    last = await log.publish(TOPIC, NewRecord(b"k", None))
    consumer = log.consumer(TOPIC, "all")
    await consumer.commit(next_offsets(await consumer.consume(10, 1)))
    assert (await log.compact()).tombstones == 1
    await log.close()
    log = await SqliteEventLog.open(tmp_path / "events.db", TOPICS)
    assert (await log.publish(TOPIC, NewRecord(b"k", b"v"))).offset > last.offset
    await log.close()


async def test_tombstone_stays_until_every_group_has_read_it(
    log: SqliteEventLog, clock: SetClock
) -> None:
    await log.publish(TOPIC, NewRecord(b"k", None))
    clock.ms += DAY_MS + 1
    assert (await log.compact()).tombstones == 0
    slow = log.consumer(TOPIC, "slow")
    records = await slow.consume(10, 1)
    assert (await log.compact()).tombstones == 0
    await slow.commit(next_offsets(records))
    assert (await log.compact()).tombstones == 1


async def test_tombstone_stays_for_a_day_and_goes_then(
    log: SqliteEventLog, clock: SetClock
) -> None:
    await log.publish(TOPIC, NewRecord(b"k", b"v"))
    await log.publish(TOPIC, NewRecord(b"k", None))
    reader = log.consumer(TOPIC, "g")
    await reader.commit(next_offsets(await reader.consume(10, 1)))
    clock.ms += DAY_MS
    await log.compact()
    assert [r.value for r in await everything(log)] == [None]
    clock.ms += 1
    await log.compact()
    assert await everything(log) == []


def as_before(key: bytes, value: bytes | None) -> NewRecord:
    """A record where versions before murmur2 put it: by CRC-32 of the key."""
    return NewRecord(key, value, (), zlib.crc32(key) % 4)


async def test_keys_of_an_older_partitioner_are_compacted_with_those_of_today(
    log: SqliteEventLog, clock: SetClock
) -> None:
    keys = [b"k%d" % number for number in range(40)]
    old = [await log.publish(TOPIC, as_before(key, b"old")) for key in keys]
    new = [await log.publish(TOPIC, NewRecord(key, b"new")) for key in keys]
    moved = [b for a, b in zip(old, new, strict=True) if a.partition != b.partition]
    assert len(moved) > 20
    assert (await log.compact()).superseded == 40
    assert {r.value for r in await everything(log)} == {b"new"}
    assert len(await everything(log)) == 40


async def test_tombstone_ends_the_older_record_of_its_key_in_another_partition(
    log: SqliteEventLog, clock: SetClock
) -> None:
    keys = [b"k%d" % number for number in range(40)]
    for key in keys:
        await log.publish(TOPIC, as_before(key, b"old"))
        await log.publish(TOPIC, NewRecord(key, None))
    reader = log.consumer(TOPIC, "g")
    await reader.commit(next_offsets(await reader.consume(100, 1)))
    await log.compact()
    assert [r.value for r in await everything(log)] == [None] * 40
    clock.ms += DAY_MS + 1
    await log.compact()
    assert await everything(log) == []


async def test_tombstone_in_another_partition_ends_no_newer_record(
    log: SqliteEventLog, clock: SetClock
) -> None:
    keys = [b"k%d" % number for number in range(40)]
    for key in keys:
        await log.publish(TOPIC, as_before(key, None))
        await log.publish(TOPIC, NewRecord(key, b"new"))
    reader = log.consumer(TOPIC, "g")
    await reader.commit(next_offsets(await reader.consume(100, 1)))
    clock.ms += DAY_MS + 1
    await log.compact()
    assert [r.value for r in await everything(log)] == [b"new"] * 40


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(10):
        while not await holds():
            await asyncio.sleep(0.005)


async def test_log_compacts_itself_when_half_of_it_is_dirty(log: SqliteEventLog) -> None:
    async def is_compact() -> bool:
        return len(await everything(log)) < 1000

    for _ in range(12):
        await log.publish_many(TOPIC, [NewRecord(b"k%d" % n, b"v") for n in range(100)])
    await until(is_compact)
    assert {r.key for r in await everything(log)} == {b"k%d" % n for n in range(100)}


async def test_failed_compaction_is_tried_again(
    log: SqliteEventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(connection: sqlite3.Connection, work: compaction._Pass) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    with monkeypatch.context() as away:
        away.setattr(compaction, "_finish", refuse)
        await log.publish_many(TOPIC, [NewRecord(b"k%d" % (n % 9), b"v") for n in range(2000)])
        with pytest.raises(LogUnavailable):
            await log.compact()
    await log.compact()
    assert len(await everything(log)) == 9


async def test_passes_at_once_never_bring_a_deleted_key_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compaction, "STEP_RECORDS", 10)
    log = await SqliteEventLog.open(tmp_path / "events.db", TOPICS, delete_retention_ms=-1)
    await log.publish_many(TOPIC, [NewRecord(b"k%d" % n, b"v") for n in range(200)])
    await log.publish_many(TOPIC, [NewRecord(b"k%d" % n, None) for n in range(200)])
    reader = log.consumer(TOPIC, "g")
    await reader.commit(next_offsets(await reader.consume(1000, 1)))
    first = asyncio.create_task(log.compact())

    async def is_deleting() -> bool:
        return len(await everything(log)) < 390

    await until(is_deleting)
    await asyncio.gather(first, log.compact())
    await log.compact()
    assert [r for r in await everything(log) if r.value is not None] == []
    await log.close()


operations = st.lists(
    st.tuples(st.integers(0, 5), st.none() | st.binary(min_size=1, max_size=3), st.booleans()),
    max_size=40,
)
# Steps of a pass after which it is cut off, as by a kill.
cuts = st.none() | st.integers(0, 8)


class CutOff(Exception):
    pass


def cut_off_after(write: compaction.Write, steps: int | None) -> compaction.Write:
    done = 0

    async def counted(action: Callable[[sqlite3.Connection], Any]) -> Any:
        nonlocal done
        if steps is not None and done >= steps:
            raise CutOff
        done += 1
        return await write(action)

    return counted


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(operations, st.lists(cuts, min_size=3, max_size=3), st.integers(0, 40))
async def test_pass_cut_off_anywhere_loses_no_newest_record_for_any_reader(
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    steps: list[tuple[int, bytes | None, bool]],
    cuts: list[int | None],
    read: int,
) -> None:
    monkeypatch.setattr(compaction, "STEP_RECORDS", 3)
    path = tmp_path_factory.mktemp("log") / "events.db"
    log = await SqliteEventLog.open(path, TOPICS)
    try:
        state: dict[bytes, bytes | None] = {}
        newest: dict[bytes, bytes | None] = {}
        reader = log.consumer(TOPIC, "g")
        for index, (number, value, compact) in enumerate(steps):
            key = b"k%d" % number
            await log.publish(TOPIC, NewRecord(key, value))
            newest[key] = value
            if index == read:
                records = await reader.consume(1000, 1)
                state = {r.key: r.value for r in records}
                await reader.commit(next_offsets(records))
            if compact:
                write = cut_off_after(log._writer.call, cuts[index % 3])
                with suppress(CutOff):
                    await compaction.compact_topic(write, 1, unix_ms(), -1)
        await log.close()
        log = await SqliteEventLog.open(path, TOPICS)
        state |= {r.key: r.value for r in await everything(log, group="g")}
        present = {k: v for k, v in newest.items() if v is not None}
        assert {k: v for k, v in state.items() if v is not None} == present
        fresh = {r.key: r.value for r in await everything(log)}
        assert {k: v for k, v in fresh.items() if v is not None} == present
    finally:
        await log.close()


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
        identities.append(await log.log_id())
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


async def test_processes_that_start_at_once_make_one_log(tmp_path: Path) -> None:
    opened = await asyncio.gather(
        *(SqliteEventLog.open(tmp_path / "events.db", TOPICS) for _ in range(4))
    )
    assert len({await log.log_id() for log in opened}) == 1
    for log in opened:
        await log.close()


class BusyConnection(sqlite3.Connection):
    """A connection to a file that another process is switching to WAL just now."""

    refusals = 3

    def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
        if "journal_mode" in sql and self.refusals:
            self.refusals -= 1
            raise sqlite3.OperationalError("database is locked")
        return super().execute(sql, *parameters)


async def test_file_that_another_process_is_making_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "events.db"

    def connect(path: Path) -> sqlite3.Connection:
        return sqlite3.connect(
            path, isolation_level=None, check_same_thread=False, factory=BusyConnection
        )

    monkeypatch.setattr(sqlite_schema, "connect", connect)
    log = await SqliteEventLog.open(path)
    await log.close()


async def test_log_of_the_version_before_is_taken_over_with_its_commits(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    log = await SqliteEventLog.open(path, TOPICS)
    await log.publish_many(TOPIC, [NewRecord(b"k%d" % n, b"v") for n in range(9)])
    consumer = log.consumer(TOPIC, "readers")
    await consumer.commit(next_offsets(await consumer.consume(5, 1)))
    await log.close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("ALTER TABLE committed DROP COLUMN note")
        connection.execute("PRAGMA user_version = 1")
    for _ in range(2):
        log = await SqliteEventLog.open(path, TOPICS)
        consumer = log.consumer(TOPIC, "readers")
        rest = await consumer.consume(100, 1)
        assert [r.key for r in rest] == [b"k%d" % n for n in range(5, 9)]
        await log.close()


async def test_who_comes_while_others_do_shares_a_transaction_and_who_comes_alone_has_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_writer, "_GATHER_SECONDS", 0.5)
    committed: list[int] = []
    log = await SqliteEventLog.open(tmp_path / "events.db", TOPICS)
    monkeypatch.setattr(log._writer, "_on_commit", lambda by: committed.append(sum(by.values())))

    async def publish_one_by_one(count: int) -> None:
        tasks = []
        for _ in range(count):
            tasks.append(asyncio.create_task(log.publish(TOPIC, NewRecord(b"k", b"v"))))
            await asyncio.sleep(0.01)
        await asyncio.gather(*tasks)

    await asyncio.gather(*(log.publish(TOPIC, NewRecord(b"k", b"v")) for _ in range(5)))
    await publish_one_by_one(3)
    assert committed == [5, 3]
    for _ in range(2):
        await publish_one_by_one(1)
    assert committed == [5, 3, 1, 1]
    await log.close()
