"""What tenants use, as their statuses have it. Pure.

A figure in a status is rounded down to two digits: a tenant that grows is written some ninety times
for each power of ten, and one that does not is never written again. While nobody tells, what is
written stays.
"""

from collections.abc import Mapping

from meshkit.tenancy.policy import ResolvedQuota, TenantPolicy
from meshkit.usage.windows import STORED_USERS, WARNED_FROM

_DIGITS = 2

Used = Mapping[str, int]
"""How much of each quota is used."""


class TenantUsage:
    """The newest usage of all tenants, by uid."""

    def __init__(self) -> None:
        self._by_uid: Mapping[str, Used] | None = None

    def of(self, tenant_uid: str) -> Used | None:
        """Return what a tenant has used; None while nobody has told."""
        return None if self._by_uid is None else self._by_uid.get(tenant_uid, {})

    def told(self, by_uid: Mapping[str, Used]) -> set[str]:
        """Take in what all tenants have used; return the uids whose figures have moved."""
        before, self._by_uid = self._by_uid or {}, by_uid
        return {
            uid
            for uid in {*before, *by_uid}
            if _figures(before.get(uid, {})) != _figures(by_uid.get(uid, {}))
        }


def usage_status(policy: TenantPolicy, used: Used) -> dict[str, str]:
    """Return `status.usage`: what is used of each quota that is limited, and of the users stored
    whether or not."""
    return {
        quota.name: f"{rounded(used.get(quota.name, 0))}/{_limit(quota)}"
        for quota in policy.quotas
        if not quota.unlimited or quota.name == STORED_USERS
    }


def nearly_used(written: Mapping[str, str]) -> list[str]:
    """Return the quotas of a `status.usage` that are used to four fifths, in words."""
    found = []
    for name, text in written.items():
        used, _, limit = text.partition("/")
        if limit.isdecimal() and used.isdecimal() and int(used) >= WARNED_FROM * int(limit) > 0:
            found.append(f"{name} {text}")
    return found


def rounded(number: int) -> int:
    """Return a number with all but its first two digits 0."""
    unit = int(10 ** max(0, len(str(number)) - _DIGITS))
    return number // unit * unit


def _limit(quota: ResolvedQuota) -> str:
    return "unlimited" if quota.unlimited else str(quota.limit)


def _figures(used: Used) -> dict[str, int]:
    return {name: rounded(number) for name, number in used.items() if number}
