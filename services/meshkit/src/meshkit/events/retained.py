"""Which tenants have users in the log though nobody has their uid any more.

Their Tenants were deleted and their data was to stay. A key `<tenantUid>/<userId>` lives where its
newest record has a value, as for whoever erases it. A uid counts as a tenant's only where an event
under it names the very uid as its own: bare events that others have put under keys of theirs, with
or without a `/`, make no tenant.

What is remembered of a key is a digest of eight bytes, and of one partition at a time; of a tenant
that is there still nothing is. Names and uids come out, nothing that is about a person.
"""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime

from meshkit.events.log import EventLog, Record
from meshkit.events.reading import tenant_of
from meshkit.events.scanning import OnScanned, UserKeyScan, scanning
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
    users: Counter[bytes] = Counter()
    newest: dict[bytes, _Newest] = {}
    async with scanning(log, on_scanned) as scan:
        for partition in scan.partitions:
            users.update(await _living(scan, partition, passed_over, newest))
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


async def _living(
    scan: UserKeyScan, partition: int, passed_over: Collection[bytes], newest: dict[bytes, _Newest]
) -> Counter[bytes]:
    """Return how many keys of each uid live in a partition; note the newest event of each."""
    # By the key's own hash, a SipHash of 64 bits: of ten million keys no two are likely to share
    # one (3e-6). The keys themselves would take several times the memory.
    living: dict[int, bytes] = {}
    one_of_each: dict[bytes, bytes] = {}
    async for uid, record in scan.records(partition):
        if uid in passed_over:
            continue
        if record.value is None:
            living.pop(hash(record.key), None)
        else:
            living[hash(record.key)] = one_of_each.setdefault(uid, uid)
        _note(uid, record, newest)
    return Counter(living.values())


def _note(uid: bytes, record: Record, newest: dict[bytes, _Newest]) -> None:
    known = newest.get(uid)
    if known is not None and record.timestamp_ms < known.timestamp_ms:
        return
    tenant = tenant_of(record)
    if tenant is not None and tenant.tenant_uid.encode() == uid:
        newest[uid] = _Newest(record.timestamp_ms, tenant)


__all__ = ["RetainedTenant", "retained_tenants"]
