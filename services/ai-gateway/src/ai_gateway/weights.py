"""The tenants' shares of the indexing, by uid: what the policies say now.

A suspended tenant has none: its events wait in the log. One that nobody knows (any more) has the
least, so that its events are worked off.
"""

from meshkit.tenancy.policy import TenantPolicy, TenantState
from meshkit.tenancy.source import TenantSource

_UNKNOWN = 1


class Weights:
    """Looks weights up in a tenant source."""

    def __init__(self, tenants: TenantSource) -> None:
        self._tenants = tenants
        self._policies: object = None
        self._by_uid: dict[str, int] = {}

    def __call__(self, tenant_uid: str) -> int:
        """Return the weight of a tenant, 0 while it is suspended."""
        policies = self._tenants.policies()
        if policies is not self._policies:
            self._policies = policies
            self._by_uid = {policy.tenant_uid: _weight(policy) for policy in policies.values()}
        return self._by_uid.get(tenant_uid, _UNKNOWN)


def _weight(policy: TenantPolicy) -> int:
    return 0 if policy.state is TenantState.SUSPENDED else policy.weight.value
