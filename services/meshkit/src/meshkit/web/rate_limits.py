"""Charging calls to their tenant's rate limits, and the refusal when a bucket is empty."""

from meshkit.errors import RateLimited
from meshkit.limits.gcra import Decision
from meshkit.limits.headers import milliseconds_up
from meshkit.limits.limiter import Limiter
from meshkit.telemetry import metrics
from meshkit.tenancy.policy import Enforcement, TenantPolicy
from meshkit.web.call import Call
from meshkit.web.shadow import ShadowCounts


class RateLimits:
    """The rate limits of this process, as the pipeline and the routes that charge by item use
    them."""

    def __init__(self, limiter: Limiter) -> None:
        self._limiter = limiter
        self.shadow = ShadowCounts()

    async def charge(
        self, call: Call, limit_name: str, cost: int, *, partial: bool = False
    ) -> Decision:
        """Take `cost` tokens for a call, or as many as there are where `partial`.

        Raises RateLimited where none may pass. In shadow mode everything passes and is counted.
        """
        limit = call.policy.rate_limit(limit_name)
        taken = self._limiter.take(call.tenant, limit, cost, partial=partial)
        decision = taken if isinstance(taken, Decision) else await taken
        call.decision = decision
        if decision.admitted >= cost:
            return decision
        if call.policy.enforcement is Enforcement.SHADOW:
            metrics.count_refusal(limit_name, "shadow")
            self.shadow.count(call.tenant, limit_name, cost - decision.admitted)
            decision.admitted = cost
            return decision
        metrics.count_refusal(limit_name, "enforced")
        if decision.admitted == 0:
            raise rate_limited(call.policy, decision)
        return decision

    async def learn(self, call: Call) -> None:
        """Find out what other replicas know of all limits of the caller, for `peek`."""
        await self._limiter.learn(call.tenant, call.policy.rate_limits)

    def peek(self, call: Call, limit_name: str) -> Decision:
        """Return the state of a bucket and take nothing."""
        return self._limiter.peek(call.tenant, call.policy.rate_limit(limit_name))


def rate_limited(policy: TenantPolicy, decision: Decision) -> RateLimited:
    """Return the refusal for an empty bucket, with the tenant's own numbers."""
    limit = decision.limit
    detail = (
        f"tenant {policy.tenant_id} may make {limit.requests} {limit.name} requests"
        f" per {limit.window_seconds} s, {limit.burst} at once"
    )
    if limit.requests == 0:
        detail = f"the limit {limit.name} of tenant {policy.tenant_id} is 0: nothing passes"
    extra = {
        "limit": {
            "name": limit.name,
            "requests": limit.requests,
            "windowSeconds": limit.window_seconds,
            "burst": limit.burst,
            "remaining": decision.remaining,
            "resetSeconds": milliseconds_up(decision.reset_after),
            "provenance": limit.provenance.value,
        }
    }
    return RateLimited(detail, retry_after=decision.retry_after, extra=extra)


__all__ = ["RateLimits", "rate_limited"]
