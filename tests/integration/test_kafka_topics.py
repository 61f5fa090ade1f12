"""Topics that nobody made, that somebody else made, and that change while the mesh runs: nothing is
accepted that would be lost, and no client of ours makes a topic by accident."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from uuid import uuid4

import pytest
from confluent_kafka import Producer  # noqa: TID251 - the outsider's view
from confluent_kafka.admin import (  # noqa: TID251 - the outsider's view
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    ResourceType,
)

from kafka_broker import KafkaBroker, missing
from meshkit.errors import LogUnavailable
from meshkit.events.kafka_config import KafkaConnection
from meshkit.events.kafka_log import KafkaEventLog
from meshkit.events.kafka_topics import TopicState, ensure_topics
from meshkit.events.log import NewRecord, Record, TopicSpec

THINGS, LETTERS, ORDER = "things", "letters", "order"
TOPICS = (TopicSpec(THINGS, 4), TopicSpec(LETTERS, 1, compact=False), TopicSpec(ORDER, 1))
NOTICED_SECONDS = 20

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A broker that makes whatever topic it is asked about, as Kafka does by default."""
    if lack := missing():
        pytest.skip(f"a broker of our own is needed, and {lack}")
    extra = "auto.create.topics.enable=true\nnum.partitions=3"
    broker = KafkaBroker(tmp_path_factory.mktemp("kafka"), extra=extra)
    broker.start()
    yield broker.bootstrap_servers
    broker.stop()


@pytest.fixture
def connection(servers: str) -> KafkaConnection:
    return KafkaConnection(servers, prefix=f"{uuid4().hex}.")


@pytest.fixture
async def log(connection: KafkaConnection) -> AsyncIterator[KafkaEventLog]:
    log = KafkaEventLog(connection, TOPICS)
    yield log
    await log.close()


def admin(connection: KafkaConnection) -> AdminClient:
    return AdminClient({"bootstrap.servers": connection.bootstrap_servers})


def topics(connection: KafkaConnection) -> set[str]:
    there = admin(connection).list_topics(timeout=10).topics
    return {name for name in there if name.startswith(connection.prefix)}


def make(connection: KafkaConnection, name: str, partitions: int = 4, **config: str) -> None:
    """Make a topic as somebody else would; `__` stands for a dot."""
    settings = {key.replace("__", "."): value for key, value in config.items()}
    topic = NewTopic(connection.prefix + name, partitions, config=settings)
    client = admin(connection)
    client.create_topics([topic])[topic.topic].result(10)


def alter(connection: KafkaConnection, name: str, config: Mapping[str, str]) -> None:
    entries = [
        ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET)
        for key, value in config.items()
    ]
    resource = ConfigResource(
        ResourceType.TOPIC, connection.prefix + name, incremental_configs=entries
    )
    client = admin(connection)
    client.incremental_alter_configs([resource])[resource].result(10)


def config(connection: KafkaConnection, name: str) -> dict[str, str]:
    resource = ConfigResource(ResourceType.TOPIC, connection.prefix + name)
    client = admin(connection)
    found = client.describe_configs([resource])[resource].result(10)
    return {key: str(entry.value) for key, entry in found.items()}


def state_of(states: list[TopicState], name: str) -> TopicState:
    return next(state for state in states if state.name.endswith("." + name))


def record(number: int) -> NewRecord:
    return NewRecord(b"k%d" % number, b"%d" % number)


async def problem(log: KafkaEventLog, name: str, about: str = "") -> str:
    """Return what is wrong with a topic, once that is noticed, and something about `about`."""
    async with asyncio.timeout(NOTICED_SECONDS):
        while True:
            found = await log.check((name,))
            if found is not None and about in found and "not checked yet" not in found:
                return found
            await asyncio.sleep(0.05)


async def accepted(log: KafkaEventLog, name: str) -> None:
    """Return once a topic is taken again."""
    async with asyncio.timeout(NOTICED_SECONDS):
        while await log.check((name,)) is not None:
            await asyncio.sleep(0.05)
    await log.publish(name, record(1))


async def test_no_use_of_the_log_makes_a_topic(
    log: KafkaEventLog, connection: KafkaConnection
) -> None:
    uses: dict[str, Callable[[], Awaitable[object]]] = {
        "publish": lambda: log.publish(THINGS, record(1)),
        "publish_many": lambda: log.publish_many(LETTERS, [record(1)]),
        "ends": lambda: log.ends(THINGS),
        "lag": lambda: log.lag(THINGS, "g"),
        "log_id": log.log_id,
        "consume": lambda: log.consumer(THINGS, "g").consume(1, 5),
        "read": lambda: log.reader(LETTERS).read(0, 0, 1),
    }
    for name, use in uses.items():
        with pytest.raises(LogUnavailable):
            await use()
        assert topics(connection) == set(), name
    # A producer that has tried goes on asking by itself.
    await asyncio.sleep(6)
    assert topics(connection) == set()
    assert f"{connection.prefix}{THINGS} does not exist (mesh topics ensure)" in (
        await problem(log, THINGS)
    )
    await ensure_topics(connection, TOPICS)
    await accepted(log, THINGS)


async def test_topic_that_is_removed_is_not_made_again_and_is_refused(
    log: KafkaEventLog, connection: KafkaConnection
) -> None:
    await ensure_topics(connection, TOPICS)
    await accepted(log, THINGS)
    client = admin(connection)
    client.delete_topics([connection.prefix + THINGS])[connection.prefix + THINGS].result(10)
    with pytest.raises(LogUnavailable):
        await log.publish(THINGS, record(2))
    assert "does not exist (mesh topics ensure)" in await problem(log, THINGS)
    await asyncio.sleep(6)
    assert connection.prefix + THINGS not in topics(connection)
    assert await log.check((LETTERS, ORDER)) is None
    await ensure_topics(connection, TOPICS)
    await accepted(log, THINGS)


WRONG = {
    "deletes by time": {"cleanup.policy": "delete", "retention.ms": "604800000"},
    "deletes by size": {"cleanup.policy": "compact,delete", "retention.bytes": "1000000"},
    "compacts and deletes by time": {
        "cleanup.policy": "compact,delete",
        "retention.ms": "86400000",
    },
    "keeps everything": {"cleanup.policy": "delete"},
    "takes the sender's time": {"message.timestamp.type": "CreateTime"},
    "takes small records only": {"max.message.bytes": "1048588"},
}


@pytest.mark.parametrize("changes", WRONG.values(), ids=WRONG)
async def test_topic_that_would_lose_events_is_refused_until_it_is_repaired(
    log: KafkaEventLog, connection: KafkaConnection, changes: dict[str, str]
) -> None:
    await ensure_topics(connection, TOPICS)
    await accepted(log, THINGS)
    alter(connection, THINGS, changes)
    found = await problem(log, THINGS)
    assert found.startswith(f"the topic {connection.prefix}{THINGS} has ")
    assert found.endswith("(mesh topics ensure)")
    for setting, value in changes.items():
        assert f"has {setting} {value}, not" in log.remarks()
    with pytest.raises(LogUnavailable, match="mesh topics ensure"):
        await log.publish(THINGS, record(2))
    state = state_of(await ensure_topics(connection, TOPICS, fix=True), THINGS)
    assert not state.refuses
    assert len(state.repaired) == len(changes)
    await accepted(log, THINGS)
    assert log.remarks() == ""


async def test_topic_with_records_is_compacted_only_where_that_was_asked_for(
    connection: KafkaConnection,
) -> None:
    make(connection, THINGS, cleanup__policy="delete", retention__ms="604800000")
    theirs = Producer({"bootstrap.servers": connection.bootstrap_servers})
    for number in range(20):
        theirs.produce(connection.prefix + THINGS, b"%d" % number, b"one key")
    assert theirs.flush(10) == 0
    state = state_of(await ensure_topics(connection, TOPICS), THINGS)
    assert state.refuses
    (left,) = state.remaining
    assert "--fix" in left.way_out
    found = config(connection, THINGS)
    assert (found["cleanup.policy"], found["retention.ms"]) == ("delete", "-1")
    state = state_of(await ensure_topics(connection, TOPICS, fix=True), THINGS)
    assert state.repaired == ("has cleanup.policy delete, not compact: set to compact",)
    assert config(connection, THINGS)["cleanup.policy"] == "compact"


async def test_topics_made_by_accident_are_repaired_and_used(
    log: KafkaEventLog, connection: KafkaConnection
) -> None:
    for name in (THINGS, LETTERS, ORDER):
        make(connection, name, partitions=3)
    await problem(log, THINGS, about="has cleanup.policy delete, not compact")
    # A dead letter is not held up for how long it stays.
    await log.publish(LETTERS, record(1))
    states = await ensure_topics(connection, TOPICS)
    assert not any(state.refuses for state in states)
    assert [state.differs for state in states] == [
        ("has 3 partitions, not 4",),
        ("has 3 partitions, not 1",),
        ("has 3 partitions, not 1",),
    ]
    assert "--partitions 4" in state_of(states, THINGS).remaining[0].way_out
    assert config(connection, LETTERS)["retention.ms"] == "-1"
    await accepted(log, THINGS)
    # What is to have one order has it, in however many partitions.
    places = [await log.publish(ORDER, record(number)) for number in range(20)]
    assert {place.partition for place in places} == {0}


class Load:
    """Writers that go on, and two members of a group that read what they write."""

    def __init__(self, log: KafkaEventLog) -> None:
        self.log = log
        self.acknowledged: dict[bytes, int] = {}
        self.read: list[Record] = []
        self.first_read: dict[int, float] = {}
        self._writers = [asyncio.create_task(self._write(n * 1_000_000)) for n in range(4)]
        self._members = [asyncio.create_task(self._consume()) for _ in range(2)]

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(40):
            while not holds():
                await asyncio.sleep(0.05)

    def all_is_read(self) -> bool:
        return self.acknowledged.keys() <= {record.value for record in self.read}

    async def end_writing(self) -> None:
        await self._end(self._writers)

    async def end(self) -> None:
        await self._end(self._members)

    async def _end(self, tasks: list[asyncio.Task[None]]) -> None:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _write(self, first: int) -> None:
        for number in range(first, first + 1_000_000):
            place = await self.log.publish(THINGS, record(number))
            self.acknowledged[b"%d" % number] = place.partition
            await asyncio.sleep(0.002)

    async def _consume(self) -> None:
        member = self.log.consumer(THINGS, "g")
        while True:
            records = await member.consume(500, 0.1)
            for one in records:
                self.first_read.setdefault(one.partition, asyncio.get_running_loop().time())
            self.read.extend(records)
            if records:
                await member.commit({r.partition: r.offset + 1 for r in records})


async def test_partitions_added_under_load_are_written_to_and_read(
    log: KafkaEventLog, connection: KafkaConnection
) -> None:
    await ensure_topics(connection, TOPICS)
    await accepted(log, THINGS)
    load = Load(log)
    await load.until(lambda: len(load.first_read) == 4)
    client, name = admin(connection), connection.prefix + THINGS
    client.create_partitions([NewPartitions(name, 9)])[name].result(10)
    added_at = asyncio.get_running_loop().time()
    await load.until(lambda: len(load.first_read) == 9)
    await load.end_writing()
    await load.until(load.all_is_read)
    await load.end()
    assert set(load.acknowledged.values()) == set(range(9))
    assert max(load.first_read.values()) - added_at < 20
    # It is said, and refuses nothing.
    assert "has 9 partitions, not 4" in log.remarks()
    assert await log.check((THINGS,)) is None
    assert set(await log.ends(THINGS)) == set((await log.lag(THINGS, "g")).committed)


async def test_user_who_may_not_read_settings_is_told_and_not_held_up(tmp_path: Path) -> None:
    if lack := missing():
        pytest.skip(f"a broker of our own is needed, and {lack}")
    from confluent_kafka.admin import (  # noqa: TID251 - the outsider's view
        AclBinding,
        AclOperation,
        AclPermissionType,
        ResourcePatternType,
    )

    from processes import free_ports

    (port,) = free_ports(1)
    broker = KafkaBroker(
        tmp_path / "kafka",
        listener=f"SASL_PLAINTEXT://127.0.0.1:{port}",
        extra="""
listener.security.protocol.map=\
PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
sasl.enabled.mechanisms=SCRAM-SHA-256
listener.name.sasl_plaintext.scram-sha-256.sasl.jaas.config=\
org.apache.kafka.common.security.scram.ScramLoginModule required;
""",
        users={"mesh": "open-sesame"},
    )
    await asyncio.to_thread(broker.start)
    whole = KafkaConnection(broker.bootstrap_servers)
    await ensure_topics(whole, TOPICS)
    alter(whole, THINGS, {"retention.ms": "1000"})
    bindings = [
        AclBinding(
            ResourceType.TOPIC,
            "*",
            ResourcePatternType.LITERAL,
            "User:mesh",
            "*",
            operation,
            AclPermissionType.ALLOW,
        )
        for operation in (AclOperation.READ, AclOperation.WRITE, AclOperation.DESCRIBE)
    ]
    client = admin(whole)
    for answer in client.create_acls(bindings).values():
        answer.result(10)
    limited = KafkaConnection(
        f"127.0.0.1:{port}", "SASL_PLAINTEXT", "SCRAM-SHA-256", "mesh", "open-sesame"
    )
    log = KafkaEventLog(limited, TOPICS)
    await log.publish(THINGS, record(1))
    assert await log.check((THINGS,)) is None
    assert "DescribeConfigs" in log.remarks()
    for state in await ensure_topics(limited, TOPICS):
        assert not state.refuses
        assert state.remaining[0].way_out == "allow the user DescribeConfigs on the topic"
    # Who may look and not change is told what to allow.
    also = AclBinding(
        ResourceType.TOPIC,
        "*",
        ResourcePatternType.LITERAL,
        "User:mesh",
        "*",
        AclOperation.DESCRIBE_CONFIGS,
        AclPermissionType.ALLOW,
    )
    client.create_acls([also])[also].result(10)
    async with asyncio.timeout(NOTICED_SECONDS):
        while "has retention.ms 1000" not in log.remarks():
            await asyncio.sleep(0.1)
    state = (await ensure_topics(limited, TOPICS))[0]
    assert "AlterConfigs" in state.remaining[0].way_out
    await log.close()
    await asyncio.to_thread(broker.stop)
