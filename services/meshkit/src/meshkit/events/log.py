"""The port of the durable event log, in Kafka's own words.

A topic has partitions; a record's key decides its partition (`partition`), unless the record names
one. Records of one partition keep their order. A key may lie in two partitions all the same: of
another client, of an older version, or because partitions were added. Offsets of a partition only
ever grow; they may have gaps (compaction leaves them, and the embedded log numbers all partitions
of a topic from one sequence). A consumer group remembers one offset per partition: the next record
to read.

Promises every adapter keeps, and `tests/contract` checks: `publish` returns only when the record
would survive a crash of the machine; a consumer sees each partition in offset order, from its
committed offset on, at least once; compaction never removes the newest record of a key.
"""

from collections.abc import Callable, Collection, Mapping, Sequence, Set
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple, Protocol

import msgspec

USER_EVENTS = "user.events"
USER_EVENTS_DLQ = "user.events.dlq"
USAGE = "mesh.usage"


class NewRecord(msgspec.Struct, frozen=True, gc=False):
    """A record to publish. `value` None is a tombstone: compaction ends the key with it.

    It goes to `partition` where one is named, for a key that was found there; else to the one that
    belongs to its key.
    """

    key: bytes
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()
    partition: int | None = None
    """The partition to append it to; None for the one that its key belongs to."""


class Position(msgspec.Struct, frozen=True, gc=False):
    """A record's place in a topic. `timestamp_ms` is the Unix time at which the log took it.

    Positions order the events of one user, wherever each of them lies: within a partition the
    offset decides, whatever the clocks say; between partitions the time at which the log took
    them does, and the number of the partition where that is the same.
    """

    partition: int
    offset: int
    timestamp_ms: int = 0

    def is_after(self, other: "Position") -> bool:
        """Return whether this position is newer than the other one."""
        if self.partition == other.partition:
            return self.offset > other.offset
        if self.timestamp_ms == other.timestamp_ms:
            return self.partition > other.partition
        return self.timestamp_ms > other.timestamp_ms


class Record(msgspec.Struct, frozen=True, gc=False):
    """A record as read back. `timestamp_ms` is the Unix time at which the log took it."""

    topic: str
    partition: int
    offset: int
    key: bytes
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]
    timestamp_ms: int

    @property
    def position(self) -> Position:
        """The record's place in its topic."""
        return Position(self.partition, self.offset, self.timestamp_ms)


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """What a topic is like. `compact` keeps the newest record of each key, else all are kept. With
    one partition all readers have the same order: all records go to partition 0, also where others
    were added."""

    name: str
    partitions: int = 12
    compact: bool = True


TOPICS: tuple[TopicSpec, ...] = (
    TopicSpec(USER_EVENTS),
    TopicSpec(USER_EVENTS_DLQ, partitions=1, compact=False),
    TopicSpec(USAGE, partitions=1),
)


@dataclass(frozen=True, slots=True)
class Lag:
    """How far a group is behind: the committed offset of each partition that has one, and how
    many records are there to be read from them on."""

    committed: Mapping[int, int]
    records: int


class UnknownTopic(ValueError):
    """The log has no topic of this name."""


class Chunk(NamedTuple):
    """Some records of one partition: all that it has from where was read on and before `end`."""

    records: Sequence[Record]
    end: int


class Reader(Protocol):
    """Reads anywhere in a topic, for no group. Not for concurrent use."""

    async def read(self, partition: int, offset: int, max_records: int) -> Chunk:
        """Return the records of a partition from `offset` on, at most about `max_records`.

        `end` is `offset` only at the partition's end. Raises LogUnavailable.
        """

    async def close(self) -> None:
        """Release what reading took."""


NOTE_BYTES_MOST = 4000
"""Bytes of a note: Kafka takes 4,096 beside an offset (`offset.metadata.max.bytes`)."""

NO_NOTES: Mapping[int, str] = MappingProxyType({})


class Commit(NamedTuple):
    """Per partition the offset of the next record to read, and a note where there is one."""

    offsets: Mapping[int, int]
    notes: Mapping[int, str] = NO_NOTES


class Start(NamedTuple):
    """Where the reading of a partition begins, and what was noted with that commit."""

    offset: int
    note: str


Committable = Callable[[], Commit]
"""Returns what may be committed now. Called from any thread."""


class Consumer(Protocol):
    """One member of a consumer group. Not for concurrent use."""

    async def consume(self, max_records: int, timeout: float) -> Sequence[Record]:
        """Return the next records, at most `max_records`, in offset order within a partition.

        Returns as soon as there is any record, and an empty sequence after `timeout` seconds
        without one. With `max_records` 0 nothing is read; the member only stays in its group.
        Raises LogUnavailable where the log cannot be read now.
        """

    def revoked(self) -> Set[int]:
        """Return the partitions that this member has lost since it was last asked, also those that
        it has got back: what was read of them before counts no more, it is read again."""

    def noted(self) -> Mapping[int, Start]:
        """Return the partitions that this member has got since it was last asked and with whose
        commit a note was kept. Known before any record of theirs is returned."""

    async def commit(self, offsets: Mapping[int, int], notes: Mapping[int, str] = NO_NOTES) -> None:
        """Remember per partition the offset of the next record to read; durable on return.

        A note, of at most NOTE_BYTES_MOST bytes, is kept with its offset, as one step; a commit
        without one ends it. Partitions that another member has by now are left out: it starts at
        their last commit.
        """

    async def rewind(self) -> None:
        """Go back to the committed offsets: what was read since is read again."""

    async def close(self) -> None:
        """Leave the group. Commits nothing."""


class EventLog(Protocol):
    """A durable log with topics of keyed, partitioned records."""

    async def publish(self, topic: str, record: NewRecord) -> Position:
        """Append one record and return its place once it is durable.

        Concurrent calls share one synchronisation with the disk or broker. Raises LogUnavailable
        where the record was not made durable; it may or may not be read later.
        """

    async def publish_many(self, topic: str, records: Sequence[NewRecord]) -> Sequence[Position]:
        """Append records in their order and return their places once all are durable.

        Raises LogUnavailable where not all are: then none is (embedded), or those of some
        partitions may be (Kafka). Sending them again is safe where their keys are the same.
        """

    def consumer(self, topic: str, group: str, committable: Committable | None = None) -> Consumer:
        """Return a new member of `group`, which reads from the committed offsets on (from the
        beginning where there are none). Raises UnknownTopic.

        The members of a group share the partitions (Kafka); the embedded log gives each member
        all of them, so there a group has one member. `committable` is asked, and its answer
        committed, when partitions are handed over to another member.
        """

    def reader(self, topic: str) -> Reader:
        """Return a new reader of `topic`. Raises UnknownTopic."""

    async def ends(self, topic: str) -> Mapping[int, tuple[int, int]]:
        """Return per partition the offset of its first record and of the next one to come.

        Raises LogUnavailable.
        """

    async def check(self, topics: Collection[str]) -> str | None:
        """Return why publishing to one of these topics is refused, None where it is not.

        Names the topic, what is wrong with it, and the way out. It is None while the brokers are
        only away: whether the topics are right is known from before.
        """

    def remarks(self) -> str:
        """Return how the topics differ from what they have to be, also where nothing is refused
        for it; empty where they do not."""

    async def log_id(self) -> str:
        """Return the identity of the log: another one's offsets mean nothing here.

        Raises LogUnavailable.
        """

    async def lag(self, topic: str, group: str) -> Lag:
        """Return how far a group is behind."""

    async def close(self) -> None:
        """Finish what was accepted, then release everything."""


__all__ = [
    "NOTE_BYTES_MOST",
    "NO_NOTES",
    "TOPICS",
    "USAGE",
    "USER_EVENTS",
    "USER_EVENTS_DLQ",
    "Chunk",
    "Commit",
    "Committable",
    "Consumer",
    "EventLog",
    "Lag",
    "NewRecord",
    "Position",
    "Reader",
    "Record",
    "Start",
    "TopicSpec",
    "UnknownTopic",
]
