"""Reading the log from one place to the end as it is now: for people and their tools.

`scanning` reads `user.events` for whoever asks what is left of a tenant. The log is the system of
record, so the answer takes all of it: partition by partition, in order, a chunk at a time. A key
may lie in two partitions: in each of them the last record decides what is left there, and the
newest of these by the log's time decides what the user is.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager

from meshkit.events.log import USER_EVENTS, Chunk, EventLog, Reader, Record

_READ_MOST = 1000

OnScanned = Callable[[int, int], None]
"""Is told how many offsets are done, and of how many. Only their ratio means anything: offsets
have gaps."""


def key_uid(key: bytes) -> bytes:
    """Return the uid of the tenant whose key it is: what stands before the first `/`, to the last
    sign. Empty for a key that is no user's."""
    uid, slash, _ = key.partition(b"/")
    return uid if slash else b""


class UserKeyScan:
    """One reading of `user.events`. Made by `scanning`."""

    def __init__(
        self, reader: Reader, ends: Mapping[int, tuple[int, int]], on_scanned: OnScanned
    ) -> None:
        self._reader = reader
        self._ends = ends
        self._on_scanned = on_scanned
        self._done = 0
        self._total = sum(end - first for first, end in ends.values())

    @property
    def partitions(self) -> Sequence[int]:
        """The partitions that there are."""
        return list(self._ends)

    async def records(self, partition: int) -> AsyncIterator[tuple[bytes, Record]]:
        """Yield the records of a partition that are under a user's key, each with the uid in it.

        Raises LogUnavailable.
        """
        async for records in self.chunks(partition):
            for record in records:
                if uid := key_uid(record.key):
                    yield uid, record

    async def chunks(self, partition: int) -> AsyncIterator[Sequence[Record]]:
        """Yield all records of a partition, some at a time. Raises LogUnavailable."""
        first, end = self._ends[partition]
        done = self._done
        async for chunk in _chunks(self._reader, partition, first, end):
            yield chunk.records
            self._on_scanned(done + min(chunk.end, end) - first, self._total)
        self._done = done + end - first
        self._on_scanned(self._done, self._total)


@asynccontextmanager
async def scanning(
    log: EventLog, on_scanned: OnScanned = lambda done, total: None
) -> AsyncIterator[UserKeyScan]:
    """Read `user.events` up to where it ends now. Raises LogUnavailable."""
    ends = await log.ends(USER_EVENTS)
    reader = log.reader(USER_EVENTS)
    try:
        yield UserKeyScan(reader, ends, on_scanned)
    finally:
        await reader.close()


async def read_all(log: EventLog, topic: str, starts: Mapping[int, int]) -> AsyncIterator[Record]:
    """Yield the records of some partitions, each from an offset on to the end as it is now."""
    ends = await log.ends(topic)
    reader = log.reader(topic)
    try:
        for partition, start in starts.items():
            first, end = ends[partition]
            async for chunk in _chunks(reader, partition, max(start, first), end):
                for record in chunk.records:
                    yield record
    finally:
        await reader.close()


async def first_since(reader: Reader, partition: int, ends: tuple[int, int], since_ms: int) -> int:
    """Return from where on all is read that a partition took at `since_ms` or later, and little
    before it. `ends` are those of the partition. Raises LogUnavailable."""
    first, end = ends
    while end - first > _READ_MOST:
        middle = (first + end) // 2
        found = (await reader.read(partition, middle, 1)).records
        if found and found[0].timestamp_ms < since_ms:
            first = middle
        else:
            end = middle
    return first


async def _chunks(reader: Reader, partition: int, start: int, end: int) -> AsyncIterator[Chunk]:
    offset = start
    while offset < end:
        chunk = await reader.read(partition, offset, _READ_MOST)
        yield chunk
        if chunk.end == offset:
            return
        offset = chunk.end


__all__ = ["OnScanned", "UserKeyScan", "first_since", "key_uid", "read_all", "scanning"]
