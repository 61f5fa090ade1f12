"""Whose uid it is, where more than one tenant says so.

Data belongs to a uid, so a uid belongs to one tenant. A tenant's own uid goes before an adopted
one, whatever the files are called: adopting is for data that nobody has any more. Among equals,
who has the uid in force keeps it, and else the first one.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from meshkit.tenancy.policy import TenantPolicy
from meshkit.tenancy.spec import Tenant


@dataclass(frozen=True, slots=True)
class Declared:
    """A tenant as declared, and the uid that it has or asks for."""

    tenant: Tenant
    uid: str


def uid_owners(
    declared: Mapping[str, Declared], in_force: Mapping[str, TenantPolicy]
) -> dict[str, str]:
    """Return the name of the tenant that each uid belongs to."""
    owners: dict[str, str] = {}
    for name, claim in declared.items():
        rival = owners.setdefault(claim.uid, name)
        if rival == name:
            continue
        if _rank(name, claim, in_force) < _rank(rival, declared[rival], in_force):
            owners[claim.uid] = name
    return owners


def _rank(name: str, claim: Declared, in_force: Mapping[str, TenantPolicy]) -> tuple[bool, bool]:
    policy = in_force.get(name)
    holds = policy is not None and policy.tenant_uid == claim.uid
    return claim.tenant.spec.adopt_uid is not None, not holds


__all__ = ["Declared", "uid_owners"]
