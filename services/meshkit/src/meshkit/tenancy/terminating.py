"""Which tenants are on their way out, by uid: what the policies of this process say now.

Data is bound to the uid, so the uid is what is fenced and erased, and it has to be the very one: a
tenant made again under the same name has another. Where a second policy names the same uid and is
not Terminating (it has adopted the data), the data is in use and the uid does not count.

Membership outlives the policy: who reads the log may be behind, and what it reads of a tenant that
was being deleted until a moment ago is not to be stored after all. The right to erase does not.
"""

from collections.abc import Iterable

from meshkit.errors import InvalidRequest, TenantNotTerminating
from meshkit.tenancy.identity import InvalidTenantUid, TenantContext, parse_tenant_uid
from meshkit.tenancy.policy import TenantPolicy, TenantState
from meshkit.tenancy.source import TenantSource


class TerminatingTenants:
    """The uids of the tenants that are being deleted, or were when a policy named them last:
    `uid in terminating` is a look-up."""

    def __init__(self, tenants: TenantSource) -> None:
        self._tenants = tenants
        self._policies: object = None
        self._by_uid: dict[str, TenantPolicy] = {}
        self._gone: set[str] = set()

    def __contains__(self, tenant_uid: object) -> bool:
        return tenant_uid in self._now() or tenant_uid in self._gone

    def require(self, tenant_uid: str) -> TenantContext:
        """Return the tenant of this uid, which may be erased.

        Raises InvalidRequest where it is no uid, TenantNotTerminating.
        """
        try:
            parse_tenant_uid(tenant_uid)
        except InvalidTenantUid as error:
            raise InvalidRequest(str(error)) from None
        policy = self._now().get(tenant_uid)
        if policy is None:
            raise TenantNotTerminating("no tenant with this uid is being deleted, as known here")
        return policy.context

    def _now(self) -> dict[str, TenantPolicy]:
        policies = self._tenants.policies()
        if policies is not self._policies:
            self._policies = policies
            leaving, in_use = _by_uid(policies.values())
            self._gone = (self._gone | self._by_uid.keys()) - leaving.keys() - in_use
            self._by_uid = leaving
        return self._by_uid


def _by_uid(policies: Iterable[TenantPolicy]) -> tuple[dict[str, TenantPolicy], set[str]]:
    """Return the policies of the tenants that are being deleted, and the uids that are in use."""
    leaving, in_use = {}, set()
    for policy in policies:
        if policy.state is TenantState.TERMINATING:
            leaving[policy.tenant_uid] = policy
        else:
            in_use.add(policy.tenant_uid)
    return {uid: policy for uid, policy in leaving.items() if uid not in in_use}, in_use


__all__ = ["TerminatingTenants"]
