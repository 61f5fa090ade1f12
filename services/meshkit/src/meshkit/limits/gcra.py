"""Rate limits: the generic cell rate algorithm (ITU-T I.371, ATM Forum TM 4.0) per tenant.

A bucket is one number, the theoretical arrival time (TAT) of the next conforming request: a full
bucket has it in the past. Over any span of W seconds at most `burst + W * requests / window`
pass. A refused request costs nothing. Buckets belong to (tenant uid, limit) in this process;
a bucket at rest is the same as none and is dropped, so memory follows the tenants that call.

The clock is monotonic and passed in. A changed limit takes effect with the next request; what was
used under the old one stays used, measured in time.
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


class RateLimiter:
    """Buckets of all tenants in this process. Not thread-safe: it lives in the event loop."""

    def __init__(self, clock: Clock = monotonic) -> None:
        self._clock = clock
        self._tat: dict[BucketKey, float] = {}
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
        if limit.unlimited:
            return Decision(limit, cost, burst, 0.0, 0.0)
        if requests == 0 or burst == 0:
            return Decision(limit, 0, 0, 0.0, None)
        now = self._clock()
        key = (tenant.tenant_uid, limit.name)
        interval = limit.window_seconds / requests
        debt = self._tat.get(key, now) - now
        if debt < 0.0:
            debt = 0.0
        available = int(burst - debt / interval + _EPSILON)
        if available < 0:
            # The limit was lowered while more than it allows had been used.
            available = 0
        admitted = cost if cost <= available else available if partial else 0
        if admitted:
            debt += admitted * interval
            self._tat[key] = now + debt
            self._until_sweep -= 1
            if self._until_sweep <= 0:
                self._sweep(now)
        retry_after: float | None = 0.0
        if admitted < cost:
            # What is still to pass: all of it, or at least the next one where parts may.
            wanted = 1 if partial else cost
            over = debt - (burst - wanted) * interval
            retry_after = max(over, 0.0) if wanted <= burst else None
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
        and the debt of the bucket after that, in seconds."""
        now = self._clock()
        interval = limit.window_seconds / limit.requests
        debt = max(self._tat.get(key, now) - now, 0.0)
        available = max(int(limit.burst - debt / interval + _EPSILON), 0)
        taken = min(need, available) if available >= least else 0
        taken += min(more, int((available - taken) * share))
        if taken:
            debt += taken * interval
            self._tat[key] = now + debt
            self._until_sweep -= 1
            if self._until_sweep <= 0:
                self._sweep(now)
        return taken, debt

    def refund(self, key: BucketKey, limit: ResolvedRateLimit, tokens: int) -> None:
        """Put tokens back that were taken and have not been used."""
        tat = self._tat.get(key)
        if tat is not None:
            self._tat[key] = tat - tokens * limit.window_seconds / limit.requests

    def drain(self, key: BucketKey, limit: ResolvedRateLimit, since: float) -> None:
        """Have a bucket be as if all of it had been used at `since`, a time of the clock."""
        full_again = since + limit.burst * limit.window_seconds / limit.requests
        if full_again > self._tat.get(key, self._clock()):
            self._tat[key] = full_again

    def __len__(self) -> int:
        """Return how many buckets are in memory."""
        return len(self._tat)

    def _sweep(self, now: float) -> None:
        """Drop the buckets at rest."""
        self._tat = {key: tat for key, tat in self._tat.items() if tat > now}
        # Spreads the cost of the sweep: a constant per request, however many tenants call.
        self._until_sweep = max(_SWEEP_EVERY, 4 * len(self._tat))


__all__ = ["BucketKey", "Decision", "RateLimiter"]
