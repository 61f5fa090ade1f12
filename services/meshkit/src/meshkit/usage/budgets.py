"""Budgets of a day: what passes is never more than the limit, over all replicas together.

A replica first reserves some of the budget by a record in the log, and then gives it out without
asking anybody. Each reads its own record back at its place in the common order, and may have as
much as all earlier records left: no lock, no leader, no second database. So

- over the limit passes nothing (it is read before it is given out);
- what a killed replica had reserved and not given out is lost for the day: at most a hundredth of
  the limit, at least one, or what its requests were just asking for;
- what a living replica does not need it gives back within a second or so; until then another may
  be refused though a little is left.

A limit that is lowered takes back what is reserved; one that is unlimited is not counted at all.
"""

import asyncio
from collections.abc import Container

from meshkit.clock import Clock, WallClock, monotonic, utc_now
from meshkit.errors import LogUnavailable
from meshkit.events.log import NewRecord
from meshkit.tenancy.identity import TenantContext
from meshkit.tenancy.policy import ResolvedQuota
from meshkit.usage.records import UsageKey, usage_record
from meshkit.usage.share import Share
from meshkit.usage.topic import UsageTopic
from meshkit.usage.windows import day_of, days_before


class Budgets:
    """The budgets of all tenants in one replica. Lives in the event loop.

    Tenants whose uid is `fenced` are on their way out: nothing is published of them any more.
    """

    def __init__(
        self,
        topic: UsageTopic,
        fenced: Container[str] = (),
        *,
        clock: Clock = monotonic,
        wall_clock: WallClock = utc_now,
    ) -> None:
        self._topic = topic
        self._counters = topic.counters
        self._fenced = fenced
        self._clock = clock
        self._wall_clock = wall_clock
        self._shares: dict[tuple[str, str], Share] = {}
        # Those that may have something to tell, or to give back.
        self._active: set[tuple[str, str]] = set()
        self._today = ""
        self._ahead: set[asyncio.Task[None]] = set()

    async def take(self, tenant: TenantContext, quota: ResolvedQuota, cost: int) -> int:
        """Take `cost` of a budget, or as much as there is; return how much.

        Waits for the log only where not enough is reserved here. Raises LogUnavailable.
        """
        if quota.unlimited:
            return cost
        if not self._topic.is_loaded:
            await self._topic.loaded()
        share = self._share(tenant, quota)
        if share.tokens < cost:
            await self._reserve_for(share, cost)
        taken = min(cost, share.tokens)
        share.use(taken, self._clock())
        if taken and share.is_low():
            self._reserve_ahead(share)
        return taken

    def count(self, tenant: TenantContext, quota: ResolvedQuota, cost: int) -> bool:
        """Count `cost` as used whatever the limit; return whether it was within the limit."""
        if quota.unlimited or not self._topic.is_loaded:
            return True
        share = self._share(tenant, quota)
        within = self._room(share) + share.tokens >= cost
        share.use(cost, self._clock())
        return within

    def refund(self, tenant: TenantContext, quota: ResolvedQuota, cost: int) -> None:
        """Give back what was taken and not used after all."""
        if quota.unlimited or not self._topic.is_loaded:
            return
        share = self._share(tenant, quota)
        back = min(cost, share.used)
        share.used -= back
        share.tokens += back
        share.trim(self._room(share))

    def used(self, tenant_uid: str, quota_name: str) -> int:
        """Return how much of a budget is used today, by all replicas, as far as known here."""
        day, replica = day_of(self._wall_clock()), self._topic.replica
        share = self._shares.get((tenant_uid, quota_name))
        own = share.used if share is not None and share.key.window == day else None
        return self._counters.used(tenant_uid, quota_name, day, replica, own)

    def changes(self) -> list[NewRecord]:
        """Return what others have to learn, and forget days gone by. What is not needed is given
        back with it. To be published in this order, at once."""
        today, now = day_of(self._wall_clock()), self._clock()
        records = []
        looked_at = self._shares if today != self._today else self._active
        for name in list(looked_at):
            share = self._shares.get(name)
            if share is None or share.key.tenant_uid in self._fenced:
                self._shares.pop(name, None)
                self._active.discard(name)
                continue
            ended = share.key.window != today
            if share.is_idle(now) or ended:
                share.tokens = 0
                self._active.discard(name)
            if ended:
                del self._shares[name]
            if share.published != share.value:
                share.published = share.value
                records.append(usage_record(share.key, share.value))
        return records + self._tombstones(today)

    def unpublished(self) -> None:
        """Say that what `changes` has returned could not be published."""
        self._today = ""
        for share in self._shares.values():
            share.published = None

    def give_back(self) -> None:
        """Let go of all that is reserved and unused: this replica is leaving."""
        for share in self._shares.values():
            share.tokens = 0

    def _share(self, tenant: TenantContext, quota: ResolvedQuota) -> Share:
        today = day_of(self._wall_clock())
        name = (tenant.tenant_uid, quota.name)
        self._active.add(name)
        share = self._shares.get(name)
        if share is None or share.key.window != today:
            key = UsageKey(tenant.tenant_uid, quota.name, today, self._topic.replica)
            # What an earlier process of this name had reserved may all have been given out.
            before = self._counters.spent(*key)
            used = 0 if before is None else before.reserved
            share = self._shares[name] = Share(key, quota.limit, used, before)
        elif share.limit != quota.limit:
            share.limit = quota.limit
            share.trim(self._room(share))
        return share

    def _room(self, share: Share) -> int:
        return share.room(self._counters.reserved_by_others(*share.key))

    async def _reserve_for(self, share: Share, cost: int) -> None:
        """Reserve until `cost` is there, or nothing is left. Requests that wait share one."""
        share.wanted += cost
        try:
            while share.tokens < cost and self._room(share) > 0:
                async with share.lock:
                    missing = share.wanted - share.tokens
                    if share.tokens < cost and not await self._reserve(share, missing):
                        return
        finally:
            share.wanted -= cost

    def _reserve_ahead(self, share: Share) -> None:
        """Reserve before it is needed, beside the requests that go on."""

        async def reserve() -> None:
            try:
                async with share.lock:
                    await self._reserve(share, 0)
            except LogUnavailable:
                # Whoever needs it will ask again, and be told.
                return
            finally:
                share.ahead = False

        share.ahead = True
        task = asyncio.create_task(reserve(), name="reserve")
        self._ahead.add(task)
        task.add_done_callback(self._ahead.discard)

    async def _reserve(self, share: Share, missing: int) -> int:
        """Reserve what is missing, or some ahead; return how much that was."""
        writers = self._counters.writers(*share.key[:3])
        share.asking = share.to_ask(missing, self._room(share), writers, self._clock())
        if not share.asking:
            return 0
        granted = 0

        def here() -> None:
            nonlocal granted
            granted = max(0, min(share.asking, self._room(share)))
            share.asking = 0
            share.tokens += granted

        def record(ask: str) -> NewRecord:
            share.published = share.value
            return usage_record(share.key, share.value, ask)

        try:
            await self._topic.publish_and_read(record, here)
        finally:
            share.asking = 0
            self._active.add((share.key.tenant_uid, share.key.quota))
        return granted

    def _tombstones(self, today: str) -> list[NewRecord]:
        """Return the ends of windows gone by: own ones after a day, and those that a replica which
        is gone has left after two. A clock that is set back by less finds its window still."""
        if not self._topic.is_loaded or today == self._today:
            return []
        self._today = today
        yesterday, before = days_before(today, 1), days_before(today, 2)
        return [
            usage_record(key, None)
            for key in self._counters.budget_keys_before(yesterday)
            if key.writer == self._topic.replica or key.window < before
        ]


__all__ = ["Budgets"]
