"""Whose uid it is, where more than one tenant says so.

Data belongs to a uid, so a uid belongs to one tenant. A tenant's own uid goes before an adopted
one, whatever the files are called, and also where it has adopted another: adopting is for data that
nobody has any more. Among equals, who has the uid in force keeps it, and else the first one.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from meshkit.tenancy.policy import TenantPolicy


@dataclass(frozen=True, slots=True)
class Declared:
    """The uids that a tenant has a claim to: its own, and the one whose data it wants (its own, or
    the one it adopts)."""

    own: str
    wanted: str


def uid_owners(
    declared: Mapping[str, Declared], in_force: Mapping[str, TenantPolicy]
) -> dict[str, str]:
    """Return the name of the tenant that each uid belongs to."""
    owners: dict[str, str] = {}
    for name, claim in declared.items():
        for uid in (claim.wanted, claim.own):
            rival = owners.setdefault(uid, name)
            if rival == name:
                continue
            rank = _rank(rival, declared[rival], uid, in_force)
            if _rank(name, claim, uid, in_force) < rank:
                owners[uid] = name
    return owners


def _rank(
    name: str, claim: Declared, uid: str, in_force: Mapping[str, TenantPolicy]
) -> tuple[bool, bool]:
    policy = in_force.get(name)
    holds = policy is not None and policy.tenant_uid == uid
    return claim.own != uid, not holds


__all__ = ["Declared", "uid_owners"]
