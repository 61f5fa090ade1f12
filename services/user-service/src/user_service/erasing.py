"""Ending everything of a tenant in the log: a tombstone for each key, where it has none yet.

The log is the system of record, so a tenant is gone only when each of its keys ends in a record
without a value: that is what compaction understands, and what an index made again from the log
obeys. A key is the tenant's if it begins with `<tenantUid>/`, to the last sign. So is every other
record that names the tenant, whatever its key: by its uid, or by its id where it names no uid, as
the index takes it (`tenant_keys`).

A key may lie in two partitions: another client put it there, an older version did, or partitions
were added. Compaction works by partition, so the tombstone goes to each where the key is alive.

A tombstone ends a key for everybody whose records are under it. So none is written where another
tenant may lose by it: that is logged and counted as remaining, and compaction, or that tenant's
next write, clears the way.

Only keys of this tenant are kept in memory, of one partition at a time, and a hash of each. Doing
it again does nothing. Nobody may be writing for the tenant any more: the caller has fenced it.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import structlog

from meshkit.clock import WallClock, utc_now
from meshkit.events.envelope import EventType, UserEvent, timestamp, to_record
from meshkit.events.log import USER_EVENTS, EventLog, NewRecord
from meshkit.events.partition import partition_of
from meshkit.events.scanning import key_uid, read_all, scanning
from meshkit.ids import random_id
from meshkit.tenancy.identity import TenantContext
from user_service.tenant_keys import KeyState, NamedUser, find_keys, user_of_key

log = structlog.get_logger()

_PUBLISHED_AT_ONCE = 500
_OFFSETS_LOGGED = 20
_SHARED = "others have records under the same keys; compaction removes these in time"
_ANOTHERS = (
    "they are under keys of another tenant; once that tenant has written or deleted the users of"
    " these keys, compaction removes them"
)


@dataclass(frozen=True, slots=True)
class KeyCount:
    """The keys of a tenant in the log: all of them, those ended now, and those still alive."""

    keys: int = 0
    tombstoned: int = 0
    remaining: int = 0


class KeyEraser:
    """Reads the whole log for one tenant after the other.

    A call that comes while the same is running gets the answer of that one: whoever has lost
    patience and asks again does not make it longer. `uids_in_force` says whose keys other writers
    may be writing at any moment.
    """

    def __init__(
        self,
        event_log: EventLog,
        clock: WallClock = utc_now,
        uids_in_force: Callable[[], Collection[str]] = tuple,
    ) -> None:
        self._log = event_log
        self._clock = clock
        self._uids_in_force = uids_in_force
        self._one_at_a_time = asyncio.Lock()
        self._running: dict[tuple[TenantContext, bool], asyncio.Task[KeyCount]] = {}

    async def tombstone(self, tenant: TenantContext) -> KeyCount:
        """End every key of the tenant that is alive; those that cannot be ended now remain.

        Raises LogUnavailable; then some may be.
        """
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
        remaining: set[int] = set()
        async with self._one_at_a_time, scanning(self._log) as scan:
            for partition in scan.partitions:
                found = await find_keys(tenant, scan, partition)
                keys.update(map(hash, (*found.lives, *found.unclear)))
                living: dict[bytes, Collection[NamedUser]] = {
                    key: (NamedUser(user_of_key(tenant, key), by_uid=True),)
                    for key, lives in found.lives.items()
                    if lives
                }
                if found.unclear:
                    states = await self._states(tenant, partition, found.unclear)
                    blocked = self._blocked(tenant, partition, len(scan.partitions), states)
                    remaining.update(map(hash, blocked))
                    living |= {k: state.alive for k, state in states.items() if k not in blocked}
                if write:
                    await self._end(tenant, living, partition)
                    tombstoned.update(map(hash, living))
                else:
                    remaining.update(map(hash, living))
        return KeyCount(len(keys), len(tombstoned), len(remaining))

    async def _states(
        self, tenant: TenantContext, partition: int, keys: Collection[bytes]
    ) -> dict[bytes, KeyState]:
        """Return the state of those of some keys that are alive: as it is now, others may have
        written there since they were found."""
        states = {key: KeyState(tenant, key) for key in keys}
        async for record in read_all(self._log, USER_EVENTS, {partition: 0}):
            if (state := states.get(record.key)) is not None:
                state.take(record)
        return {key: state for key, state in states.items() if state.alive}

    def _blocked(
        self,
        tenant: TenantContext,
        partition: int,
        partitions: int,
        states: Mapping[bytes, KeyState],
    ) -> set[bytes]:
        """Return the keys under which a tombstone would end somebody else's record, or one that
        another tenant in force may be writing this moment. Says so in the log."""
        in_force = {uid.encode() for uid in self._uids_in_force()} - {tenant.tenant_uid.encode()}
        blocked: dict[bytes, str] = {}
        for key, state in states.items():
            if state.has_others:
                blocked[key] = _SHARED
            elif key_uid(key) in in_force and partition_of(key, partitions) == partition:
                blocked[key] = _ANOTHERS
        for reason in set(blocked.values()):
            offsets = [states[key].offset for key, why in blocked.items() if why == reason]
            log.warning(
                "tenant_records_remain",
                tenant=tenant.tenant_id,
                reason=reason,
                partition=partition,
                # Keys may be about people.
                offsets=sorted(offsets)[:_OFFSETS_LOGGED],
                records=len(offsets),
            )
        return set(blocked)

    async def _end(
        self, tenant: TenantContext, keys: Mapping[bytes, Collection[NamedUser]], partition: int
    ) -> None:
        """Publish the tombstones of each key, into the partition where it was found."""
        tombstones = [
            self._tombstone(tenant, key, user, partition)
            for key, users in keys.items()
            for user in users
        ]
        for start in range(0, len(tombstones), _PUBLISHED_AT_ONCE):
            some = tombstones[start : start + _PUBLISHED_AT_ONCE]
            await self._log.publish_many(USER_EVENTS, some)

    def _tombstone(
        self, tenant: TenantContext, key: bytes, user: NamedUser, partition: int
    ) -> NewRecord:
        event = UserEvent(
            event_id=random_id(),
            type=EventType.DELETED,
            tenant=tenant,
            user_id=user.user_id,
            time=timestamp(self._clock()),
            data=None,
        )
        headers = to_record(event).headers
        if not user.by_uid:
            headers = tuple(pair for pair in headers if pair[0] != "ce_tenantuid")
        # The key as it was found, also where it is not UTF-8: compaction compares bytes.
        return NewRecord(key, None, headers, partition)
