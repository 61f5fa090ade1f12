"""What a replica does with a limit while the owner of its bucket cannot be reached: declared, never
guessed, and told in a metric and in the RateLimit header of every answer."""

from dataclasses import dataclass
from typing import Literal

from meshkit.clock import Clock, monotonic
from meshkit.limits.gcra import BucketKey, Decision, RateLimiter
from meshkit.telemetry import metrics
from meshkit.tenancy.identity import TenantContext
from meshkit.tenancy.policy import ResolvedRateLimit

FallbackMode = Literal["divide", "open", "closed"]
_CLOSED_RETRY_SECONDS = 1.0
_SHARES_MOST = 1024


@dataclass(slots=True)
class FallbackDecision(Decision):
    """A decision without the owner of the bucket, and by which rule."""

    fallback: FallbackMode = "divide"


class Fallback:
    """Decides without the owner. `divide`: this replica's share, limit / members; `open`: all
    passes; `closed`: nothing does."""

    def __init__(
        self, mode: FallbackMode, clock: Clock = monotonic, *, begins_full: bool = False
    ) -> None:
        self._mode = mode
        self._begins_full = begins_full
        self._clock = clock
        self._buckets = RateLimiter(clock)
        self._began: dict[BucketKey, float] = {}
        self._shares: dict[tuple[int, int, int, int], ResolvedRateLimit] = {}

    def take(
        self,
        tenant: TenantContext,
        limit: ResolvedRateLimit,
        cost: int,
        *,
        partial: bool,
        members: int,
    ) -> FallbackDecision:
        """Decide as RateLimiter.take does. Unless it is to begin full, the share begins empty: what
        there was at once before, the owner may have admitted already."""
        metrics.RATE_LIMIT_FALLBACKS.labels(self._mode).inc()
        if self._mode == "open":
            return FallbackDecision(limit, cost, limit.burst, 0.0, 0.0, "open")
        if self._mode == "closed":
            admitted, wait = (0, _CLOSED_RETRY_SECONDS) if cost else (0, 0.0)
            return FallbackDecision(limit, admitted, 0, wait, wait, "closed")
        share = self._share(limit, members)
        key = (tenant.tenant_uid, limit.name)
        if not self._begins_full and key not in self._began:
            self._began[key] = self._clock()
            self._buckets.drain(key, share, self._began[key])
        taken = self._buckets.take(tenant, share, cost, partial=partial)
        retry_after = taken.retry_after
        if retry_after is None and cost <= limit.burst:
            # It may pass once the owner is back.
            retry_after = _CLOSED_RETRY_SECONDS
        return FallbackDecision(
            limit, taken.admitted, taken.remaining, taken.reset_after, retry_after, "divide"
        )

    def over(self) -> None:
        """All owners can be reached: the next time begins anew."""
        if self._began:
            self._began.clear()
            self._buckets = RateLimiter(self._clock)

    def _share(self, limit: ResolvedRateLimit, members: int) -> ResolvedRateLimit:
        """Return one replica's part of a limit; a window that is longer keeps the rate exact."""
        known = (limit.requests, limit.window_seconds, limit.burst, members)
        found = self._shares.get(known)
        if found is None or found.name != limit.name:
            if len(self._shares) >= _SHARES_MOST:
                self._shares.clear()
            window, burst = limit.window_seconds * members, max(1, limit.burst // members)
            part = {"window_seconds": window, "burst": burst}
            found = self._shares[known] = limit.model_copy(update=part)
        return found


__all__ = ["Fallback", "FallbackDecision", "FallbackMode"]
