"""Which tenants have users in the log though nobody has their uid any more.

Their Tenants were deleted and their data was to stay. A key `<tenantUid>/<userId>` lives where its
newest record has a value; where it lies in two partitions, the newest of both by the log's time. A
uid counts as a tenant's only where an event under it names the very uid as its own: bare events
that others have put under keys of theirs, with or without a `/`, make no tenant.

What is remembered of a key is a digest of eight bytes, the partition and time of its newest record,
and whether that has a value; of a tenant that is there still nothing is. Names and uids come out,
nothing that is about a person.
"""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime

from meshkit.events.log import EventLog, Record
from meshkit.events.reading import tenant_of
from meshkit.events.scanning import OnScanned, scanning
from meshkit.tenancy.identity import TenantContext


@dataclass(frozen=True, slots=True)
class RetainedTenant:
    """A tenant that is gone: its uid, the name in its newest event, how many users of it the log
    has, and when the log took that event."""

    tenant: TenantContext
    users: int
    last_event: datetime


async def retained_tenants(
    log: EventLog, in_use: Collection[str], on_scanned: OnScanned = lambda done, total: None
) -> list[RetainedTenant]:
    """Return the tenants with users in the log whose uid is not `in_use`, by name, the one heard
    of last first. Reads all of `user.events`. Raises LogUnavailable.
    """
    passed_over = {uid.encode() for uid in in_use}
    keys: dict[int, _Key] = {}
    newest: dict[bytes, _Newest] = {}
    one_of_each: dict[bytes, bytes] = {}
    async with scanning(log, on_scanned) as scan:
        for partition in scan.partitions:
            async for uid, record in scan.records(partition):
                if uid not in passed_over:
                    _note_key(one_of_each.setdefault(uid, uid), record, keys)
                    _note(uid, record, newest)
    users = Counter(uid for _, _, uid in keys.values() if uid)
    found = [
        RetainedTenant(one.tenant, users[uid], datetime.fromtimestamp(one.timestamp_ms / 1000, UTC))
        for uid, one in newest.items()
        if users[uid]
    ]
    found.sort(key=lambda one: one.last_event, reverse=True)
    return sorted(found, key=lambda one: one.tenant.tenant_id)


@dataclass(frozen=True, slots=True)
class _Newest:
    """The newest event that names a tenant."""

    timestamp_ms: int
    tenant: TenantContext


# By the key's own hash, a SipHash of 64 bits: of ten million keys no two are likely to share one
# (3e-6). The keys themselves would take several times the memory.
_Key = tuple[int, int, bytes]
"""Of a key's newest record: its partition, its time, and the uid; empty for a tombstone."""


def _note_key(uid: bytes, record: Record, keys: dict[int, _Key]) -> None:
    digest = hash(record.key)
    partition, timestamp_ms, _ = keys.get(digest, (record.partition, 0, b""))
    # Within a partition the order is that of the offsets, whatever a clock says.
    if partition == record.partition or record.timestamp_ms >= timestamp_ms:
        lives = record.value is not None
        keys[digest] = (record.partition, record.timestamp_ms, uid if lives else b"")


def _note(uid: bytes, record: Record, newest: dict[bytes, _Newest]) -> None:
    known = newest.get(uid)
    if known is not None and record.timestamp_ms < known.timestamp_ms:
        return
    tenant = tenant_of(record)
    if tenant is not None and tenant.tenant_uid.encode() == uid:
        newest[uid] = _Newest(record.timestamp_ms, tenant)


__all__ = ["RetainedTenant", "retained_tenants"]
