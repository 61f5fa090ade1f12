"""What has been read and not yet indexed: bounded, fair, and exact about what is done.

A Kafka partition is one line for all its tenants, so being fair means reading past whoever has much
waiting. Each tenant has room for some records. Those that find no room are left in the log, which
holds them anyway: only the offset from which the tenant's records were left is kept. When there is
room again, that stretch is read a second time for the tenants concerned (ADR 0009).

Of a tenant without weight, one that is suspended, nothing is kept in memory: its records are left
in the log until it has weight again, and hold nothing up (ADR 0020). Its deletions alone do not
wait, because the log forgets them after a day. Pure: no clock, no input or output.
"""

from collections.abc import Iterable, Mapping, Sequence

from ai_gateway.fairness import FairQueues, WeightOf
from ai_gateway.partition import DELETIONS, Item, Partition, started
from meshkit.events.log import Commit, Record, Start

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


class Backlog:
    """Records between the log and the indexer."""

    def __init__(
        self,
        weight_of: WeightOf,
        *,
        memory_most: int = MEMORY_MOST,
    ) -> None:
        self._weight_of = weight_of
        self._queues: FairQueues[Item] = FairQueues(weight_of)
        self._paused: set[str] = set()
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

    @property
    def apart(self) -> tuple[int, int]:
        """How many tenants are suspended with records waiting, and how many catch up since."""
        partitions = self._partitions.values()
        suspended = {tenant for partition in partitions for tenant in partition.paused}
        catching_up = {tenant for partition in partitions for tenant in partition.apart}
        return len(suspended), len(catching_up - suspended)

    def begin(self, starts: Mapping[int, Start]) -> None:
        """Take up partitions where they were committed, with whom that left apart. Raises
        ValueError for a note that is none of ours."""
        for number, (offset, note) in starts.items():
            partition = self._partitions[number] = started(offset, note)
            self._paused.update(partition.paused)

    def offer(self, records: Sequence[Record]) -> None:
        """Take in records that were read on from where the last ones ended."""
        partitions = self._partitions
        weights: dict[str, int] = {}
        for record in records:
            partition = partitions.get(record.partition)
            if partition is None:
                partition = partitions[record.partition] = Partition(record.offset)
            partition.head = record.offset + 1
            tenant = fair_key(record)
            # Asked once for all of them: it takes longer than what is done with one record.
            weight = weights.get(tenant)
            if weight is None:
                weight = weights[tenant] = self._weight_of(tenant)
            if weight <= 0:
                self._pause(tenant, partition, record.offset)
            if partition.leaves_some:
                if record.value is None and partition.is_behind(tenant):
                    tenant = DELETIONS
                if partition.leaves(tenant):
                    continue
            if self._has_room(tenant):
                self._take_in(record, tenant, partition)
            else:
                partition.left[tenant] = record.offset

    def to_read_again(self) -> tuple[int, int] | None:
        """Return partition and offset of the first record left in the log for which there is room
        now, None where there is none."""
        self._look_who_is_served()
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
        reading = {
            tenant: left
            for tenant, left in partition.left.items()
            if left >= start and self._weight_of(tenant) > 0
        }
        for record in records:
            tenant = fair_key(record)
            if tenant not in reading and record.value is None and partition.is_behind(tenant):
                tenant = DELETIONS
            if not reading.get(tenant, end) <= record.offset < end:
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
            partition.head - partition.committable()[0] for partition in self._partitions.values()
        )

    def take(self, most: int, *, newcomers_only: bool = False) -> list[Item]:
        """Return the next records to index, at most `most`, fairly; those of tenants who have just
        come only, where so asked."""
        taken = self._queues.take(most, newcomers_only=newcomers_only)
        if given_up := self._queues.given_up():
            for item in given_up:
                self._leave_apart(item)
            # Its deletions have come into line instead.
            taken += self._queues.take(most - len(taken), newcomers_only=newcomers_only)
        return taken

    def has_more(self, tenant: str) -> bool:
        """Return whether records of a tenant wait, here or left in the log."""
        left = (partition.leaves(tenant) for partition in self._partitions.values())
        return self._queues.waits(tenant) or any(left)

    def finished(self, items: Iterable[Item]) -> None:
        """Say that these are indexed, or set aside for good."""
        for item in items:
            item.undone.finish(item.record.offset)
            self._release(item)

    def committable(self) -> Commit:
        """Return per partition the offset of the next record that is not done, and in the notes
        whose records before it are not done all the same."""
        places = {number: one.committable() for number, one in self._partitions.items()}
        return Commit(
            {number: offset for number, (offset, _) in places.items()},
            {number: note for number, (_, note) in places.items() if note},
        )

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
        undone = partition.undone_of(tenant) if partition.apart else partition.undone
        undone.add(record.offset)
        self._used[tenant] = self._used.get(tenant, 0) + size
        self._memory += size
        self._queues.push(tenant, Item(record, tenant, partition, size, undone), backlogged=again)

    def _pause(self, tenant: str, partition: Partition, offset: int) -> None:
        partition.pause(tenant, offset)
        self._paused.add(tenant)

    def _leave_apart(self, item: Item) -> None:
        """Leave a record in the log after all: its tenant is not served any more."""
        item.undone.finish(item.record.offset)
        self._release(item)
        self._pause(item.tenant, item.partition, item.record.offset)
        if item.record.value is None:
            self._take_in(item.record, DELETIONS, item.partition)

    def _look_who_is_served(self) -> None:
        """Have those read again who are served again, and no longer those who are not."""
        resumed = [tenant for tenant in self._paused if self._weight_of(tenant) > 0]
        self._paused.difference_update(resumed)
        for partition in self._partitions.values():
            for tenant in resumed:
                if tenant in partition.paused:
                    partition.resume(tenant)
            for tenant, start in list(partition.left.items()):
                if self._weight_of(tenant) <= 0:
                    self._pause(tenant, partition, start)

    def _release(self, item: Item) -> None:
        self._memory -= item.size
        left = self._used[item.tenant] - item.size
        if left:
            self._used[item.tenant] = left
        else:
            del self._used[item.tenant]

    def _has_room(self, tenant: str) -> bool:
        # One record always, if it is the tenant's only one: none is too large for its share.
        free = self._memory_most - self._memory
        used = self._used.get(tenant, 0)
        return free > 0 and (used == 0 or used < free // _PART_OF_FREE)

    def _wants(self, tenant: str) -> bool:
        # Half empty: reading again is worth its while only for more than a few.
        return not self.full and self._used.get(tenant, 0) <= self._room() // 2

    def _room(self) -> int:
        return (self._memory_most - self._memory) // _PART_OF_FREE
