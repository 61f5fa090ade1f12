"""What only Kafka does: groups that share partitions, brokers that go away, topics that differ."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import pytest

from kafka_broker import KafkaBroker, missing
from meshkit.errors import LogUnavailable
from meshkit.events.kafka_config import KafkaConnection
from meshkit.events.kafka_log import KafkaEventLog
from meshkit.events.kafka_topics import ensure_topics
from meshkit.events.log import Consumer, NewRecord, Record, TopicSpec

TOPIC = "things"
TOPICS = (TopicSpec(TOPIC, 4), TopicSpec("rest", 1, compact=False))


@pytest.fixture
def connection(kafka_servers: str) -> KafkaConnection:
    return KafkaConnection(kafka_servers, prefix=f"{uuid4().hex}.")


@pytest.fixture
async def log(connection: KafkaConnection) -> AsyncIterator[KafkaEventLog]:
    await ensure_topics(connection, TOPICS)
    log = KafkaEventLog(connection, TOPICS)
    yield log
    await log.close()


def record(number: int) -> NewRecord:
    return NewRecord(b"k%d" % number, b"%d" % number)


async def read_until(consumer: Consumer, into: list[Record], count: int) -> None:
    async with asyncio.timeout(20):
        while len(into) < count:
            into += await consumer.consume(100, 0.1)


async def test_topics_are_made_once_and_then_only_compared(connection: KafkaConnection) -> None:
    made = await ensure_topics(connection, TOPICS)
    assert [(t.created, t.differs) for t in made] == [(True, ()), (True, ())]
    again = await ensure_topics(connection, TOPICS)
    assert [(t.created, t.differs) for t in again] == [(False, ()), (False, ())]


async def test_brokers_that_are_not_there_are_named() -> None:
    with pytest.raises(LogUnavailable, match=r"127\.0\.0\.1:1"):
        await ensure_topics(KafkaConnection("127.0.0.1:1"), TOPICS)


async def test_topic_that_is_missing_is_a_refusal_that_names_the_command(
    connection: KafkaConnection,
) -> None:
    log = KafkaEventLog(connection, TOPICS)
    with pytest.raises(LogUnavailable):
        await log.publish(TOPIC, record(1))
    with pytest.raises(LogUnavailable, match="mesh topics ensure"):
        await log.consumer(TOPIC, "g").consume(1, 20)
    await log.close()


async def test_second_member_takes_partitions_over_and_gives_them_back(
    log: KafkaEventLog,
) -> None:
    one, two = log.consumer(TOPIC, "g"), log.consumer(TOPIC, "g")
    await log.publish_many(TOPIC, [record(n) for n in range(100)])
    first: list[Record] = []
    await read_until(one, first, 100)
    await one.commit({r.partition: r.offset + 1 for r in first})

    async def keep_reading(into: list[Record]) -> None:
        while True:
            into += await one.consume(100, 0.1)

    mine: list[Record] = []
    reading = asyncio.create_task(keep_reading(mine))
    theirs: list[Record] = []
    async with asyncio.timeout(20):
        while not theirs:
            await log.publish_many(TOPIC, [record(n) for n in range(100)])
            theirs += await two.consume(100, 0.2)
    held = {r.partition for r in theirs}
    assert 0 < len(held) < 4
    # A commit for what the other has now is left out, and no error.
    await two.commit(dict.fromkeys(range(4), 0))
    committed = (await log.lag(TOPIC, "g")).committed
    assert sum(committed[p] > 0 for p in range(4)) == 2
    await two.close()
    count = len(mine)
    async with asyncio.timeout(20):
        while not {r.partition for r in mine[count:]} & held:
            await log.publish_many(TOPIC, [record(n) for n in range(100)])
            await asyncio.sleep(0.1)
    reading.cancel()
    with suppress(asyncio.CancelledError):
        await reading


async def test_read_that_was_given_up_loses_no_record(log: KafkaEventLog) -> None:
    consumer = log.consumer(TOPIC, "g")
    read: list[Record] = []
    await log.publish(TOPIC, record(0))
    await read_until(consumer, read, 1)
    for number in range(1, 20):
        given_up = asyncio.create_task(consumer.consume(10, 5))
        await asyncio.sleep(0)
        publishing = asyncio.create_task(log.publish(TOPIC, record(number)))
        await asyncio.sleep(0)
        given_up.cancel()
        await publishing
    await read_until(consumer, read, 20)
    assert sorted(int(r.value or b"") for r in read) == list(range(20))


@pytest.mark.timeout(120)
async def test_broker_killed_under_load_loses_nothing_that_was_acknowledged(
    tmp_path: Path,
) -> None:
    if lack := missing():
        pytest.skip(f"a broker of our own is needed, and {lack}")
    broker = KafkaBroker(tmp_path / "kafka")
    await asyncio.to_thread(broker.start)
    connection = KafkaConnection(broker.bootstrap_servers)
    await ensure_topics(connection, TOPICS)
    log = KafkaEventLog(connection, TOPICS)
    acknowledged: set[bytes] = set()
    refused = 0

    async def write(first: int) -> None:
        nonlocal refused
        for number in range(first, first + 100_000):
            try:
                await log.publish(TOPIC, record(number))
                acknowledged.add(b"%d" % number)
            except LogUnavailable:
                refused += 1
                await asyncio.sleep(0.01)

    writers = [asyncio.create_task(write(n * 100_000)) for n in range(16)]
    await asyncio.sleep(0.5)
    for _ in range(2):
        broker.kill()
        before = len(acknowledged)
        await asyncio.to_thread(broker.start)
        async with asyncio.timeout(30):
            while len(acknowledged) < before + 200:
                await asyncio.sleep(0.05)
    for writer in writers:
        writer.cancel()
    await asyncio.gather(*writers, return_exceptions=True)
    read: set[bytes] = set()
    places: list[tuple[int, int]] = []
    consumer = log.consumer(TOPIC, "g")
    async with asyncio.timeout(40):
        while not acknowledged <= read:
            records = await consumer.consume(5000, 0.5)
            read |= {r.value for r in records if r.value is not None}
            places += [(r.partition, r.offset) for r in records]
    assert len(places) == len(set(places))
    await log.close()
    broker.stop()
