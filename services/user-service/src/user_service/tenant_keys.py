"""Finds the keys under which a partition of the log has records of a tenant.

A record is the tenant's if its key begins with `<tenantUid>/`, or if it names the tenant as the
index takes it: by its uid, or by its id where it names no uid. For a key that is not only the
tenant's it also says whether a tombstone under it would end what is somebody else's.

A record of another tenant in the form in which user-service writes it is told by its headers;
only others are decoded. Keeps the tenant's keys in memory, nobody else's.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

from meshkit.events.envelope import BadEvent, own_uid, record_key
from meshkit.events.log import Record
from meshkit.events.reading import from_record, named_tenant
from meshkit.events.scanning import UserKeyScan, key_uid
from meshkit.tenancy.identity import TenantContext

_NO_ID = "-"


class NamedUser(NamedTuple):
    """A user as records name it: what is to be deleted so that the index forgets it.

    A record that names its tenant by the id alone is indexed for whichever tenant has that id when
    it is read. So its deletion has to name the tenant in the same way.
    """

    user_id: str
    by_uid: bool


@dataclass(frozen=True, slots=True)
class FoundKeys:
    """Keys of a tenant in one partition."""

    lives: dict[bytes, bool] = field(default_factory=dict)
    """Keys with records that user-service wrote for the tenant, and nothing else: whether the
    newest has a value."""
    unclear: set[bytes] = field(default_factory=set)
    """Keys with other records of the tenant, or with those of other tenants, too."""


async def find_keys(tenant: TenantContext, scan: UserKeyScan, partition: int) -> FoundKeys:
    """Return the keys of a tenant in a partition. Raises LogUnavailable."""
    uid, prefix = tenant.tenant_uid.encode(), record_key(tenant, "")
    lives: dict[bytes, bool] = {}
    unclear: set[bytes] = set()
    async for records in scan.chunks(partition):
        for record in records:
            if record.key.startswith(prefix):
                lives[record.key] = record.value is not None
                if record.value is not None and own_uid(record) != uid:
                    unclear.add(record.key)
            elif record.value is not None and _is_of(record, tenant, uid):
                unclear.add(record.key)
    for key in unclear:
        lives.pop(key, None)
    return FoundKeys(lives, unclear)


class KeyState:
    """What all records under one key in one partition amount to, taken in their order."""

    def __init__(self, tenant: TenantContext, key: bytes) -> None:
        self._tenant = tenant
        self._uid = tenant.tenant_uid.encode()
        self._key = key
        self._is_own = key_uid(key) == self._uid
        self.alive: set[NamedUser] = set()
        """The tenant's users that records say something of, and no deletion after them."""
        self.has_others = False
        """Whether a tombstone would end a record of somebody else."""
        self.offset = -1
        """The offset of the newest record of the tenant."""

    def take(self, record: Record) -> None:
        """Take in the next record."""
        is_mine = self._is_own or _is_of(record, self._tenant, self._uid)
        if record.value is None:
            # Whatever it names, compaction ends with it what came before.
            self.has_others = False
            if is_mine and (deleted := self._named(record)) is not None:
                self.alive.discard(deleted)
        elif is_mine:
            # Also what is no event is the tenant's data; nothing but a deletion ends it.
            by_key = NamedUser(user_of_key(self._tenant, self._key), by_uid=True)
            self.alive.add(self._named(record) or by_key)
            self.offset = record.offset
        else:
            self.has_others = True

    def _named(self, record: Record) -> NamedUser | None:
        """Return the user that a record of this tenant names, None where it cannot be read."""
        tenant = self._tenant
        try:
            event = from_record(record, lambda _: tenant, lambda _: tenant)
        except BadEvent:
            return None
        named = named_tenant(record)
        return NamedUser(event.user_id, by_uid=named is None or bool(named[1]))


def user_of_key(tenant: TenantContext, key: bytes) -> str:
    """Return the user in a key: all of it, where it is none of the tenant's."""
    return key.removeprefix(record_key(tenant, "")).decode(errors="replace") or _NO_ID


def _is_of(record: Record, tenant: TenantContext, uid: bytes) -> bool:
    """Return whether the index would take a record for the tenant's."""
    own = own_uid(record)
    if own is not None:
        return own == uid
    named = named_tenant(record)
    return named is not None and _is_name_of(named, tenant)


def _is_name_of(named: tuple[str, str], tenant: TenantContext) -> bool:
    tenant_id, tenant_uid = named
    return tenant_uid == tenant.tenant_uid if tenant_uid else tenant_id == tenant.tenant_id
