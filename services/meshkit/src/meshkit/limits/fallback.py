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


@dataclass(slots=True)
class FallbackDecision(Decision):
    """A decision without the owner of the bucket, and by which rule."""

    fallback: FallbackMode = "divide"


class Fallback:
    """Decides without the owner. `divide`: this replica's share, limit / members; `open`: all
    passes; `closed`: nothing does."""

    def __init__(self, mode: FallbackMode, clock: Clock = monotonic) -> None:
        self._mode = mode
        self._clock = clock
        self._buckets = RateLimiter(clock)
        self._began: dict[BucketKey, float] = {}

    def take(
        self,
        tenant: TenantContext,
        limit: ResolvedRateLimit,
        cost: int,
        *,
        partial: bool,
        members: int,
    ) -> FallbackDecision:
        """Decide as RateLimiter.take does. The share begins empty: what there was at once before,
        the owner may have admitted already."""
        metrics.RATE_LIMIT_FALLBACKS.labels(self._mode).inc()
        if self._mode == "open":
            return FallbackDecision(limit, cost, limit.burst, 0.0, 0.0, "open")
        if self._mode == "closed":
            admitted, wait = (0, _CLOSED_RETRY_SECONDS) if cost else (0, 0.0)
            return FallbackDecision(limit, admitted, 0, wait, wait, "closed")
        share = _share(limit, members)
        key = (tenant.tenant_uid, limit.name)
        if key not in self._began:
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


def _share(limit: ResolvedRateLimit, members: int) -> ResolvedRateLimit:
    """Return one replica's part of a limit; a window that is longer keeps the rate exact."""
    return limit.model_copy(
        update={
            "window_seconds": limit.window_seconds * members,
            "burst": max(1, limit.burst // members),
        }
    )


__all__ = ["Fallback", "FallbackDecision", "FallbackMode"]
