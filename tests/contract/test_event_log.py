"""What every event log promises, whatever it is made of. An adapter joins by one line in `LOGS`."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from uuid import uuid4

import msgspec
import pytest

from meshkit.clock import unix_ms
from meshkit.errors import LogUnavailable
from meshkit.events.kafka_config import KafkaConnection
from meshkit.events.kafka_log import KafkaEventLog
from meshkit.events.kafka_topics import ensure_topics
from meshkit.events.log import (
    NOTE_BYTES_MOST,
    Consumer,
    EventLog,
    NewRecord,
    Record,
    Start,
    TopicSpec,
    UnknownTopic,
)
from meshkit.events.memory_log import MemoryEventLog
from meshkit.events.partition import partition_of
from meshkit.events.sqlite_log import SqliteEventLog

TOPIC = "things"
TOPICS = (TopicSpec(TOPIC, 4), TopicSpec("other", 1))
GROUP = "readers"

Open = Callable[[], AbstractAsyncContextManager[EventLog]]


def memory_logs(_: pytest.FixtureRequest, __: Path) -> Open:
    log = MemoryEventLog(TOPICS)

    @asynccontextmanager
    async def opened() -> AsyncIterator[EventLog]:
        log.reopen()
        try:
            yield log
        finally:
            await log.close()

    return opened


def sqlite_logs(_: pytest.FixtureRequest, path: Path) -> Open:
    @asynccontextmanager
    async def opened() -> AsyncIterator[EventLog]:
        log = await SqliteEventLog.open(path / "events.db", TOPICS)
        try:
            yield log
        finally:
            await log.close()

    return opened


def kafka_logs(request: pytest.FixtureRequest, _: Path) -> Open:
    servers: str = request.getfixturevalue("kafka_servers")
    # A prefix is a log of its own.
    connection = KafkaConnection(servers, prefix=f"{uuid4().hex}.")
    made = False

    @asynccontextmanager
    async def opened() -> AsyncIterator[EventLog]:
        nonlocal made
        if not made:
            await ensure_topics(connection, TOPICS)
            made = True
        log = KafkaEventLog(connection, TOPICS)
        try:
            yield log
        finally:
            await log.close()

    return opened


LOGS = {"memory": memory_logs, "sqlite": sqlite_logs, "kafka": kafka_logs}


@pytest.fixture(params=LOGS)
def open_log(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    """Opens one and the same log, as often as a test wants to."""
    return LOGS[request.param](request, tmp_path)


@pytest.fixture
async def log(open_log: Open) -> AsyncIterator[EventLog]:
    async with open_log() as log:
        yield log


def record(key: str, value: str | None = "v", **headers: str) -> NewRecord:
    pairs = tuple((name, text.encode()) for name, text in headers.items())
    return NewRecord(key.encode(), None if value is None else value.encode(), pairs)


async def read_all(consumer: Consumer, count: int) -> list[Record]:
    records: list[Record] = []
    async with asyncio.timeout(10):
        while len(records) < count:
            records += await consumer.consume(100, 0.2)
    return records


def next_offsets(records: list[Record]) -> dict[int, int]:
    return {r.partition: r.offset + 1 for r in records}


async def test_what_was_published_is_read_back_whole(log: EventLog) -> None:
    headers = (("a", b"1"), ("a", b"2"), ("empty", b""), ("binary", bytes(range(256))))
    sent = NewRecord(b"\x00\xff key", b"\x00 value", headers)
    position = await log.publish(TOPIC, sent)
    (read,) = await read_all(log.consumer(TOPIC, GROUP), 1)
    assert (read.key, read.value, read.headers) == (sent.key, sent.value, sent.headers)
    assert (read.topic, read.partition, read.offset) == (TOPIC, position.partition, position.offset)
    assert read.timestamp_ms > 1_700_000_000_000


async def test_record_goes_to_the_partition_that_it_names(log: EventLog) -> None:
    for partition in (3, 0, 2):
        position = await log.publish(TOPIC, NewRecord(b"k", b"v", partition=partition))
        assert position.partition == partition
        chunk = await log.reader(TOPIC).read(partition, 0, 10)
        assert [record.position for record in chunk.records] == [position]


async def test_position_says_when_the_log_took_the_record(log: EventLog) -> None:
    before = unix_ms()
    position = await log.publish(TOPIC, NewRecord(b"k", b"v"))
    # A broker has a clock of its own.
    assert before - 60_000 <= position.timestamp_ms <= unix_ms() + 60_000
    (read,) = (await log.reader(TOPIC).read(position.partition, 0, 10)).records
    assert read.timestamp_ms == position.timestamp_ms


async def test_key_decides_the_partition(log: EventLog) -> None:
    for number in range(20):
        position = await log.publish(TOPIC, record(f"k{number}"))
        assert position.partition == partition_of(f"k{number}".encode(), 4)


async def test_record_that_names_a_partition_goes_there(log: EventLog) -> None:
    for partition in range(4):
        sent = msgspec.structs.replace(record("k", str(partition)), partition=partition)
        assert (await log.publish(TOPIC, sent)).partition == partition
    (position,) = await log.publish_many(TOPIC, [NewRecord(b"k", b"again", (), 3)])
    assert position.partition == 3
    read = await read_all(log.consumer(TOPIC, GROUP), 5)
    found = sorted((r.partition, r.value) for r in read)
    assert found == [(0, b"0"), (1, b"1"), (2, b"2"), (3, b"3"), (3, b"again")]


async def test_topics_as_they_were_made_are_taken_and_nothing_is_said(log: EventLog) -> None:
    await log.publish(TOPIC, record("k"))
    assert await log.check((TOPIC,)) is None
    assert log.remarks() == ""


async def test_tombstone_is_read_as_no_value(log: EventLog) -> None:
    await log.publish(TOPIC, record("k", None))
    assert (await read_all(log.consumer(TOPIC, GROUP), 1))[0].value is None


async def test_concurrent_publishers_each_get_their_own_place(log: EventLog) -> None:
    positions = await asyncio.gather(
        *(log.publish(TOPIC, record(f"k{n % 7}", str(n))) for n in range(300))
    )
    assert len(set(positions)) == 300
    records = await read_all(log.consumer(TOPIC, GROUP), 300)
    by_place = {(r.partition, r.offset): r.value for r in records}
    for number, position in enumerate(positions):
        assert by_place[position.partition, position.offset] == str(number).encode()


async def test_records_of_a_key_keep_their_order(log: EventLog) -> None:
    for number in range(50):
        await log.publish(TOPIC, record(f"k{number % 3}", str(number)))
    records = await read_all(log.consumer(TOPIC, GROUP), 50)
    for key in (b"k0", b"k1", b"k2"):
        values = [int(r.value or b"") for r in records if r.key == key]
        assert values == sorted(values)
    for partition in range(4):
        offsets = [r.offset for r in records if r.partition == partition]
        assert offsets == sorted(set(offsets))


async def test_batch_is_appended_in_its_order(log: EventLog) -> None:
    batch = [record(f"k{n % 5}", str(n)) for n in range(100)]
    positions = await log.publish_many(TOPIC, batch)
    records = await read_all(log.consumer(TOPIC, GROUP), 100)
    by_place = {(r.partition, r.offset): r.value for r in records}
    assert [by_place[p.partition, p.offset] for p in positions] == [r.value for r in batch]


async def test_empty_batch_is_nothing(log: EventLog) -> None:
    assert list(await log.publish_many(TOPIC, [])) == []


async def test_consumer_resumes_at_the_committed_offsets(open_log: Open) -> None:
    async with open_log() as log:
        for number in range(40):
            await log.publish(TOPIC, record(f"k{number}", str(number)))
        consumer = log.consumer(TOPIC, GROUP)
        first = list(await consumer.consume(15, 1))
        await consumer.commit(next_offsets(first))
        await consumer.consume(10, 1)
        await consumer.close()
    async with open_log() as log:
        rest = await read_all(log.consumer(TOPIC, GROUP), 40 - len(first))
    assert {r.value for r in first} | {r.value for r in rest} == {b"%d" % n for n in range(40)}
    assert not {r.value for r in first} & {r.value for r in rest}


async def test_partitions_committed_unevenly_resume_unevenly(open_log: Open) -> None:
    async with open_log() as log:
        for number in range(60):
            await log.publish(TOPIC, record(f"k{number}", str(number)))
        consumer = log.consumer(TOPIC, GROUP)
        records = await read_all(consumer, 60)
        done = {p: o for p, o in next_offsets(records).items() if p % 2}
        await consumer.commit(done)
    async with open_log() as log:
        again = await read_all(
            log.consumer(TOPIC, GROUP), sum(r.partition not in done for r in records)
        )
        assert {r.partition for r in again} == {0, 2}
        lag = await log.lag(TOPIC, GROUP)
    assert lag.committed == done
    assert lag.records == len(again)


async def test_nothing_committed_means_everything_again(log: EventLog) -> None:
    await log.publish(TOPIC, record("k"))
    first, second = log.consumer(TOPIC, GROUP), log.consumer(TOPIC, GROUP)
    read = await read_all(first, 1)
    await first.close()
    assert await read_all(second, 1) == read


async def test_rewind_reads_again_from_the_commit(log: EventLog) -> None:
    for number in range(10):
        await log.publish(TOPIC, record("k", str(number)))
    consumer = log.consumer(TOPIC, GROUP)
    await consumer.commit(next_offsets(list(await consumer.consume(4, 1))))
    read = await read_all(consumer, 6)
    await consumer.rewind()
    assert await read_all(consumer, 6) == read


async def test_groups_and_topics_do_not_touch_each_other(log: EventLog) -> None:
    await log.publish(TOPIC, record("k", "thing"))
    await log.publish("other", record("k", "other"))
    one = log.consumer(TOPIC, "one")
    records = await read_all(one, 1)
    await one.commit(next_offsets(records))
    assert [r.value for r in await read_all(log.consumer(TOPIC, "two"), 1)] == [b"thing"]
    assert [r.value for r in await read_all(log.consumer("other", "one"), 1)] == [b"other"]
    assert await one.consume(10, 0.01) == ()


async def test_waiting_consumer_wakes_when_a_record_arrives(log: EventLog) -> None:
    consumer = log.consumer(TOPIC, GROUP)
    waiting = asyncio.create_task(consumer.consume(10, 30))
    await asyncio.sleep(0)
    await log.publish(TOPIC, record("k", "now"))
    async with asyncio.timeout(5):
        assert [r.value for r in await waiting] == [b"now"]


async def test_no_record_within_the_time_is_an_empty_answer(log: EventLog) -> None:
    assert not await log.consumer(TOPIC, GROUP).consume(10, 0.01)


async def test_no_more_than_asked_for(log: EventLog) -> None:
    for number in range(30):
        await log.publish(TOPIC, record(f"k{number}"))
    assert 0 < len(await log.consumer(TOPIC, GROUP).consume(7, 1)) <= 7


async def test_lag_counts_what_is_not_committed(log: EventLog) -> None:
    for number in range(9):
        await log.publish(TOPIC, record(f"k{number}"))
    consumer = log.consumer(TOPIC, GROUP)
    assert (await log.lag(TOPIC, GROUP)).records == 9
    await consumer.commit(next_offsets(await read_all(consumer, 9)))
    assert (await log.lag(TOPIC, GROUP)).records == 0


async def test_unknown_topic_is_refused(log: EventLog) -> None:
    with pytest.raises(UnknownTopic, match="nonsense"):
        await log.publish("nonsense", record("k"))
    with pytest.raises(UnknownTopic):
        log.consumer("nonsense", GROUP)


async def test_cancelled_publisher_does_not_harm_the_others(log: EventLog) -> None:
    tasks = [asyncio.create_task(log.publish(TOPIC, record("k", str(n)))) for n in range(20)]
    await asyncio.sleep(0)
    tasks[3].cancel()
    done = await asyncio.gather(*tasks, return_exceptions=True)
    assert sum(not isinstance(result, BaseException) for result in done) >= 19


async def test_commit_may_go_back(open_log: Open) -> None:
    async with open_log() as log:
        for number in range(10):
            await log.publish(TOPIC, record("k", str(number)))
        consumer = log.consumer(TOPIC, GROUP)
        records = await read_all(consumer, 10)
        partition = records[0].partition
        await consumer.commit({partition: records[-1].offset + 1})
        await consumer.commit({partition: records[4].offset})
        await consumer.rewind()
        assert await read_all(consumer, 6) == records[4:]
    async with open_log() as log:
        assert await read_all(log.consumer(TOPIC, GROUP), 6) == records[4:]


async def test_commit_without_having_read_is_kept(open_log: Open) -> None:
    async with open_log() as log:
        places = [await log.publish(TOPIC, record("k", str(n))) for n in range(10)]
        await log.consumer(TOPIC, GROUP).commit({places[7].partition: places[7].offset})
    async with open_log() as log:
        rest = await read_all(log.consumer(TOPIC, GROUP), 3)
    assert [r.value for r in rest] == [b"7", b"8", b"9"]


async def test_records_read_one_by_one_are_all_of_them(log: EventLog) -> None:
    await log.publish_many(TOPIC, [record(f"k{n}", str(n)) for n in range(50)])
    consumer = log.consumer(TOPIC, GROUP)
    offsets = next_offsets(await read_all(consumer, 50))
    offsets.pop(partition_of(b"k0", 4))
    await consumer.commit(offsets)
    await consumer.rewind()
    expected = [
        b"%d" % n for n in range(50) if partition_of(b"k%d" % n, 4) == partition_of(b"k0", 4)
    ]
    again: list[Record] = []
    while len(again) < len(expected) and (batch := await consumer.consume(1, 5)):
        again += batch
    assert [r.value for r in again] == expected
    assert not await consumer.consume(1, 0.05)


async def test_concurrent_batches_do_not_mix_and_keep_their_order(log: EventLog) -> None:
    await asyncio.gather(
        *(log.publish_many(TOPIC, [record(f"k{b}", str(n)) for n in range(50)]) for b in range(8))
    )
    records = await read_all(log.consumer(TOPIC, GROUP), 400)
    for batch in range(8):
        values = [r.value for r in records if r.key == b"k%d" % batch]
        assert values == [b"%d" % n for n in range(50)]


async def test_close_finishes_what_was_accepted(open_log: Open) -> None:
    async with open_log() as log:
        accepted = [asyncio.create_task(log.publish(TOPIC, record("k"))) for _ in range(20)]
        await asyncio.sleep(0)
        await log.close()
        await asyncio.gather(*accepted)
    async with open_log() as log:
        assert len(await read_all(log.consumer(TOPIC, GROUP), 20)) == 20


async def test_closed_log_refuses_everything(log: EventLog) -> None:
    consumer = log.consumer(TOPIC, GROUP)
    await log.close()
    await log.close()
    with pytest.raises(LogUnavailable):
        await log.publish(TOPIC, record("k"))
    with pytest.raises(LogUnavailable):
        await log.publish_many(TOPIC, [record("k")])
    with pytest.raises(LogUnavailable):
        await consumer.consume(1, 0)
    with pytest.raises(LogUnavailable):
        await consumer.commit({0: 1})


async def test_closing_the_log_frees_a_waiting_consumer(log: EventLog) -> None:
    waiting = asyncio.create_task(log.consumer(TOPIC, GROUP).consume(10, 30))
    await asyncio.sleep(0)
    await log.close()
    async with asyncio.timeout(5):
        with pytest.raises(LogUnavailable):
            await waiting


async def test_consumer_that_asks_for_nothing_gets_nothing_and_misses_nothing(
    log: EventLog,
) -> None:
    consumer = log.consumer(TOPIC, GROUP)
    await log.publish(TOPIC, record("k", "first"))
    read = await read_all(consumer, 1)
    await log.publish(TOPIC, record("k", "second"))
    assert not await consumer.consume(0, 0.3)
    assert [r.value for r in read + await read_all(consumer, 1)] == [b"first", b"second"]


async def test_nothing_is_revoked_from_a_single_member(log: EventLog) -> None:
    consumer = log.consumer(TOPIC, GROUP)
    await log.publish(TOPIC, record("k"))
    await read_all(consumer, 1)
    assert not consumer.revoked()


async def read_from(log: EventLog, partition: int, offset: int, most: int) -> list[Record]:
    reader = log.reader(TOPIC)
    records: list[Record] = []
    async with asyncio.timeout(20):
        while True:
            chunk = await reader.read(partition, offset, most)
            assert all(offset <= r.offset < chunk.end for r in chunk.records)
            records += chunk.records
            if chunk.end == offset:
                break
            offset = chunk.end
    await reader.close()
    return records


@pytest.mark.parametrize("most", [1, 7, 1000])
async def test_reader_reads_a_partition_from_anywhere_to_its_end(log: EventLog, most: int) -> None:
    positions = await log.publish_many(TOPIC, [record(f"k{n}", str(n)) for n in range(60)])
    partition = positions[0].partition
    mine = [p.offset for p in positions if p.partition == partition]
    for start in (mine[0], mine[len(mine) // 2], mine[-1] + 1):
        read = await read_from(log, partition, start, most)
        assert [r.offset for r in read] == [o for o in mine if o >= start]
        assert {r.partition for r in read} <= {partition}


async def test_reader_answers_at_the_end_as_often_as_it_is_asked(log: EventLog) -> None:
    positions = [await log.publish(TOPIC, record("k", str(n))) for n in range(3)]
    partition, end = positions[0].partition, positions[-1].offset + 1
    reader = log.reader(TOPIC)
    async with asyncio.timeout(5):
        while (await reader.read(partition, positions[0].offset, 100)).end < end:
            await asyncio.sleep(0.05)
        for _ in range(3):
            assert list((await reader.read(partition, end, 100)).records) == []
        later = await log.publish(TOPIC, record("k", "later"))
        while not (found := (await reader.read(partition, end, 100)).records):
            await asyncio.sleep(0.05)
    assert [r.offset for r in found] == [later.offset]
    await reader.close()


async def test_reader_moves_no_group(log: EventLog) -> None:
    await log.publish(TOPIC, record("k"))
    partition = partition_of(b"k", 4)
    await read_from(log, partition, 0, 10)
    assert (await log.lag(TOPIC, GROUP)).records == 1


async def test_ends_are_where_reading_may_begin_and_stops(log: EventLog) -> None:
    positions = await log.publish_many(TOPIC, [record(f"k{n}") for n in range(40)])
    ends = await log.ends(TOPIC)
    assert set(ends) == {0, 1, 2, 3}
    for place in positions:
        first, end = ends[place.partition]
        assert first <= place.offset < end


async def test_log_has_one_identity(open_log: Open) -> None:
    async with open_log() as log:
        first = await log.log_id()
    async with open_log() as log:
        assert await log.log_id() == first


async def started(consumer: Consumer) -> Mapping[int, Start]:
    """Return what was noted where a consumer starts."""
    async with asyncio.timeout(20):
        while not (noted := consumer.noted()):
            await consumer.consume(10, 0.1)
    return noted


async def test_note_comes_back_with_its_commit_though_nothing_is_left_to_read(
    open_log: Open,
) -> None:
    longest = "ä" * (NOTE_BYTES_MOST // 2)
    async with open_log() as log:
        place = await log.publish(TOPIC, record("k"))
        consumer = log.consumer(TOPIC, GROUP)
        offsets = next_offsets(await read_all(consumer, 1))
        await consumer.commit(offsets, {place.partition: longest})
    async with open_log() as log:
        consumer = log.consumer(TOPIC, GROUP)
        assert await started(consumer) == {place.partition: Start(place.offset + 1, longest)}
        assert consumer.noted() == {}


async def test_commit_without_a_note_ends_the_note(open_log: Open) -> None:
    async with open_log() as log:
        places = await log.publish_many(TOPIC, [record(f"k{n}") for n in range(40)])
        consumer = log.consumer(TOPIC, GROUP)
        offsets = next_offsets(await read_all(consumer, 40))
        await consumer.commit(offsets, dict.fromkeys(offsets, "first"))
        last = places[-1].partition
        await consumer.commit({n: offset for n, offset in offsets.items() if n != last})
    async with open_log() as log:
        assert await started(log.consumer(TOPIC, GROUP)) == {last: Start(offsets[last], "first")}
