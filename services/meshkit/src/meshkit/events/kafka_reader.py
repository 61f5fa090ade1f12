"""Reading anywhere in a Kafka topic, for no group."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from meshkit.errors import LogUnavailable
from meshkit.events.kafka_config import KafkaConnection
from meshkit.events.kafka_messages import to_record, unavailable
from meshkit.events.log import Chunk, Record

_READ_SECONDS = 10.0


class KafkaReader:
    """Reads the partitions of one topic; reading on where the last read ended is cheap."""

    def __init__(self, connection: KafkaConnection, topic: str) -> None:
        self._topic = topic
        self._kafka_topic = connection.prefix + topic
        # A group that is never joined: librdkafka wants a name.
        settings = connection.consumer_settings("event-mesh-reader")
        self._consumer = Consumer(settings | {"enable.partition.eof": True})
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="kafka-rereader")
        self._next: tuple[int, int] | None = None
        self._closed = False

    async def read(self, partition: int, offset: int, max_records: int) -> Chunk:
        """Return the records of a partition from `offset` on. Raises LogUnavailable."""
        if self._closed:
            raise LogUnavailable("the event log is closed", retry_after=1.0)
        try:
            return await asyncio.get_running_loop().run_in_executor(
                self._thread, self._read, partition, offset, max_records
            )
        except KafkaException as error:
            raise unavailable(error.args[0]) from None

    async def close(self) -> None:
        """Release the connections."""
        if not self._closed:
            self._closed = True
            await asyncio.get_running_loop().run_in_executor(self._thread, self._consumer.close)
            self._thread.shutdown(wait=False)

    def _read(self, partition: int, offset: int, max_records: int) -> Chunk:
        if self._next != (partition, offset):
            self._consumer.assign([TopicPartition(self._kafka_topic, partition, offset)])
        self._next = None
        first = self._consumer.poll(_READ_SECONDS)
        if first is None:
            raise LogUnavailable("the brokers do not answer", retry_after=1.0)
        records: list[Record] = []
        end = offset
        for message in (first, *self._consumer.consume(max_records - 1, 0)):
            error = message.error()
            if error is None:
                records.append(to_record(self._topic, message))
                end = records[-1].offset + 1
            elif error.code() == KafkaError._PARTITION_EOF:
                # Also past records at the end that compaction has removed.
                end = max(end, message.offset() or 0)
            else:
                raise unavailable(error)
        self._next = (partition, end)
        return Chunk(records, end)


__all__ = ["KafkaReader"]
