"""Policies handed over by whoever makes the source: for tests, and for tools without a folder."""

from collections.abc import Mapping, Sequence

from meshkit.tenancy.policy import TenantPolicy
from meshkit.tenancy.source import TenantProblem


class StaticTenantSource:
    """A tenant source that holds what it was given."""

    def __init__(self, *policies: TenantPolicy) -> None:
        self._policies: dict[str, TenantPolicy] = {p.tenant_id: p for p in policies}

    def put(self, policy: TenantPolicy) -> None:
        """Put a policy in force."""
        self._policies = {**self._policies, policy.tenant_id: policy}

    def remove(self, tenant_id: str) -> None:
        """Take a tenant's policy out of force."""
        self._policies = {n: p for n, p in self._policies.items() if n != tenant_id}

    def get(self, tenant_id: str) -> TenantPolicy | None:
        """Return the policy of the tenant called `tenant_id`, or None where there is none."""
        return self._policies.get(tenant_id)

    def policies(self) -> Mapping[str, TenantPolicy]:
        """Return all policies by tenant id."""
        return self._policies

    def problems(self) -> Sequence[TenantProblem]:
        """Return nothing: what was given is in force."""
        return ()

    async def start(self) -> None:
        """Nothing to load."""

    async def loaded(self) -> None:
        """Return at once."""

    async def check(self) -> str | None:
        """Return None."""
        return None

    def freshness(self) -> str:
        """Return that nothing is watched."""
        return "as given"

    async def close(self) -> None:
        """Nothing to stop."""


__all__ = ["StaticTenantSource"]
