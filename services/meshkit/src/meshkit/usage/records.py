"""The records of `mesh.usage`: who has used how much of what, each key one cumulative number.

    <tenantUid>/<quota>/<day>/<replica>      Spent     a replica's part of a day's budget
    <tenantUid>/storedUsers/now/<replica>    Claimed   what a replica has let in, not yet indexed
    <tenantUid>/storedUsers/stored/index     Stored    what the store holds, by its own count

Cumulative, so that a record that is lost, doubled or overwritten by a newer one changes nothing,
and compaction keeps what is needed. A tombstone ends a key. The header `ask` names a record that
its writer waits to read back: the topic has one partition, so everybody reads the same order.
"""

from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from meshkit.events.log import NewRecord
from meshkit.usage.windows import BUDGETS, STORED_USERS

ASK = "ask"
NOW = "now"
INDEX = "stored"


class UsageKey(NamedTuple):
    """Whose number it is. `writer` is a replica, or what counts the store."""

    tenant_uid: str
    quota: str
    window: str
    writer: str

    def encode(self) -> bytes:
        """Return the key as the log has it."""
        return "/".join(self).encode()


def stored_key(tenant_uid: str) -> UsageKey:
    """Return the key under which what the store holds of a tenant stands."""
    return UsageKey(tenant_uid, STORED_USERS, INDEX, "index")


class Spent(msgspec.Struct, frozen=True):
    """Of a budget: `reserved` may not be given to others, `used` of that is used."""

    reserved: int
    used: int


class Claimed(msgspec.Struct, frozen=True):
    """Of a stock: so many were let in that the index has not been seen to hold; each is at or
    before the offset of its partition in `through`."""

    pending: int
    through: dict[int, int]


class Stored(msgspec.Struct, frozen=True):
    """Of a stock: so many are stored, counted when everything of the tenant up to and with the
    offset of each partition in `through` had been applied. `log` is whose offsets these are."""

    users: int
    through: dict[int, int]
    log: str = ""


Value = Spent | Claimed | Stored

_encode = msgspec.json.Encoder().encode
_spent = msgspec.json.Decoder(Spent)
_claimed = msgspec.json.Decoder(Claimed)
_stored = msgspec.json.Decoder(Stored)


def usage_record(key: UsageKey, value: Value | None, ask: str = "") -> NewRecord:
    """Return a record; without a value it is the key's tombstone."""
    headers = ((ASK, ask.encode()),) if ask else ()
    return NewRecord(key.encode(), None if value is None else _encode(value), headers)


def read_key(key: bytes) -> UsageKey | None:
    """Return a key, None for one that is not ours."""
    parts = key.decode(errors="replace").split("/", 3)
    return UsageKey(*parts) if len(parts) == 4 and parts[0] else None


def read_value(key: UsageKey, value: bytes) -> Value:
    """Return the number under a key. Raises msgspec.MsgspecError where it is none."""
    if key.quota in BUDGETS:
        return _spent.decode(value)
    return _stored.decode(value) if key.window == INDEX else _claimed.decode(value)


def settled(through: Mapping[int, int], stored: Stored | None) -> bool:
    """Return whether a count of the store includes everything up to these offsets."""
    if stored is None:
        return not through
    return all(stored.through.get(number, -1) >= offset for number, offset in through.items())


def later(some: Mapping[int, int], others: Mapping[int, int]) -> dict[int, int]:
    """Return for each partition the later of two offsets."""
    return {n: max(some.get(n, -1), others.get(n, -1)) for n in {*some, *others}}


__all__ = [
    "ASK",
    "INDEX",
    "NOW",
    "Claimed",
    "Spent",
    "Stored",
    "UsageKey",
    "Value",
    "later",
    "read_key",
    "read_value",
    "settled",
    "stored_key",
    "usage_record",
]
