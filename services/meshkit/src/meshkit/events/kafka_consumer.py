"""Reading from Kafka: a member of a consumer group, whose partitions come and go.

The client's calls wait, so they are made in a thread of the consumer's own. It is one for all: the
client lets in one at a time, and a commit beside a loop of reads might never get its turn. So reads
are cut into short slices, between which a commit goes first. A read that was given up is not lost:
the next one takes what it brings.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence, Set
from concurrent.futures import Future
from contextlib import suppress
from functools import partial

import structlog
from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_INVALID,
    Consumer,
    KafkaError,
    KafkaException,
    TopicPartition,
)

from meshkit.errors import LogUnavailable
from meshkit.events.kafka_calls import CallThread
from meshkit.events.kafka_config import KafkaConnection
from meshkit.events.kafka_messages import to_record, unavailable
from meshkit.events.log import NO_NOTES, Commit, Committable, Record, Start

log = structlog.get_logger()

_SLICE_SECONDS = 0.05
_CALL_SECONDS = 10.0
# The group is moving, or this member was taken for dead: its partitions have other readers now.
_NOT_OURS = frozenset(
    {
        KafkaError.ILLEGAL_GENERATION,
        KafkaError.UNKNOWN_MEMBER_ID,
        KafkaError.REBALANCE_IN_PROGRESS,
        KafkaError.FENCED_INSTANCE_ID,
        KafkaError._ASSIGNMENT_LOST,
        KafkaError._NO_OFFSET,
    }
)


class KafkaConsumer:
    """One member of a group over `topic`. `is_closed` tells that the whole log was closed."""

    def __init__(
        self,
        connection: KafkaConnection,
        topic: str,
        group: str,
        *,
        committable: Committable | None = None,
        is_closed: Callable[[], bool],
        leave: Callable[["KafkaConsumer"], None],
    ) -> None:
        self._topic = topic
        self._kafka_topic = connection.prefix + topic
        self._committable = committable
        self._is_closed = is_closed
        self._leave = leave
        self._consumer = Consumer(connection.consumer_settings(group))
        self._thread = CallThread("kafka-consumer")
        self._in_flight: Future[list[Record]] | None = None
        self._subscribed = False
        self._paused: set[int] = set()
        self._revoked: set[int] = set()
        self._noted: dict[int, Start] = {}
        self._ended = False

    async def consume(self, max_records: int, timeout: float) -> Sequence[Record]:
        """Return the next records, or none after `timeout` seconds."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        while True:
            self._refuse_if_closed()
            left = max(0.0, deadline - loop.time())
            records = await self._read(max_records, min(left, _SLICE_SECONDS))
            if records or left == 0.0:
                return records or ()

    def revoked(self) -> Set[int]:
        """Return the partitions lost since this was last asked."""
        revoked, self._revoked = self._revoked, set()
        return revoked

    def noted(self) -> Mapping[int, Start]:
        """Return the partitions got since this was last asked, where something was noted."""
        noted, self._noted = self._noted, {}
        return noted

    async def commit(self, offsets: Mapping[int, int], notes: Mapping[int, str] = NO_NOTES) -> None:
        """Remember per partition the offset of the next record to read, and a note."""
        self._refuse_if_closed()
        if offsets:
            await self._call(partial(self._commit, Commit(dict(offsets), notes)))

    async def rewind(self) -> None:
        """Go back to the committed offsets."""
        self._refuse_if_closed()
        if self._in_flight is not None:
            await asyncio.wait([asyncio.wrap_future(self._in_flight)])
            self._in_flight = None
        await self._call(self._seek_committed)

    async def close(self) -> None:
        """Leave the group: the others take its partitions over at once."""
        if self._ended:
            return
        self._ended = True
        self._leave(self)
        await self._thread.close(self._consumer.close)

    async def _read(self, max_records: int, timeout: float) -> list[Record]:
        if self._in_flight is None:
            self._in_flight = self._thread.submit(partial(self._poll, max_records, timeout))
        try:
            records = await asyncio.shield(asyncio.wrap_future(self._in_flight))
        except asyncio.CancelledError:
            raise
        except BaseException:
            self._in_flight = None
            raise
        self._in_flight = None
        return records

    def _poll(self, max_records: int, timeout: float) -> list[Record]:
        if not self._subscribed:
            self._consumer.subscribe(
                [self._kafka_topic],
                on_assign=self._on_assign,
                on_revoke=self._on_revoke,
                on_lost=self._on_lost,
            )
            self._subscribed = True
        self._pause(not max_records)
        first = self._consumer.poll(timeout)
        if first is None:
            return []
        messages = [first]
        if max_records > 1:
            messages += self._consumer.consume(max_records - 1, 0)
        records = [
            to_record(self._topic, message) for message in messages if message.error() is None
        ]
        if not records and (error := messages[0].error()) is not None:
            raise unavailable(error)
        return records

    def _pause(self, pause: bool) -> None:
        """Stop fetching, or go on. What was fetched and not read is fetched again."""
        mine = {place.partition for place in self._consumer.assignment()}
        if pause and (new := mine - self._paused):
            self._consumer.pause([TopicPartition(self._kafka_topic, n) for n in new])
            self._paused |= new
        elif not pause and self._paused:
            held = self._paused & mine
            self._consumer.resume([TopicPartition(self._kafka_topic, n) for n in held])
            self._paused.clear()

    def _on_assign(self, _: Consumer, places: list[TopicPartition]) -> None:
        """Begin at the commits, whose notes have to be those of the very same commits."""
        log.info("partitions_assigned", partitions=sorted(place.partition for place in places))
        while not self._ended:
            try:
                starts = self._consumer.committed(places, timeout=_CALL_SECONDS) if places else []
            except KafkaException as error:
                log.warning("commits_not_known_yet", reason=str(error))
                continue
            if not any(start.error for start in starts):
                self._consumer.incremental_assign(starts)
                self._keep_notes(starts)
                return
            time.sleep(_SLICE_SECONDS)

    def _keep_notes(self, starts: list[TopicPartition]) -> None:
        self._noted |= {s.partition: Start(s.offset, s.metadata) for s in starts if s.metadata}

    def _on_revoke(self, _: Consumer, places: list[TopicPartition]) -> None:
        """Hand over: the next owner shall start where we have come to."""
        self._on_lost(_, places)
        if self._committable is None:
            return
        commit = self._committable()
        done = self._places(commit, {place.partition for place in places})
        if done:
            with suppress(KafkaException):
                self._consumer.commit(offsets=done, asynchronous=False)

    def _on_lost(self, _: Consumer, places: list[TopicPartition]) -> None:
        numbers = {place.partition for place in places}
        log.info("partitions_revoked", partitions=sorted(numbers))
        self._revoked |= numbers
        self._paused -= numbers
        self._noted = {n: start for n, start in self._noted.items() if n not in numbers}

    def _places(self, commit: Commit, numbers: Set[int]) -> list[TopicPartition]:
        return [
            TopicPartition(self._kafka_topic, number, offset, commit.notes.get(number, ""))
            for number, offset in commit.offsets.items()
            if number in numbers
        ]

    def _commit(self, commit: Commit) -> None:
        mine = {partition.partition for partition in self._consumer.assignment()}
        # A member commits what it has; before it has joined, what it is told to.
        places = self._places(commit, mine if self._subscribed else commit.offsets.keys())
        if not places:
            return
        try:
            answers = self._consumer.commit(offsets=places, asynchronous=False)
        except KafkaException as error:
            if error.args[0].code() not in _NOT_OURS:
                raise
            log.info("commit_left_to_the_next_owner", reason=error.args[0].str())
            return
        for answer in answers or ():
            if answer.error is not None and answer.error.code() not in _NOT_OURS:
                raise unavailable(answer.error)

    def _seek_committed(self) -> None:
        mine = self._consumer.assignment()
        starts = self._consumer.committed(mine, timeout=_CALL_SECONDS) if mine else []
        self._keep_notes(starts)
        for place in starts:
            if place.offset == OFFSET_INVALID:
                place.offset = OFFSET_BEGINNING
            self._consumer.seek(place)

    async def _call(self, call: Callable[[], None]) -> None:
        try:
            await self._thread.call(call)
        except KafkaException as error:
            raise unavailable(error.args[0]) from None

    def _refuse_if_closed(self) -> None:
        if self._ended or self._is_closed():
            raise LogUnavailable("the event log is closed", retry_after=1.0)


__all__ = ["KafkaConsumer"]
