"""Reading anywhere in a Kafka topic, for no group."""

import asyncio
from bisect import bisect_left
from collections.abc import Sequence
from functools import partial
from operator import attrgetter

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from meshkit.errors import LogUnavailable
from meshkit.events.kafka_calls import CallThread
from meshkit.events.kafka_config import KafkaConnection
from meshkit.events.kafka_messages import to_record, unavailable
from meshkit.events.log import Chunk, Record

_READ_SECONDS = 10.0
_REST_SECONDS = 0.2
_SETTINGS = {
    "enable.partition.eof": True,
    # A fetch that waits at a partition's end holds up the one after it, for another place.
    "fetch.wait.max.ms": 1,
    "queued.min.messages": 2_000,
}


class KafkaReader:
    """Reads the partitions of one topic; reading on where the last read ended is cheap."""

    def __init__(self, connection: KafkaConnection, topic: str) -> None:
        self._topic = topic
        self._kafka_topic = connection.prefix + topic
        # A group that is never joined: librdkafka wants a name.
        self._settings = connection.consumer_settings("event-mesh-reader") | _SETTINGS
        self._made: Consumer | None = None
        self._thread = CallThread("kafka-rereader")
        self._partition = -1
        self._next = 0
        self._told_end = False
        # Of the last chunk, with its end: whoever had room for half of it comes for the rest.
        self._kept: Sequence[Record] = ()
        self._resting: asyncio.TimerHandle | None = None
        self._closed = False

    async def read(self, partition: int, offset: int, max_records: int) -> Chunk:
        """Return the records of a partition from `offset` on. Raises LogUnavailable."""
        if self._closed:
            raise LogUnavailable("the event log is closed", retry_after=1.0)
        loop = asyncio.get_running_loop()
        if self._resting is not None:
            self._resting.cancel()
        try:
            return await self._thread.call(partial(self._read, partition, offset, max_records))
        except KafkaException as error:
            raise unavailable(error.args[0]) from None
        finally:
            self._resting = loop.call_later(_REST_SECONDS, self._rest)

    async def close(self) -> None:
        """Release the connections."""
        if not self._closed:
            self._closed = True
            if self._resting is not None:
                self._resting.cancel()
            await self._thread.close(self._leave)

    @property
    def _consumer(self) -> Consumer:
        """The client, made by the first read: one that has stood idle without a topic looks for
        its first one up to a second later."""
        if self._made is None:
            self._made = Consumer(self._settings)
        return self._made

    def _rest(self) -> None:
        """Stop asking the brokers, after a while without a read."""
        if not self._closed:
            self._thread.submit(self._unassign)

    def _leave(self) -> None:
        if self._made is not None:
            self._made.close()

    def _unassign(self) -> None:
        self._consumer.unassign()
        self._partition = -1
        self._kept = ()

    def _read(self, partition: int, offset: int, max_records: int) -> Chunk:
        kept = self._kept
        if partition == self._partition and kept and kept[0].offset <= offset < self._next:
            rest = kept[bisect_left(kept, offset, key=_offset) :][:max_records]
            if rest:
                whole = rest[-1] is kept[-1]
                return Chunk(rest, self._next if whole else rest[-1].offset + 1)
        # That a partition has ended is told once: whoever asks there again begins anew.
        if (partition, offset) != (self._partition, self._next) or self._told_end:
            self._consumer.assign([TopicPartition(self._kafka_topic, partition, offset)])
        self._partition = -1
        records, end = self._fetched(offset, max_records)
        self._partition, self._next, self._kept = partition, end, records
        return Chunk(records, end)

    def _fetched(self, offset: int, max_records: int) -> tuple[list[Record], int]:
        first = self._consumer.poll(_READ_SECONDS)
        if first is None:
            raise LogUnavailable("the brokers do not answer", retry_after=1.0)
        records: list[Record] = []
        end = offset
        self._told_end = False
        for message in (first, *self._consumer.consume(max_records - 1, 0)):
            error = message.error()
            if error is None:
                records.append(to_record(self._topic, message))
                end = records[-1].offset + 1
            elif error.code() == KafkaError._PARTITION_EOF:
                self._told_end = True
                # Also past records at the end that compaction has removed.
                end = max(end, message.offset() or 0)
            else:
                raise unavailable(error)
        return records, end


_offset = attrgetter("offset")

__all__ = ["KafkaReader"]
