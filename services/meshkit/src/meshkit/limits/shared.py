"""Rate limits that hold for all replicas of a service together, without another database.

The owner of a bucket (`peers`) runs it as a process of its own would. The others borrow: a few
tokens for a tenth of a second, sized by what they used lately, so that most decisions are local
(`borrowing`). Whoever waits for tokens shares one request with all who wait for the same bucket,
and with all buckets of the same owner (`exchange`). An owner that does not answer is not waited for
a second time: the declared `fallback` decides until it is heard again.

What is promised: over any span of W seconds no more than `burst + W * rate` pass, and the tokens
that were in hand when it began, as long as all replicas see the same members.
"""

import asyncio
from collections.abc import Awaitable, Sequence

import structlog

from meshkit.clock import Clock, monotonic
from meshkit.limits.borrowing import LEASE_SECONDS, Borrowing
from meshkit.limits.exchange import Exchange
from meshkit.limits.fallback import Fallback
from meshkit.limits.gcra import BucketKey, Decision, RateLimiter
from meshkit.limits.lender import Lender
from meshkit.limits.peers import Peers
from meshkit.tenancy.identity import TenantContext
from meshkit.tenancy.policy import ResolvedRateLimit

log = structlog.get_logger()

_TIDY_SECONDS = LEASE_SECONDS / 2
_KNOWN_MOST = 4096
# Others may use up what was lent to all who waited, before the last of them gets to it.
_ROUNDS = 4


class SharedLimiter:
    """The limits of one replica among others. Not thread-safe: it lives in the event loop.

    Without an `exchange` the others cannot be asked, and every limit is decided by `fallback`.
    """

    def __init__(
        self,
        buckets: RateLimiter,
        peers: Peers,
        lender: Lender,
        fallback: Fallback,
        exchange: Exchange | None,
        clock: Clock = monotonic,
    ) -> None:
        self._buckets = buckets
        self._peers = peers
        self._lender = lender
        self._owned_in = lender.owned_in
        self._fallback = fallback
        self._exchange = exchange
        self._clock = clock
        self._borrowed: dict[BucketKey, Borrowing] = {}
        # Those that may have something in hand.
        self._asked: set[Borrowing] = set()
        self._known_most = _KNOWN_MOST

    def take(
        self,
        tenant: TenantContext,
        limit: ResolvedRateLimit,
        cost: int = 1,
        *,
        partial: bool = False,
    ) -> Decision | Awaitable[Decision]:
        """Take tokens as RateLimiter.take does; where the owner has to be asked, return what to
        await for the decision."""
        epoch = self._peers.epoch
        if not epoch:
            return self._buckets.take(tenant, limit, cost, partial=partial)
        key = (tenant.tenant_uid, limit.name)
        if self._owned_in.get(key) == epoch:
            return self._buckets.take(tenant, limit, cost, partial=partial)
        borrowing = self._borrowed.get(key)
        if borrowing is None or borrowing.limit is not limit or borrowing.epoch != epoch:
            found = self._place(tenant, limit, cost, partial, borrowing)
            if isinstance(found, Decision):
                return found
            borrowing = found
        decision = borrowing.decide(cost, partial, self._clock())
        if decision is None:
            if self._failing(borrowing):
                return self._alone(tenant, limit, cost, partial)
            return self._borrow(borrowing, tenant, cost, partial)
        if borrowing.hand <= borrowing.low and borrowing.answer is None and self._exchange:
            self._ask(self._exchange, borrowing)
        return decision

    def peek(self, tenant: TenantContext, limit: ResolvedRateLimit) -> Decision:
        """Return what this replica knows of a bucket, and take nothing; see `learn`."""
        found = self.take(tenant, limit, 0)
        assert isinstance(found, Decision), "nothing never has to be borrowed"  # noqa: S101
        return found

    async def learn(self, tenant: TenantContext, limits: Sequence[ResolvedRateLimit]) -> None:
        """Ask the owners how much is left of these limits, for `peek` to know."""
        asked = []
        for limit in limits:
            self.peek(tenant, limit)
            borrowing = self._borrowed.get((tenant.tenant_uid, limit.name))
            if borrowing is not None and self._exchange and not self._failing(borrowing):
                asked.append(self._ask(self._exchange, borrowing))
        if asked:
            await asyncio.wait(asked)

    def tidy(self) -> None:
        """Give back what was not used in time, forget what is at rest, end a fallback that is
        over."""
        if self._exchange is None:
            return
        now = self._clock()
        for borrowing in list(self._asked):
            waits = borrowing.expire(now)
            if borrowing.answer is not None:
                continue
            if waits and (self._failing(borrowing) or borrowing.epoch != self._peers.epoch):
                borrowing.forget()
            elif waits:
                self._exchange.ask(borrowing)
            if not borrowing.hand and borrowing.answer is None:
                self._asked.discard(borrowing)
        if len(self._borrowed) > self._known_most:
            self._borrowed = {
                key: borrowing
                for key, borrowing in self._borrowed.items()
                if borrowing in self._asked or borrowing.again_at > now
            }
            self._known_most = max(_KNOWN_MOST, 2 * len(self._borrowed))
        if not self._peers.away:
            self._fallback.over()

    async def keep_tidy(self) -> None:
        """Tidy up for ever."""
        while True:
            await asyncio.sleep(_TIDY_SECONDS)
            try:
                self.tidy()
            except Exception:
                # A loop that must survive: without it no token would go back.
                log.exception("limits_not_tidied")

    def __len__(self) -> int:
        """Return how many buckets of other replicas are in memory."""
        return len(self._borrowed)

    def _ask(self, exchange: Exchange, borrowing: Borrowing) -> asyncio.Future[None]:
        self._asked.add(borrowing)
        return exchange.ask(borrowing)

    def _place(
        self,
        tenant: TenantContext,
        limit: ResolvedRateLimit,
        cost: int,
        partial: bool,
        known: Borrowing | None,
    ) -> Decision | Borrowing:
        """Decide where this replica can, else return what is borrowed from the owner of now."""
        peers = self._peers
        if limit.unlimited or not limit.requests or not limit.burst:
            return self._buckets.take(tenant, limit, cost, partial=partial)
        if self._exchange is None or peers.isolated:
            return self._alone(tenant, limit, cost, partial)
        key = (tenant.tenant_uid, limit.name)
        if self._lender.owns(key, limit):
            self._borrowed.pop(key, None)
            return self._buckets.take(tenant, limit, cost, partial=partial)
        owner = peers.owner(key)
        if known is not None and known.owner == owner and known.limit == limit:
            known.epoch, known.limit = peers.epoch, limit
            return known
        if known is not None:
            known.retire()
        borrowing = self._borrowed[key] = Borrowing(key, limit, owner, peers.epoch)
        return borrowing

    def _failing(self, borrowing: Borrowing) -> bool:
        """Whether the owner cannot be asked just now."""
        away = not self._peers.answers(borrowing.owner)
        return away or self._clock() < borrowing.disowned_until

    def _alone(
        self, tenant: TenantContext, limit: ResolvedRateLimit, cost: int, partial: bool
    ) -> Decision:
        members = self._peers.count
        return self._fallback.take(tenant, limit, cost, partial=partial, members=members)

    async def _borrow(
        self, borrowing: Borrowing, tenant: TenantContext, cost: int, partial: bool
    ) -> Decision:
        assert self._exchange is not None, "who cannot ask borrows nothing"  # noqa: S101
        limit = borrowing.limit
        for _ in range(_ROUNDS):
            # An ask that is under way is not for us; the one after it will be.
            if not borrowing.sent:
                borrowing.wait(cost, partial)
            await asyncio.shield(self._ask(self._exchange, borrowing))
            if borrowing.epoch != self._peers.epoch:
                break
            decision = borrowing.decide(cost, partial, self._clock())
            if decision is not None:
                return decision
            if self._failing(borrowing):
                return self._alone(tenant, limit, cost, partial)
        else:
            return borrowing.settle(cost, partial, self._clock())
        decided = self.take(tenant, limit, cost, partial=partial)
        if isinstance(decided, Decision):
            return decided
        return await decided


__all__ = ["SharedLimiter"]
