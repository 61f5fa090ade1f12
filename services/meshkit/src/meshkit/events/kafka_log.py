"""The event log in Kafka, or Redpanda, or whatever speaks its protocol.

Nothing here waits for brokers at the start: a service that comes up before them says so in
`/readyz` and refuses with 503, and works from the moment they are there. Topics are made by
`mesh topics ensure` (`kafka_topics`), never in passing, and nothing is published to one that is
missing or would lose it (`kafka_watch`).
"""

import asyncio
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeVar

from confluent_kafka import (
    OFFSET_INVALID,
    Consumer,
    KafkaError,
    KafkaException,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, OffsetSpec, TopicDescription

from meshkit.errors import LogUnavailable
from meshkit.events.kafka_calls import CallThread, called
from meshkit.events.kafka_config import KafkaConnection
from meshkit.events.kafka_consumer import KafkaConsumer
from meshkit.events.kafka_messages import asked_again, unavailable
from meshkit.events.kafka_producer import PARTITION_UA, KafkaProducer
from meshkit.events.kafka_reader import KafkaReader
from meshkit.events.kafka_watch import TopicWatch, by_kafka_name
from meshkit.events.log import (
    TOPICS,
    Committable,
    Lag,
    NewRecord,
    Position,
    TopicSpec,
    UnknownTopic,
)

T = TypeVar("T")

_CALL_SECONDS = 10.0
# A group's coordinator is starting, or is another one by now: the next answer is that one's. The
# client library does not ask again by itself.
_MOVING = (
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
)
# So does a partition that was just added, or whose leader is another one by now: it has been
# described, and whoever is asked for its offsets does not know of it yet.
_NO_LEADER_YET = (
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.FENCED_LEADER_EPOCH,
    KafkaError.UNKNOWN_LEADER_EPOCH,
    KafkaError.OFFSET_NOT_AVAILABLE,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._NOENT,
)
_LEADER_SECONDS = 3.0


class KafkaEventLog:
    """An EventLog over Kafka, made in the event loop that uses it."""

    def __init__(self, connection: KafkaConnection, topics: Iterable[TopicSpec] = TOPICS) -> None:
        topics = tuple(topics)
        self._connection = connection
        self._topics = {topic.name: connection.prefix + topic.name for topic in topics}
        # Where there is to be one partition, all records have one order.
        self._partition = {
            topic.name: 0 if topic.partitions == 1 else PARTITION_UA for topic in topics
        }
        self._producer = KafkaProducer(connection)
        self._admin = AdminClient(connection.settings())
        self._watch = TopicWatch(self._admin, by_kafka_name(connection.prefix, topics))
        self._consumers: set[KafkaConsumer] = set()
        self._askers: dict[str, _Asker] = {}
        self._closed = False

    async def publish(self, topic: str, record: NewRecord) -> Position:
        """Append one record and return its place once acknowledged. Raises LogUnavailable."""
        return (await self._publish(topic, (record,)))[0]

    async def publish_many(self, topic: str, records: Sequence[NewRecord]) -> Sequence[Position]:
        """Append records in their order. Raises LogUnavailable where any was not acknowledged."""
        return await self._publish(topic, records) if records else ()

    def consumer(
        self, topic: str, group: str, committable: Committable | None = None
    ) -> KafkaConsumer:
        """Return a new member of `group`, which joins with its first read. Raises UnknownTopic."""
        self._name(topic)
        consumer = KafkaConsumer(
            self._connection,
            topic,
            group,
            committable=committable,
            is_closed=lambda: self._closed,
            leave=self._consumers.discard,
        )
        self._consumers.add(consumer)
        return consumer

    async def lag(self, topic: str, group: str) -> Lag:
        """Return how far a group is behind; records that compaction removed are counted too."""
        name = self._name(topic)
        ends = await self._call(lambda: self._both_ends(name))
        if (asker := self._askers.get(group)) is None:
            asker = self._askers[group] = _Asker(self._connection, group)
        with _told():
            committed = await asker.committed(name, list(ends))
        waiting = sum(
            max(0, last - max(committed.get(number, 0), first))
            for number, (first, last) in ends.items()
        )
        return Lag(committed, waiting)

    def reader(self, topic: str) -> KafkaReader:
        """Return a new reader of `topic`. Raises UnknownTopic."""
        self._name(topic)
        return KafkaReader(self._connection, topic)

    async def ends(self, topic: str) -> Mapping[int, tuple[int, int]]:
        """Return per partition the first offset there is and the next one to come."""
        return await self._call(lambda: self._both_ends(self._name(topic)))

    async def check(self, topics: Collection[str]) -> str | None:
        """Return why publishing to one of these topics is refused, None where it is not."""
        return self._watch.problem([self._name(topic) for topic in topics])

    def remarks(self) -> str:
        """Return how the topics differ from what they have to be."""
        return self._watch.remarks

    async def log_id(self) -> str:
        """Return the identity of the log: the cluster's, with that of the first topic where the
        brokers give topics one. A topic that is made anew is another log."""
        first = next(iter(self._topics.values()))
        return await self._call(lambda: self._log_id(first))

    async def close(self) -> None:
        """Finish what was accepted, then leave all groups."""
        self._closed = True
        await self._watch.close()
        await self._producer.close()
        await asyncio.gather(*(consumer.close() for consumer in list(self._consumers)))
        await asyncio.gather(*(asker.close() for asker in self._askers.values()))

    async def _publish(self, topic: str, records: Sequence[NewRecord]) -> Sequence[Position]:
        name = self._name(topic)
        await self._watch.allow(name)
        try:
            return await self._producer.publish(name, records, self._partition[topic])
        except LogUnavailable:
            self._watch.look_soon()
            raise

    def _name(self, topic: str) -> str:
        try:
            return self._topics[topic]
        except KeyError:
            raise UnknownTopic(f"this log has no topic {topic!r}") from None

    async def _call(self, function: Callable[[], T]) -> T:
        with _told():
            return await called(function, "kafka-admin")

    def _log_id(self, topic: str) -> str:
        cluster = self._admin.describe_cluster(request_timeout=_CALL_SECONDS).result()
        return f"{cluster.cluster_id}/{topic}/{self._described(topic).topic_id}"

    def _both_ends(self, topic: str) -> dict[int, tuple[int, int]]:
        partitions = self._partitions(topic)
        return asked_again(lambda: self._ends_of(partitions), _NO_LEADER_YET, _LEADER_SECONDS)

    def _ends_of(self, partitions: list[TopicPartition]) -> dict[int, tuple[int, int]]:
        first = self._ends(partitions, OffsetSpec.earliest())
        last = self._ends(partitions, OffsetSpec.latest())
        return {number: (first[number], last[number]) for number in last}

    def _partitions(self, topic: str) -> list[TopicPartition]:
        found = self._described(topic).partitions
        return [TopicPartition(topic, partition.id) for partition in found]

    def _described(self, topic: str) -> TopicDescription:
        answers = self._admin.describe_topics(
            TopicCollection([topic]), request_timeout=_CALL_SECONDS
        )
        described: TopicDescription = answers[topic].result()
        return described

    def _ends(self, partitions: list[TopicPartition], which: OffsetSpec) -> dict[int, int]:
        answers = self._admin.list_offsets(
            dict.fromkeys(partitions, which), request_timeout=_CALL_SECONDS
        )
        return {place.partition: answer.result().offset for place, answer in answers.items()}


class _Asker:
    """Asks how far a group has come, and joins nothing.

    Not the admin client: its ListConsumerGroupOffsets takes the process down now and then while a
    broker is still loading its groups (librdkafka 2.16, a null pointer).
    """

    def __init__(self, connection: KafkaConnection, group: str) -> None:
        self._consumer = Consumer(connection.consumer_settings(group))
        self._thread = CallThread(f"kafka-asker-{group}")

    async def committed(self, topic: str, partitions: Iterable[int]) -> dict[int, int]:
        """Return the committed offsets of those partitions that have one."""
        places = [TopicPartition(topic, number) for number in partitions]
        return await self._thread.call(lambda: self._committed(places))

    async def close(self) -> None:
        """Release the connections."""
        await self._thread.close(self._consumer.close)

    def _committed(self, places: list[TopicPartition]) -> dict[int, int]:
        return asked_again(lambda: self._asked(places), _MOVING, _CALL_SECONDS)

    def _asked(self, places: list[TopicPartition]) -> dict[int, int]:
        found = self._consumer.committed(places, timeout=_CALL_SECONDS)
        for place in found:
            if place.error is not None:
                raise KafkaException(place.error)
        return {place.partition: place.offset for place in found if place.offset != OFFSET_INVALID}


@contextmanager
def _told() -> Iterator[None]:
    """Tell what the client library raises in our words."""
    try:
        yield
    except KafkaException as error:
        raise unavailable(error.args[0]) from None


__all__ = ["KafkaEventLog"]
