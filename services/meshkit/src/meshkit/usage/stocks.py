"""Stocks: how many users a tenant may have stored.

The truth is the vector store's own count, published by whoever indexes, together with how far it
had come. Between that count and now lies what was let in and is not indexed yet: each replica
remembers its own, by place in the log, and tells the others. So

    stored + claimed by all replicas + one more <= limit

An update or a doubled create is claimed like a new user, and costs nothing once it is indexed; a
deletion makes room once it is indexed. Replicas learn of each other's claims a quarter of a second
later: over the limit may go what the others let in meanwhile.
"""

from collections import deque
from collections.abc import Container, Sequence
from dataclasses import dataclass, field

from meshkit.events.log import NewRecord, Position
from meshkit.tenancy.identity import TenantContext
from meshkit.tenancy.policy import ResolvedQuota
from meshkit.usage.records import (
    NOW,
    Claimed,
    Stored,
    UsageKey,
    later,
    settled,
    usage_record,
)
from meshkit.usage.topic import UsageTopic
from meshkit.usage.windows import STORED_USERS

# Places remembered for each partition; what is above is remembered less exactly.
_PLACES_MOST = 64
# Others need not know of claims while so much of the limit is free.
_TOLD_FROM = 0.5


@dataclass(slots=True)
class _Claim:
    """What this replica let in: `held` is being published; `places` are offset and count."""

    limit: int = 0
    held: int = 0
    places: dict[int, deque[tuple[int, int]]] = field(default_factory=dict)
    pending: int = 0
    published: Claimed | None = None
    inherited: Claimed | None = None
    """What an earlier process of this name has left to be counted."""

    @property
    def total(self) -> int:
        """How many are not known to be stored."""
        return self.pending + self.held + (self.inherited.pending if self.inherited else 0)

    def settle(self, stored: Stored | None) -> None:
        """Forget what the store's count includes by now."""
        if self.inherited is not None and settled(self.inherited.through, stored):
            self.inherited = None
        if stored is None or not self.pending:
            return
        for partition, places in self.places.items():
            through = stored.through.get(partition, -1)
            while places and places[0][0] <= through:
                self.pending -= places.popleft()[1]

    def add(self, position: Position) -> None:
        places = self.places.setdefault(position.partition, deque())
        count = 1
        if len(places) >= _PLACES_MOST:
            count += places.pop()[1]
        places.append((position.offset, count))
        self.pending += 1

    @property
    def value(self) -> Claimed | None:
        """What others have to know of it, None where there is nothing. What is only held has no
        place yet by which it could be seen to be counted."""
        through = {partition: places[-1][0] for partition, places in self.places.items() if places}
        if self.inherited is None:
            return Claimed(self.pending, through) if self.pending else None
        pending = self.pending + self.inherited.pending
        return Claimed(pending, later(through, self.inherited.through))


class Stocks:
    """The stocks of all tenants in one replica. Lives in the event loop."""

    def __init__(self, topic: UsageTopic, fenced: Container[str] = ()) -> None:
        self._topic = topic
        self._counters = topic.counters
        self._fenced = fenced
        self._claims: dict[str, _Claim] = {}

    async def hold(
        self, tenant: TenantContext, quota: ResolvedQuota, count: int, *, slack: int = 0
    ) -> int:
        """Let in as many of `count` as there is room for, and `slack` more; return how many.

        They are held until `published` or `release`. Raises LogUnavailable.
        """
        if quota.unlimited:
            return count
        if not self._topic.is_loaded:
            await self._topic.loaded()
        held = max(0, min(count, self.room(tenant, quota) + slack))
        self._claim(tenant.tenant_uid, quota.limit).held += held
        return held

    def room(self, tenant: TenantContext, quota: ResolvedQuota) -> int:
        """Return how many more there is room for; below 0 where there are too many."""
        uid = tenant.tenant_uid
        claim = self._claims.get(uid)
        mine = None if claim is None else self._topic.replica
        total = self.stored(uid) + sum(
            claimed.pending for who, claimed in self._counters.claims(uid) if who != mine
        )
        if claim is not None:
            claim.settle(self._counters.stored(uid))
            total += claim.total
        return quota.limit - total

    def hold_anyway(self, tenant: TenantContext, quota: ResolvedQuota, count: int) -> bool:
        """Let in `count` whatever the limit; return whether it was within the limit."""
        if quota.unlimited or not self._topic.is_loaded:
            return True
        within = self.room(tenant, quota) >= count
        self._claim(tenant.tenant_uid, quota.limit).held += count
        return within

    def release(self, tenant: TenantContext, count: int) -> None:
        """Let go of what was held and not published after all."""
        if (claim := self._claims.get(tenant.tenant_uid)) is not None:
            claim.held = max(0, claim.held - count)

    def published(self, tenant: TenantContext, positions: Sequence[Position]) -> None:
        """Say where in the log what was held stands: it counts until the store's count has it."""
        if (claim := self._claims.get(tenant.tenant_uid)) is not None:
            claim.held = max(0, claim.held - len(positions))
            for position in positions:
                claim.add(position)

    def stored(self, tenant_uid: str) -> int:
        """Return how many users of a tenant are stored, as last counted."""
        stored = self._counters.stored(tenant_uid)
        return 0 if stored is None else stored.users

    def changes(self) -> list[NewRecord]:
        """Return what others have to learn. To be published in this order, at once."""
        records = []
        for uid, claim in list(self._claims.items()):
            if uid in self._fenced:
                del self._claims[uid]
                continue
            claim.settle(self._counters.stored(uid))
            value = claim.value
            if not claim.total:
                del self._claims[uid]
            if value is not None and claim.published is None and not self._is_told(uid, claim):
                continue
            if value != claim.published:
                claim.published = value
                key = UsageKey(uid, STORED_USERS, NOW, self._topic.replica)
                records.append(usage_record(key, value))
        return records

    def unpublished(self) -> None:
        """Say that what `changes` has returned could not be published: it is told again."""
        for claim in self._claims.values():
            claim.published = Claimed(-1, {})

    def _is_told(self, uid: str, claim: _Claim) -> bool:
        return self.stored(uid) + claim.total >= _TOLD_FROM * claim.limit

    def _claim(self, uid: str, limit: int) -> _Claim:
        claim = self._claims.get(uid)
        if claim is None:
            own = (c for who, c in self._counters.claims(uid) if who == self._topic.replica)
            claim = self._claims[uid] = _Claim(inherited=next(own, None))
        claim.limit = limit
        return claim


__all__ = ["Stocks"]
