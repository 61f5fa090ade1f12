"""Rate limits: the generic cell rate algorithm (ITU-T I.371, ATM Forum TM 4.0) per tenant.

A bucket is one number, the theoretical arrival time (TAT) of the next conforming request: a full
bucket has it in the past. Over any span of W seconds at most `burst + W * requests / window`
pass. A refused request costs nothing. Buckets belong to (tenant uid, limit) in this process;
a bucket at rest is the same as none and is dropped, so memory follows the tenants that call.

The clock is monotonic and passed in. A changed limit takes effect with the next request. What was
used under the old one stays used, in tokens: the debt waits at the new rate, and is never larger
than the new burst. So a raised limit never makes anybody wait longer. What the cap cut off is
remembered (`excess`), for otherwise two replicas that know different limits for a while would give
the difference of the bursts away each time they take turns.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from meshkit.clock import Clock, monotonic
from meshkit.tenancy.identity import TenantContext
from meshkit.tenancy.policy import ResolvedRateLimit

# Absorbs the rounding of float sums; far below the interval of any limit a person would write.
_EPSILON = 1e-9
_SWEEP_EVERY = 4096

BucketKey = tuple[str, str]
"""A tenant's uid, and the name of a limit."""


@dataclass(slots=True)
class Decision:
    """The outcome for one request.

    `admitted` of the tokens asked for passed (all or none, unless asked with `partial`).
    `remaining` tokens could pass right now, `reset_after` seconds until the bucket is full,
    `retry_after` seconds until what was refused can pass: 0.0 if nothing was refused, and None if
    waiting will never help.
    """

    limit: ResolvedRateLimit
    admitted: int
    remaining: int
    reset_after: float
    retry_after: float | None


class _Bucket:
    """What is used of one limit. `excess` seconds of debt are not counted, because a lower burst
    cut them off; they are paid back after the debt, and count again where the burst is raised."""

    __slots__ = ("excess", "interval", "limit", "tat")

    def __init__(self, limit: ResolvedRateLimit, tat: float) -> None:
        self.limit = limit
        self.interval = limit.window_seconds / limit.requests
        self.tat = tat
        self.excess = 0.0

    def has(self, limit: ResolvedRateLimit) -> bool:
        """Whether the bucket is one of this limit, by its numbers."""
        own = self.limit
        return (
            own.requests == limit.requests
            and own.burst == limit.burst
            and own.window_seconds == limit.window_seconds
        )

    def change(self, limit: ResolvedRateLimit, now: float) -> None:
        """Have the bucket be one of this limit: what is used stays used, in tokens."""
        if not self.has(limit):
            behind = self.tat - now
            debt = max(behind, 0.0) / self.interval
            known = debt + max(self.excess + min(behind, 0.0), 0.0) / self.interval
            free = self.limit.burst - debt
            # Excess comes back only as far as no token is lost that could have passed.
            counted = max(min(debt, limit.burst), min(known, limit.burst - free))
            self.interval = limit.window_seconds / limit.requests
            self.tat = now + counted * self.interval
            self.excess = (known - counted) * self.interval
        self.limit = limit

    def debt(self, now: float) -> float:
        """Return how many seconds it takes until the bucket is full."""
        debt = self.tat - now
        if debt < 0.0:
            # Nothing was used for so long, so that much of the excess is paid back.
            self.excess = max(self.excess + debt, 0.0)
            self.tat = now
            return 0.0
        return debt

    def give(self, tokens: int) -> None:
        """Put tokens back: into the excess first, which was used before them."""
        seconds = tokens * self.interval
        from_excess = min(seconds, self.excess)
        self.excess -= from_excess
        self.tat -= seconds - from_excess


class RateLimiter:
    """Buckets of all tenants in this process. Not thread-safe: it lives in the event loop."""

    def __init__(self, clock: Clock = monotonic) -> None:
        self._clock = clock
        self._buckets: dict[BucketKey, _Bucket] = {}
        self._until_sweep = _SWEEP_EVERY

    def take(
        self,
        tenant: TenantContext,
        limit: ResolvedRateLimit,
        cost: int = 1,
        *,
        partial: bool = False,
    ) -> Decision:
        """Take `cost` tokens from the tenant's bucket for `limit`, or as many as there are where
        `partial`. A cost over the burst can never pass whole: `retry_after` is None then."""
        requests, burst = limit.requests, limit.burst
        if limit.unlimited or requests == 0 or burst == 0:
            return _without_bucket(limit, cost)
        now = self._clock()
        key = (tenant.tenant_uid, limit.name)
        bucket = self._buckets.get(key)
        if bucket is None:
            interval = limit.window_seconds / requests
            debt = 0.0
        else:
            if bucket.limit is not limit:
                bucket.change(limit, now)
            interval = bucket.interval
            debt = bucket.tat - now
            if debt < 0.0:
                debt = bucket.debt(now) if bucket.excess else 0.0
        available = int(burst - debt / interval + _EPSILON)
        if available < 0:
            # Only where the clock went back.
            available = 0
        admitted = cost if cost <= available else available if partial else 0
        if admitted:
            debt += admitted * interval
            if bucket is None:
                self._buckets[key] = _Bucket(limit, now + debt)
            else:
                bucket.tat = now + debt
            self._until_sweep -= 1
            if self._until_sweep <= 0:
                self._sweep(now)
        retry_after: float | None = 0.0
        if admitted < cost:
            # What is still to pass: all of it, or at least the next one where parts may.
            wanted = 1 if partial else cost
            retry_after = max(debt - (burst - wanted) * interval, 0.0) if wanted <= burst else None
        return Decision(limit, admitted, available - admitted, debt, retry_after)

    def peek(self, tenant: TenantContext, limit: ResolvedRateLimit) -> Decision:
        """Return what `take` would find, and take nothing."""
        return self.take(tenant, limit, 0)

    async def learn(self, tenant: TenantContext, limits: Sequence[ResolvedRateLimit]) -> None:
        """Do nothing: all there is to know of these buckets is here."""

    def lend(
        self,
        key: BucketKey,
        limit: ResolvedRateLimit,
        need: int,
        least: int,
        share: float,
        more: int,
    ) -> tuple[int, float]:
        """Take up to `need` tokens for another replica, none where there are fewer than `least`,
        and of what is left then up to `more`, but at most this `share`. Return how many were taken,
        and the debt of the bucket after that, in seconds of `limit`.

        Asking for nothing changes nothing: it may come from a replica that gives tokens of an
        earlier limit back."""
        now = self._clock()
        bucket = self._buckets.get(key)
        interval = limit.window_seconds / limit.requests
        if bucket is None:
            debt = 0.0
        else:
            asked = need > 0 or more > 0
            if asked and not bucket.has(limit):
                bucket.change(limit, now)
            debt = min(bucket.debt(now) / bucket.interval, limit.burst) * interval
        available = max(int(limit.burst - debt / interval + _EPSILON), 0)
        taken = min(need, available) if available >= least else 0
        taken += min(more, int((available - taken) * share))
        if taken:
            debt += taken * interval
            if bucket is None:
                self._buckets[key] = _Bucket(limit, now + debt)
            else:
                bucket.tat = now + debt
            self._until_sweep -= 1
            if self._until_sweep <= 0:
                self._sweep(now)
        return taken, debt

    def refund(self, key: BucketKey, tokens: int) -> None:
        """Put tokens back that were taken and have not been used."""
        bucket = self._buckets.get(key)
        if bucket is not None:
            bucket.give(tokens)

    def drain(self, key: BucketKey, limit: ResolvedRateLimit, since: float) -> None:
        """Have a bucket be as if all of it had been used at `since`, a time of the clock."""
        now = self._clock()
        bucket = self._buckets.get(key)
        full_again = since + limit.burst * limit.window_seconds / limit.requests
        if bucket is not None:
            bucket.change(limit, now)
            bucket.tat = max(bucket.tat, full_again)
        elif full_again > now:
            self._buckets[key] = _Bucket(limit, full_again)

    def __len__(self) -> int:
        """Return how many buckets are in memory."""
        return len(self._buckets)

    def _sweep(self, now: float) -> None:
        """Drop the buckets at rest."""
        self._buckets = {
            key: bucket for key, bucket in self._buckets.items() if bucket.tat + bucket.excess > now
        }
        # Spreads the cost of the sweep: a constant per request, however many tenants call.
        self._until_sweep = max(_SWEEP_EVERY, 4 * len(self._buckets))


def _without_bucket(limit: ResolvedRateLimit, cost: int) -> Decision:
    """Decide where all passes, or nothing ever does."""
    if limit.unlimited:
        return Decision(limit, cost, limit.burst, 0.0, 0.0)
    return Decision(limit, 0, 0, 0.0, None)


__all__ = ["BucketKey", "Decision", "RateLimiter"]
