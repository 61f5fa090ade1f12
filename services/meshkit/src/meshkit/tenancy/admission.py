"""May this tenant be served at all? One pure decision, the same for every service."""

from meshkit.errors import TenantSuspended, TenantTerminating, TenantUnknown
from meshkit.tenancy.policy import TenantPolicy, TenantState


def admit(policy: TenantPolicy | None) -> TenantPolicy:
    """Return the policy of a tenant that may be served.

    Raises TenantUnknown, TenantSuspended or TenantTerminating.
    """
    if policy is None:
        raise TenantUnknown("no tenant of this name is known here")
    if policy.state is TenantState.ACTIVE:
        return policy
    if policy.state is TenantState.SUSPENDED:
        raise TenantSuspended(f"tenant {policy.tenant_id} is suspended")
    raise TenantTerminating(f"tenant {policy.tenant_id} is being deleted")


__all__ = ["admit"]
