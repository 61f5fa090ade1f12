"""What an answer says of quotas: the refusal when one is used up, and the warning before that.

The numbers are the tenant's, over all replicas, from the counters that enforce. A refusal has no
Retry-After: waiting does not help, except for the reset that it names.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from meshkit.errors import QuotaExceeded
from meshkit.tenancy.policy import ResolvedQuota, TenantPolicy
from meshkit.usage.windows import WARNED_FROM, reset_at
from meshkit.web.call import Header


def is_nearly_used(quota: ResolvedQuota, used: int) -> bool:
    """Return whether so much of a quota is used that its tenant is to know."""
    return not quota.unlimited and used >= WARNED_FROM * quota.limit


def quota_exceeded(
    policy: TenantPolicy, quota: ResolvedQuota, used: int, now: datetime
) -> QuotaExceeded:
    """Return the refusal for a quota that is used up, with the tenant's own numbers."""
    reset = reset_at(quota.name, now)
    tenant = policy.tenant_id
    if quota.limit == 0:
        detail = f"the quota {quota.name} of tenant {tenant} is 0: nothing passes"
    elif reset is None:
        detail = f"tenant {tenant} has {used} of {quota.limit} {quota.name}"
    else:
        detail = (
            f"tenant {tenant} has used {used} of {quota.limit} {quota.name};"
            f" it begins anew at {timestamp(reset)}"
        )
    described: dict[str, Any] = {
        "name": quota.name,
        "limit": quota.limit,
        "used": used,
        "remaining": max(0, quota.limit - used),
        "provenance": quota.provenance.value,
    }
    if reset is not None:
        described |= {"resetAt": timestamp(reset), "resetSeconds": reset_seconds(reset, now)}
    return QuotaExceeded(detail, extra={"quota": described})


def warning_headers(
    policy: TenantPolicy, used: Mapping[str, int], now: datetime
) -> tuple[Header, ...]:
    """Return the header Quota-Warning for the quotas that are nearly used: `u` of `l` are, and
    `t` is in how many seconds they begin anew (a list of items, RFC 9651)."""
    items = []
    for quota in policy.quotas:
        if is_nearly_used(quota, used.get(quota.name, 0)):
            item = f'"{quota.name}";u={used.get(quota.name, 0)};l={quota.limit}'
            reset = reset_at(quota.name, now)
            items.append(item if reset is None else f"{item};t={reset_seconds(reset, now)}")
    return ((b"quota-warning", ", ".join(items).encode()),) if items else ()


def reset_seconds(reset: datetime, now: datetime) -> int:
    """Return the seconds until a reset, whole and rounded up."""
    return max(0, -int(-(reset - now).total_seconds() // 1))


def timestamp(when: datetime) -> str:
    """Return a time in UTC as bodies have it (RFC 3339)."""
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")


__all__ = [
    "is_nearly_used",
    "quota_exceeded",
    "reset_seconds",
    "timestamp",
    "warning_headers",
]
