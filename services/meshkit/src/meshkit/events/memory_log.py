"""An event log in memory, for tests: the port's promises without the disk."""

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence, Set

from meshkit.clock import unix_ms
from meshkit.errors import LogUnavailable
from meshkit.events.log import (
    NO_NOTES,
    TOPICS,
    Chunk,
    Committable,
    Lag,
    NewRecord,
    Position,
    Record,
    Start,
    TopicSpec,
    UnknownTopic,
)
from meshkit.events.partition import partition_of


class MemoryEventLog:
    """All records of all topics in lists; offsets are the place in the partition."""

    def __init__(self, topics: Iterable[TopicSpec] = TOPICS) -> None:
        self._partitions: dict[str, list[list[Record]]] = {
            topic.name: [[] for _ in range(topic.partitions)] for topic in topics
        }
        self._committed: dict[tuple[str, str], dict[int, int]] = {}
        self._notes: dict[tuple[str, str], dict[int, str]] = {}
        self._wakes: set[asyncio.Event] = set()
        self._closed = asyncio.Event()

    async def publish(self, topic: str, record: NewRecord) -> Position:
        """Append one record."""
        return (await self.publish_many(topic, [record]))[0]

    async def publish_many(self, topic: str, records: Sequence[NewRecord]) -> Sequence[Position]:
        """Append records in their order."""
        partitions = self.partitions(topic)
        _refuse_if(self._closed)
        positions = []
        for record in records:
            number = record.partition
            if number is None:
                number = partition_of(record.key, len(partitions))
            offset, now = len(partitions[number]), unix_ms()
            partitions[number].append(
                Record(topic, number, offset, record.key, record.value, record.headers, now)
            )
            positions.append(Position(number, offset, now))
        self._wake_consumers()
        return positions

    def consumer(
        self, topic: str, group: str, committable: Committable | None = None
    ) -> "MemoryConsumer":
        """Return a new consumer of all partitions of `topic`. Raises UnknownTopic."""
        wake = asyncio.Event()
        self._wakes.add(wake)
        committed = self._committed.setdefault((topic, group), {})
        return MemoryConsumer(
            self.partitions(topic),
            committed,
            self._notes.setdefault((topic, group), {}),
            wake=wake,
            closed=self._closed,
            leave=lambda: self._wakes.discard(wake),
        )

    def reader(self, topic: str) -> "MemoryReader":
        """Return a new reader of `topic`. Raises UnknownTopic."""
        return MemoryReader(self.partitions(topic), self._closed)

    async def ends(self, topic: str) -> Mapping[int, tuple[int, int]]:
        """Return per partition the offset of its first record and of the next one to come."""
        _refuse_if(self._closed)
        partitions = self.partitions(topic)
        return {number: (0, len(records)) for number, records in enumerate(partitions)}

    async def check(self, topics: Collection[str]) -> str | None:
        """Return None: the topics are as they were made."""
        return None

    def remarks(self) -> str:
        """Return nothing: the topics are as they were made."""
        return ""

    async def log_id(self) -> str:
        """Return the identity of the log."""
        return "memory"

    async def lag(self, topic: str, group: str) -> Lag:
        """Return how far a group is behind."""
        committed = self._committed.get((topic, group), {})
        waiting = sum(
            len(records) - committed.get(number, 0)
            for number, records in enumerate(self.partitions(topic))
        )
        return Lag(dict(committed), waiting)

    async def close(self) -> None:
        """Refuse everything from now on; the records stay for `reopen`."""
        self._closed.set()
        self._wake_consumers()

    def reopen(self) -> None:
        """Take up again after `close`, as a durable log does after a restart."""
        self._closed.clear()

    def partitions(self, topic: str) -> list[list[Record]]:
        """Return the records of `topic` by partition. Raises UnknownTopic."""
        try:
            return self._partitions[topic]
        except KeyError:
            raise UnknownTopic(f"this log has no topic {topic!r}") from None

    def _wake_consumers(self) -> None:
        for wake in self._wakes:
            wake.set()


class MemoryConsumer:
    """A consumer of all partitions of one topic."""

    def __init__(
        self,
        partitions: list[list[Record]],
        committed: dict[int, int],
        notes: dict[int, str],
        *,
        wake: asyncio.Event,
        closed: asyncio.Event,
        leave: Callable[[], None],
    ) -> None:
        self._partitions = partitions
        self._committed = committed
        self._notes = notes
        self._wake = wake
        self._closed = closed
        self._leave = leave
        self._next = dict(committed)
        self._noted = self._starts()

    async def consume(self, max_records: int, timeout: float) -> Sequence[Record]:
        """Return the next records, or none after `timeout` seconds."""
        if not max_records:
            await asyncio.sleep(timeout)
            return ()
        try:
            async with asyncio.timeout(timeout):
                while not (records := self._read_on(max_records)):
                    self._wake.clear()
                    await self._wake.wait()
        except TimeoutError:
            return ()
        return records

    def revoked(self) -> Set[int]:
        """Nobody takes partitions away here."""
        return frozenset()

    def noted(self) -> Mapping[int, Start]:
        """Return the notes from which this member started."""
        noted, self._noted = self._noted, {}
        return noted

    async def commit(self, offsets: Mapping[int, int], notes: Mapping[int, str] = NO_NOTES) -> None:
        """Remember per partition the offset of the next record to read, and a note."""
        _refuse_if(self._closed)
        self._committed.update(offsets)
        self._notes.update({number: notes.get(number, "") for number in offsets})

    async def rewind(self) -> None:
        """Go back to the committed offsets."""
        self._next = dict(self._committed)
        self._noted = self._starts()

    async def close(self) -> None:
        """Leave the group."""
        self._leave()

    def _starts(self) -> dict[int, Start]:
        return {n: Start(self._committed[n], note) for n, note in self._notes.items() if note}

    def _read_on(self, max_records: int) -> list[Record]:
        _refuse_if(self._closed)
        records: list[Record] = []
        for number, partition in enumerate(self._partitions):
            start = self._next.get(number, 0)
            taken = partition[start : start + max_records - len(records)]
            self._next[number] = start + len(taken)
            records += taken
        return records


class MemoryReader:
    """Reads anywhere in one topic."""

    def __init__(self, partitions: list[list[Record]], closed: asyncio.Event) -> None:
        self._partitions = partitions
        self._closed = closed

    async def read(self, partition: int, offset: int, max_records: int) -> Chunk:
        """Return the records of a partition from `offset` on."""
        _refuse_if(self._closed)
        records = self._partitions[partition][offset : offset + max_records]
        return Chunk(records, offset + len(records))

    async def close(self) -> None:
        """Nothing to release."""


def _refuse_if(closed: asyncio.Event) -> None:
    if closed.is_set():
        raise LogUnavailable("the event log is closed", retry_after=1.0)


__all__ = ["MemoryConsumer", "MemoryEventLog", "MemoryReader"]
