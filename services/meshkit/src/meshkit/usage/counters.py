"""What all replicas have published about usage, as of one place in the log. Pure.

Memory follows what is in the topic: a key of a budget lives three days, a stock has one for each
tenant and one for each replica with users on their way.
"""

from collections.abc import Iterator, Mapping
from types import MappingProxyType

import msgspec
import structlog

from meshkit.usage.records import (
    INDEX,
    NOW,
    Claimed,
    Spent,
    Stored,
    UsageKey,
    Value,
    read_key,
    read_value,
    settled,
)
from meshkit.usage.windows import STORED_USERS

log = structlog.get_logger()

_Line = tuple[str, str, str]
_NOBODY: Mapping[str, Value] = MappingProxyType({})


class Counters:
    """The newest number under each key. `apply` is called for each record, in the log's order."""

    def __init__(self) -> None:
        self._lines: dict[_Line, dict[str, Value]] = {}
        self._reserved: dict[_Line, int] = {}
        self._by_uid: dict[str, set[_Line]] = {}

    def apply(self, raw_key: bytes, raw_value: bytes | None) -> None:
        """Take in a record; one that is none of ours is passed over."""
        key = read_key(raw_key)
        if key is None:
            return
        try:
            value = None if raw_value is None else read_value(key, raw_value)
        except msgspec.MsgspecError as error:
            log.warning("usage_record_unreadable", quota=key.quota, reason=str(error))
            return
        line = key[:3]
        before = self._lines.get(line, _NOBODY).get(key.writer)
        if value is None:
            self._remove(line, key.writer)
        else:
            self._lines.setdefault(line, {})[key.writer] = value
            self._by_uid.setdefault(key.tenant_uid, set()).add(line)
        moved = _reserved(value) - _reserved(before)
        if moved and line in self._lines:
            self._reserved[line] = self._reserved.get(line, 0) + moved

    def spent(self, tenant_uid: str, quota: str, day: str, replica: str) -> Spent | None:
        """Return what one replica has published of a budget."""
        value = self._lines.get((tenant_uid, quota, day), _NOBODY).get(replica)
        return value if isinstance(value, Spent) else None

    def reserved_by_others(self, tenant_uid: str, quota: str, day: str, replica: str) -> int:
        """Return how much of a budget all but one replica have reserved."""
        own = self.spent(tenant_uid, quota, day, replica)
        return self._reserved.get((tenant_uid, quota, day), 0) - _reserved(own)

    def used(self, tenant_uid: str, quota: str, day: str, replica: str, own: int | None) -> int:
        """Return how much of a budget all replicas say to have used; `own` is what one of them
        knows of itself and has not published yet."""
        line = self._lines.get((tenant_uid, quota, day))
        if line is None:
            return own or 0
        total = own or 0
        for writer, value in line.items():
            if isinstance(value, Spent) and (own is None or writer != replica):
                total += value.used
        return total

    def writers(self, tenant_uid: str, quota: str, day: str) -> int:
        """Return how many replicas have a part of a budget."""
        return len(self._lines.get((tenant_uid, quota, day), _NOBODY))

    def stored(self, tenant_uid: str) -> Stored | None:
        """Return what the store held of a tenant when it was last counted; None: never counted."""
        value = self._lines.get((tenant_uid, STORED_USERS, INDEX), _NOBODY).get("index")
        return value if isinstance(value, Stored) else None

    def claims(self, tenant_uid: str) -> Iterator[tuple[str, Claimed]]:
        """Yield by replica what was let in and is not known to be counted yet."""
        line = self._lines.get((tenant_uid, STORED_USERS, NOW))
        if line:
            stored = self.stored(tenant_uid)
            for replica, claimed in line.items():
                if isinstance(claimed, Claimed) and not settled(claimed.through, stored):
                    yield replica, claimed

    def tenants(self) -> frozenset[str]:
        """Return the uids of all tenants that have a number here."""
        return frozenset(self._by_uid)

    def keys_of(self, tenant_uid: str) -> list[UsageKey]:
        """Return every key of one tenant."""
        lines = self._by_uid.get(tenant_uid, ())
        return [UsageKey(*line, writer) for line in lines for writer in self._lines[line]]

    def budget_keys_before(self, day: str) -> list[UsageKey]:
        """Return the keys of budgets of windows before `day`."""
        old = [line for line in self._lines if line[1] != STORED_USERS and line[2] < day]
        return [UsageKey(*line, writer) for line in old for writer in self._lines[line]]

    def _remove(self, line: _Line, writer: str) -> None:
        writers = self._lines.get(line)
        if writers is None or writers.pop(writer, None) is None or writers:
            return
        del self._lines[line]
        self._reserved.pop(line, None)
        lines = self._by_uid[line[0]]
        lines.discard(line)
        if not lines:
            del self._by_uid[line[0]]


def _reserved(value: Value | None) -> int:
    return value.reserved if isinstance(value, Spent) else 0


__all__ = ["Counters"]
