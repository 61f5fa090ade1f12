"""Publishing to Kafka: one librdkafka producer, one thread that waits for its reports.

The event loop hands records over without waiting; the thread polls, and wakes the loop once for
all records that were acknowledged meanwhile, not once for each. (confluent-kafka's own AIOProducer
was a hundred times slower here.)
"""

import asyncio
import threading
from collections.abc import Sequence
from functools import partial

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from meshkit.errors import LogUnavailable
from meshkit.events.kafka_config import DELIVERY_SECONDS, KafkaConnection
from meshkit.events.log import NewRecord, Position

PARTITION_UA = -1
"""The partition that belongs to the key, in librdkafka's words: unassigned."""

_RETRY_AFTER_SECONDS = 1.0
_POLL_SECONDS = 0.1

Report = tuple[asyncio.Future[Position], Position | LogUnavailable]


class KafkaProducer:
    """Publishes records for the event loop in which it is made."""

    def __init__(self, connection: KafkaConnection) -> None:
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self._producer = Producer(connection.producer_settings())
        self._reports: list[Report] = []
        self._closing = False
        self._thread = threading.Thread(target=self._poll, name="kafka-reports", daemon=True)
        self._thread.start()

    async def publish(
        self, topic: str, records: Sequence[NewRecord], partition: int = PARTITION_UA
    ) -> Sequence[Position]:
        """Return the records' places once all in-sync replicas have them.

        Where a record names no partition it goes to `partition`, which is its key's by default.
        Raises LogUnavailable where any of them was not acknowledged; the others may be.
        """
        futures = [self._produce(topic, record, partition) for record in records]
        if len(futures) == 1:
            return [await futures[0]]
        results = await asyncio.gather(*futures, return_exceptions=True)
        positions = [result for result in results if isinstance(result, Position)]
        for result in results:
            if isinstance(result, BaseException):
                raise result
        return positions

    async def close(self) -> None:
        """Finish what was accepted, as far as the brokers take it in time."""
        if self._closing:
            return
        self._closing = True
        await asyncio.to_thread(self._producer.flush, DELIVERY_SECONDS)
        self._producer.purge()
        await asyncio.to_thread(self._thread.join)

    def _produce(self, topic: str, record: NewRecord, partition: int) -> asyncio.Future[Position]:
        future: asyncio.Future[Position] = self._loop.create_future()
        if self._closing:
            future.set_exception(_unavailable("the event log is closed"))
            return future
        try:
            self._producer.produce(
                topic,
                record.value,
                record.key,
                partition if record.partition is None else record.partition,
                headers=list(record.headers),
                on_delivery=partial(self._on_delivery, future),
            )
        except BufferError:
            future.set_exception(_unavailable("too many events wait for the brokers"))
        except KafkaException as error:
            future.set_exception(self._failed(error.args[0]))
        return future

    def _on_delivery(
        self, future: asyncio.Future[Position], error: KafkaError | None, message: Message
    ) -> None:
        outcome: Position | LogUnavailable
        if error is not None:
            outcome = self._failed(error)
        else:
            _, timestamp_ms = message.timestamp()
            outcome = Position(
                message.partition() or 0, message.offset() or 0, max(0, timestamp_ms)
            )
        self._reports.append((future, outcome))

    def _failed(self, error: KafkaError) -> LogUnavailable:
        if error.fatal() and not self._closing:
            # An idempotent producer that has lost its place in the sequence never works again.
            self._producer = Producer(self._connection.producer_settings())
        if error.code() in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC):
            return _unavailable("the topic does not exist (mesh topics ensure)")
        return _unavailable(f"the brokers did not acknowledge: {error.str()}")

    def _poll(self) -> None:
        while not (self._closing and len(self._producer) == 0):
            self._producer.poll(_POLL_SECONDS)
            if self._reports:
                reports, self._reports = self._reports, []
                self._loop.call_soon_threadsafe(_settle, reports)


def _settle(reports: Sequence[Report]) -> None:
    for future, outcome in reports:
        # Cancelled, where the client has gone: the record is in the log all the same.
        if future.done():
            continue
        if isinstance(outcome, Position):
            future.set_result(outcome)
        else:
            future.set_exception(outcome)


def _unavailable(detail: str) -> LogUnavailable:
    return LogUnavailable(detail, retry_after=_RETRY_AFTER_SECONDS)


__all__ = ["PARTITION_UA", "KafkaProducer"]
