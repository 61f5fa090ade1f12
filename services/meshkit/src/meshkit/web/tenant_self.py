"""What a tenant may know of itself: its limits, where each comes from, and what is left of them.

The numbers come from the buckets and counters that enforce, so they cannot disagree with a refusal.
"""

from collections.abc import Mapping
from datetime import datetime

import msgspec

from meshkit.limits.headers import milliseconds_up
from meshkit.tenancy.policy import ResolvedQuota
from meshkit.usage.windows import STORED_USERS, reset_at
from meshkit.web.call import Call
from meshkit.web.quotas import is_nearly_used, timestamp
from meshkit.web.rate_limits import RateLimits


class RateLimitState(msgspec.Struct, rename="camel"):
    """A rate limit of the tenant and what is left of it in all replicas of this service.
    `wouldRefuse` is how many requests (items of batches) would have been refused, had the limit
    been enforced: counted in shadow mode, in this process, since it started."""

    name: str
    requests: int
    window_seconds: int
    burst: int
    unlimited: bool
    provenance: str
    remaining: int
    reset_seconds: float
    would_refuse: int


class QuotaState(msgspec.Struct, rename="camel"):
    """A quota of the tenant, over all replicas; `used` and `remaining` are null where this service
    does not know them, or where nothing is limited. `resetAt` is when a day's budget begins anew;
    a stock has none. `warning` says that four fifths are used."""

    name: str
    limit: int
    unlimited: bool
    provenance: str
    used: int | None
    remaining: int | None
    reset_at: str | None
    warning: bool


class TenantSelf(msgspec.Struct, rename="camel"):
    """What holds for the tenant that asks."""

    tenant_id: str
    display_name: str
    plan: str
    state: str
    enforcement: str
    weight: int
    policy_revision: str
    rate_limits: list[RateLimitState]
    quotas: list[QuotaState]
    models: list[str]
    default_model: str


def tenant_self(
    call: Call, limits: RateLimits, used: Mapping[str, int], at: datetime
) -> TenantSelf:
    """Return the caller's limits and usage, from the buckets and counters that enforce them."""
    policy = call.policy
    states = []
    for limit in policy.rate_limits:
        now = limits.peek(call, limit.name)
        states.append(
            RateLimitState(
                name=limit.name,
                requests=limit.requests,
                window_seconds=limit.window_seconds,
                burst=limit.burst,
                unlimited=limit.unlimited,
                provenance=limit.provenance.value,
                remaining=now.remaining,
                reset_seconds=milliseconds_up(now.reset_after),
                would_refuse=limits.shadow.counted(call.tenant, limit.name),
            )
        )
    return TenantSelf(
        tenant_id=policy.tenant_id,
        display_name=policy.display_name,
        plan=policy.plan,
        state=policy.state.value,
        enforcement=policy.enforcement.value,
        weight=policy.weight.value,
        policy_revision=policy.revision,
        rate_limits=states,
        quotas=[_quota_state(quota, used.get(quota.name), at) for quota in policy.quotas],
        models=list(policy.llm.models),
        default_model=policy.llm.default_model,
    )


def _quota_state(quota: ResolvedQuota, used: int | None, now: datetime) -> QuotaState:
    reset = reset_at(quota.name, now)
    if quota.unlimited and quota.name != STORED_USERS:
        # What has no limit is not counted; the store knows its users anyway.
        used = None
    known = used is not None and not quota.unlimited
    return QuotaState(
        name=quota.name,
        limit=quota.limit,
        unlimited=quota.unlimited,
        provenance=quota.provenance.value,
        used=used,
        remaining=max(0, quota.limit - (used or 0)) if known else None,
        reset_at=None if reset is None else timestamp(reset),
        warning=known and is_nearly_used(quota, used or 0),
    )


TENANT_SELF_EXAMPLE = {
    "tenantId": "tenant-a",
    "displayName": "Tenant A",
    "plan": "standard",
    "state": "Active",
    "enforcement": "Enforce",
    "weight": 1,
    "policyRevision": "5b0f4c1d9a3e",
    "rateLimits": [
        {
            "name": "users.write",
            "requests": 50,
            "windowSeconds": 1,
            "burst": 100,
            "unlimited": False,
            "provenance": "override",
            "remaining": 100,
            "resetSeconds": 0.0,
            "wouldRefuse": 0,
        }
    ],
    "quotas": [
        {
            "name": "storedUsers",
            "limit": 100000,
            "unlimited": False,
            "provenance": "override",
            "used": 2,
            "remaining": 99998,
            "resetAt": None,
            "warning": False,
        }
    ],
    "models": ["builtin/extractive"],
    "defaultModel": "builtin/extractive",
}

__all__ = ["TENANT_SELF_EXAMPLE", "TenantSelf", "tenant_self"]
