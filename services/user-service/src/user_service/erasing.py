"""Ending every key of a tenant in the log: a tombstone for each, where it has none yet.

The log is the system of record, so a tenant is gone only when each of its keys ends in a record
without a value: that is what compaction understands, and what an index made again from the log
obeys. A key is the tenant's if it begins with `<tenantUid>/`, to the last sign; bare events that
others have put under keys of their own are not found here.

A key may lie in two partitions: another client put it there, an older version did, or partitions
were added. Compaction works by partition, so the tombstone goes to each where the key is alive.

Only keys of this tenant are kept in memory, of one partition at a time, and a hash of each. Doing
it again does nothing. Nobody may be writing for the tenant any more: the caller has fenced it.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from meshkit.clock import WallClock, utc_now
from meshkit.events.envelope import EventType, UserEvent, record_key, timestamp, to_record
from meshkit.events.log import USER_EVENTS, EventLog, NewRecord
from meshkit.events.scanning import UserKeyScan, scanning
from meshkit.ids import random_id
from meshkit.tenancy.identity import TenantContext

log = structlog.get_logger()

_PUBLISHED_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class KeyCount:
    """The keys of a tenant in the log: all of them, those ended now, and those still alive."""

    keys: int = 0
    tombstoned: int = 0
    remaining: int = 0


class KeyEraser:
    """Reads the whole log for one tenant after the other.

    A call that comes while the same is running gets the answer of that one: whoever has lost
    patience and asks again does not make it longer.
    """

    def __init__(self, event_log: EventLog, clock: WallClock = utc_now) -> None:
        self._log = event_log
        self._clock = clock
        self._one_at_a_time = asyncio.Lock()
        self._running: dict[tuple[TenantContext, bool], asyncio.Task[KeyCount]] = {}

    async def tombstone(self, tenant: TenantContext) -> KeyCount:
        """End every key of the tenant that is alive. Raises LogUnavailable; then some may be."""
        count = await self._joined(tenant, write=True)
        log.info("tenant_keys_tombstoned", tenant=tenant.tenant_id, keys=count.tombstoned)
        return count

    async def count(self, tenant: TenantContext) -> KeyCount:
        """Return how many keys the tenant has and how many are alive. Raises LogUnavailable."""
        return await self._joined(tenant, write=False)

    async def _joined(self, tenant: TenantContext, *, write: bool) -> KeyCount:
        key = (tenant, write)
        task = self._running.get(key)
        if task is None:
            task = asyncio.create_task(self._whole_log(tenant, write=write), name="key-scan")
            self._running[key] = task
            task.add_done_callback(lambda done: self._ended(key, done))
        return await asyncio.shield(task)

    def _ended(self, key: tuple[TenantContext, bool], task: asyncio.Task[KeyCount]) -> None:
        del self._running[key]
        # Whoever waits is told; where nobody does any more, it is no fault of the process.
        if not task.cancelled() and (error := task.exception()) is not None:
            log.warning("key_scan_failed", tenant=key[0].tenant_id, reason=str(error))

    async def _whole_log(self, tenant: TenantContext, *, write: bool) -> KeyCount:
        # Hashes of 64 bits: a key that lies in two partitions is one key.
        keys: set[int] = set()
        tombstoned: set[int] = set()
        alive: set[int] = set()
        async with self._one_at_a_time, scanning(self._log) as scan:
            for partition in scan.partitions:
                found = await _keys(tenant, scan, partition)
                living = [key for key, lives in found.items() if lives]
                keys.update(map(hash, found))
                if write:
                    await self._end(tenant, living, partition)
                    tombstoned.update(map(hash, living))
                else:
                    alive.update(map(hash, living))
        return KeyCount(len(keys), len(tombstoned), len(alive))

    async def _end(self, tenant: TenantContext, keys: Sequence[bytes], partition: int) -> None:
        """Publish a tombstone for each key, into the partition where it was found."""
        for start in range(0, len(keys), _PUBLISHED_AT_ONCE):
            some = keys[start : start + _PUBLISHED_AT_ONCE]
            tombstones = [self._tombstone(tenant, key, partition) for key in some]
            await self._log.publish_many(USER_EVENTS, tombstones)

    def _tombstone(self, tenant: TenantContext, key: bytes, partition: int) -> NewRecord:
        user_id = key.removeprefix(record_key(tenant, "")).decode(errors="replace")
        event = UserEvent(
            event_id=random_id(),
            type=EventType.DELETED,
            tenant=tenant,
            user_id=user_id,
            time=timestamp(self._clock()),
            data=None,
        )
        # The key as it was found, also where it is not UTF-8: compaction compares bytes.
        return NewRecord(key, None, to_record(event).headers, partition)


async def _keys(tenant: TenantContext, scan: UserKeyScan, partition: int) -> dict[bytes, bool]:
    """Return the keys of the tenant in a partition, each with whether it is alive there."""
    mine = tenant.tenant_uid.encode()
    newest_lives: dict[bytes, bool] = {}
    async for uid, record in scan.records(partition):
        if uid == mine:
            newest_lives[record.key] = record.value is not None
    return newest_lives
