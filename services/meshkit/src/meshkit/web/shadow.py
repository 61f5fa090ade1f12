"""What would have been refused to tenants in shadow mode, had their limits been enforced.

Counted since the process started, per tenant and limit, so that a tenant can look at the numbers
(`GET /tenants/self`) before the platform team enforces them. Bounded: where very many tenants are
in shadow mode, those who have not been over a limit for the longest time are forgotten.
"""

from collections import OrderedDict

from meshkit.tenancy.identity import TenantContext

_KEPT_MOST = 50_000


class ShadowCounts:
    """Counts by tenant and name of the rate limit or quota."""

    def __init__(self, kept_most: int = _KEPT_MOST) -> None:
        self._kept_most = kept_most
        self._counts: OrderedDict[tuple[str, str], int] = OrderedDict()

    def count(self, tenant: TenantContext, name: str, refused: int = 1) -> None:
        """Count what would have been refused: requests, or items of a batch."""
        key = (tenant.tenant_uid, name)
        self._counts[key] = self._counts.get(key, 0) + refused
        self._counts.move_to_end(key)
        if len(self._counts) > self._kept_most:
            self._counts.popitem(last=False)

    def counted(self, tenant: TenantContext, name: str) -> int:
        """Return what was counted since the process started."""
        return self._counts.get((tenant.tenant_uid, name), 0)


__all__ = ["ShadowCounts"]
