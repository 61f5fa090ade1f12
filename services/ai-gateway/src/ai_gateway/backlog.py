"""What has been read and not yet indexed: bounded, fair, and exact about what is done.

A Kafka partition is one line for all its tenants, so being fair means reading past whoever has much
waiting. Each tenant has room for some records. Those that find no room are left in the log, which
holds them anyway: only the offset from which the tenant's records were left is kept. When there is
room again, that stretch is read a second time for the tenants concerned (ADR 0009).

Per partition the offset that may be committed is the lowest one that is not done: waiting, being
indexed, or left in the log. Pure: no clock, no input or output.
"""

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from ai_gateway.fairness import FairQueues, WeightOf
from meshkit.events.log import Record

# Bytes of records waiting in memory, of all tenants together.
MEMORY_MOST = 64 * 1024 * 1024
# A tenant has room for this part of what is still free: 2 MiB alone, 0.5 MiB beside 100 others, so
# that there is some left for who comes next. Choudhury and Hahne, "Dynamic queue length thresholds
# for shared-memory packet switches", IEEE/ACM Transactions on Networking 6(2), 1998.
_PART_OF_FREE = 32
# What a record costs beside its value: key, headers and the objects around them.
_RECORD_OVERHEAD = 2048


def fair_key(record: Record) -> str:
    """Return whose record it is, cheaply: keys are `<tenantUid>/<userId>`.

    A record under another key is in line by itself; whose it is, is decided when it is read.
    """
    return record.key.partition(b"/")[0].decode(errors="replace")


@dataclass(slots=True, eq=False)
class Partition:
    """What is known of one partition since it was assigned."""

    head: int
    """The next offset to read."""
    left: dict[str, int] = field(default_factory=dict)
    """The tenants with records left in the log, and from which offset on."""
    open: list[int] = field(default_factory=list)
    """A heap of the offsets in memory that are not done, some of them done since."""
    done: set[int] = field(default_factory=set)

    def opened(self, offset: int) -> None:
        heapq.heappush(self.open, offset)

    def finished(self, offset: int) -> None:
        self.done.add(offset)
        while self.open and self.open[0] in self.done:
            self.done.discard(heapq.heappop(self.open))

    def committable(self) -> int:
        """The lowest offset that is not done."""
        lowest = self.open[0] if self.open else self.head
        return min(lowest, *self.left.values()) if self.left else lowest


class Item(msgspec.Struct, eq=False, gc=False):
    """A record that waits or is being indexed; `size` is what it takes in memory, in bytes."""

    record: Record
    tenant: str
    partition: Partition
    size: int


class Backlog:
    """Records between the log and the indexer."""

    def __init__(
        self,
        weight_of: WeightOf,
        *,
        memory_most: int = MEMORY_MOST,
    ) -> None:
        self._queues: FairQueues[Item] = FairQueues(weight_of)
        self._partitions: dict[int, Partition] = {}
        self._used: dict[str, int] = {}
        self._memory = 0
        self._memory_most = memory_most

    def __len__(self) -> int:
        """How many records wait in memory."""
        return len(self._queues)

    @property
    def memory(self) -> int:
        """What waits or is being indexed, in bytes."""
        return self._memory

    @property
    def full(self) -> bool:
        """Whether nothing more may be read: more tenants have work than there is room for."""
        return self._memory >= self._memory_most

    def offer(self, records: Sequence[Record]) -> None:
        """Take in records that were read on from where the last ones ended."""
        for record in records:
            partition = self._partitions.get(record.partition)
            if partition is None:
                partition = self._partitions[record.partition] = Partition(record.offset)
            partition.head = record.offset + 1
            tenant = fair_key(record)
            if tenant in partition.left:
                continue
            if self._has_room(tenant):
                self._take_in(record, tenant, partition)
            else:
                partition.left[tenant] = record.offset

    def to_read_again(self) -> tuple[int, int] | None:
        """Return partition and offset of the first record left in the log for which there is room
        now, None where there is none."""
        for number, partition in self._partitions.items():
            starts = [start for tenant, start in partition.left.items() if self._wants(tenant)]
            if starts:
                return number, min(starts)
        return None

    def offer_again(self, number: int, start: int, records: Sequence[Record], end: int) -> None:
        """Take in records that were read again: all that a partition has from offset `start` on
        and before `end`."""
        partition = self._partitions.get(number)
        if partition is None:
            return
        end = min(end, partition.head)
        # Of a tenant whose records were left from before `start` on, these are not the next.
        reading = {tenant: left for tenant, left in partition.left.items() if left >= start}
        for record in records:
            tenant = fair_key(record)
            left = reading.get(tenant, end)
            if not left <= record.offset < end:
                continue
            if self._has_room(tenant):
                self._take_in(record, tenant, partition, again=True)
            else:
                partition.left[tenant] = record.offset
                del reading[tenant]
        for tenant, left in reading.items():
            partition.left[tenant] = max(left, end)
            if partition.left[tenant] >= partition.head:
                del partition.left[tenant]

    @property
    def holds_back(self) -> bool:
        """Whether there are records left in the log for want of room."""
        return any(partition.left for partition in self._partitions.values())

    def behind(self) -> int:
        """Return about how many records were read, or passed by, and are not done."""
        return sum(
            partition.head - partition.committable() for partition in self._partitions.values()
        )

    def take(self, most: int, *, newcomers_only: bool = False) -> list[Item]:
        """Return the next records to index, at most `most`, fairly; those of tenants who have just
        come only, where so asked."""
        return self._queues.take(most, newcomers_only=newcomers_only)

    def has_more(self, tenant: str) -> bool:
        """Return whether records of a tenant wait, here or left in the log."""
        left = (tenant in partition.left for partition in self._partitions.values())
        return self._queues.waits(tenant) or any(left)

    def finished(self, items: Iterable[Item]) -> None:
        """Say that these are indexed, or set aside for good."""
        for item in items:
            item.partition.finished(item.record.offset)
            self._release(item)

    def committable(self) -> Mapping[int, int]:
        """Return per partition the offset of the next record that is not done."""
        return {number: partition.committable() for number, partition in self._partitions.items()}

    def forget(self, numbers: Iterable[int]) -> None:
        """Drop all of some partitions: another indexer has them now, or they are read anew."""
        gone = {id(self._partitions.pop(n)) for n in numbers if n in self._partitions}
        if gone:
            for item in self._queues.remove(lambda item: id(item.partition) in gone):
                self._release(item)

    def _take_in(
        self, record: Record, tenant: str, partition: Partition, *, again: bool = False
    ) -> None:
        size = len(record.value or b"") + _RECORD_OVERHEAD
        partition.opened(record.offset)
        self._used[tenant] = self._used.get(tenant, 0) + size
        self._memory += size
        self._queues.push(tenant, Item(record, tenant, partition, size), backlogged=again)

    def _release(self, item: Item) -> None:
        self._memory -= item.size
        left = self._used[item.tenant] - item.size
        if left:
            self._used[item.tenant] = left
        else:
            del self._used[item.tenant]

    def _has_room(self, tenant: str) -> bool:
        # One record always, if it is the tenant's only one: none is too large for its share.
        used = self._used.get(tenant, 0)
        return not self.full and (used == 0 or used < self._room())

    def _wants(self, tenant: str) -> bool:
        # Half empty: reading again is worth its while only for more than a few.
        return not self.full and self._used.get(tenant, 0) <= self._room() // 2

    def _room(self) -> int:
        return (self._memory_most - self._memory) // _PART_OF_FREE
