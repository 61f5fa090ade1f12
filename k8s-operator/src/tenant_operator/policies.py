"""What policy a Tenant is to have: resolved from it and its plan, or the last good one and why.

Pure. The same resolution as directory mode (`meshkit.tenancy.resolve`); what is added here is what
a cluster adds: the object around the policy, who owns it, and the reason words of a condition.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from meshkit.kube.objects import Object
from meshkit.tenancy.claims import Declared, uid_owners
from meshkit.tenancy.documents import InvalidDocument, parse_plan, parse_tenant
from meshkit.tenancy.policy import TenantPolicy, TenantState
from meshkit.tenancy.resolve import ResolutionError, in_state, resolve
from meshkit.tenancy.spec import API_VERSION
from tenant_operator.conditions import ACCEPTED, FALSE, TRUE, Condition
from tenant_operator.observed import name_of, own_uid, wanted_uid


@dataclass(frozen=True, slots=True)
class Decision:
    """The policy that is to be in force (None: there is no good one yet), and whether the Tenant
    as it is now was accepted."""

    policy: TenantPolicy | None
    accepted: Condition


@dataclass(frozen=True, slots=True)
class Claim:
    """A Tenant that has or asks for a uid, and the policy that it has now."""

    tenant: Object
    in_force: TenantPolicy | None


def decide(
    tenant: Object,
    plan: Object | None,
    in_force: TenantPolicy | None,
    rivals: Mapping[str, Claim] | None = None,
) -> Decision:
    """Return what is to hold for a Tenant on `plan`.

    `in_force` is the policy that it has now: what does not resolve keeps that, and says where and
    why. `rivals` are the other Tenants that ask for the uid that it asks for, or has.
    """
    claims = {name_of(tenant): Claim(tenant, in_force), **(rivals or {})}
    in_force = _kept(in_force, name_of(tenant), claims)
    try:
        parsed = parse_tenant(_declared(tenant))
    except InvalidDocument as error:
        return _refused(in_force, "InvalidSpec", str(error))
    if (owner := _owner(wanted_uid(tenant), claims)) != name_of(tenant):
        where = "spec.adoptUid" if parsed.spec.adopt_uid else "metadata.uid"
        return _refused(
            in_force, "UidTaken", f"{where}: the uid {wanted_uid(tenant)} is that of tenant {owner}"
        )
    try:
        on = parse_plan(_declared(plan)) if plan is not None else None
    except InvalidDocument as error:
        return _refused(
            in_force, "InvalidPlan", f"spec.plan: the plan {name_of(plan or {})} is broken: {error}"
        )
    try:
        policy = resolve(parsed, on)
    except ResolutionError as error:
        reason = "UnknownPlan" if error.path == "spec.plan" else "DoesNotResolve"
        return _refused(in_force, reason, str(error))
    message = f"resolved with plan {policy.plan}" if policy.plan else "resolved without a plan"
    return Decision(policy, Condition(ACCEPTED, TRUE, "Resolved", message))


def last_policy(
    tenant: Object,
    plan: Object | None,
    in_force: TenantPolicy | None,
    rivals: Mapping[str, Claim],
) -> TenantPolicy | None:
    """Return the policy under which a deleted Tenant stored data; None where it never could."""
    kept = _kept(in_force, name_of(tenant), {name_of(tenant): Claim(tenant, in_force), **rivals})
    return kept or decide(tenant, plan, in_force, rivals).policy


def terminating(tenant: Object, last: TenantPolicy | None) -> TenantPolicy:
    """Return the policy of a Tenant whose data is being erased: nothing passes. Its uid is the one
    to erase: that of the `last` policy, under which data was stored. A uid that the Tenant asked
    for and never got is none of its business, and may be another tenant's."""
    if last is None:
        last = resolve(parse_tenant(_bare(tenant)), None)
    return in_state(last, TenantState.TERMINATING)


def leaving(in_force: TenantPolicy) -> TenantPolicy:
    """Return the policy of a Tenant that is going while its data stays: its traffic is refused,
    and its events wait, as those of a suspended one."""
    return in_state(in_force, TenantState.SUSPENDED)


def policy_document(tenant: Object, policy: TenantPolicy) -> Object:
    """Return the TenantPolicy object of a Tenant."""
    return {
        "apiVersion": API_VERSION,
        "kind": "TenantPolicy",
        "metadata": {"name": name_of(tenant), "ownerReferences": [_owned_by(tenant)]},
        "spec": policy.document(),
    }


def stands(found: Object, wanted: Object) -> bool:
    """Return whether a TenantPolicy already is as it has to be."""
    owners = [owner.get("uid") for owner in found["metadata"].get("ownerReferences") or ()]
    wanted_owners = [owner["uid"] for owner in wanted["metadata"]["ownerReferences"]]
    return bool(found.get("spec") == wanted["spec"] and owners == wanted_owners)


def read_policy(found: Object | None, tenant: Object | None = None) -> TenantPolicy | None:
    """Return the policy in a TenantPolicy object, None where there is none that can be read, or
    where it is of an earlier incarnation of `tenant`."""
    if found is None:
        return None
    try:
        policy = TenantPolicy.model_validate(found["spec"])
    except (ValidationError, KeyError):
        return None
    if policy.tenant_id != name_of(found):
        return None
    if tenant is not None and not _is_of(found, tenant):
        return None
    return policy


def _is_of(found: Object, tenant: Object) -> bool:
    owners = found["metadata"].get("ownerReferences") or ()
    return any(owner.get("uid") == tenant["metadata"]["uid"] for owner in owners)


def _declared(found: Object) -> dict[str, Any]:
    """Return an object without what the operator itself has written into it."""
    return {key: value for key, value in found.items() if key != "status"}


def _owner(uid: str, claims: Mapping[str, Claim]) -> str | None:
    """Return the name of the one that a uid belongs to, None where nobody has a claim to it."""
    declared = {
        name: Declared(own_uid(claim.tenant), wanted_uid(claim.tenant))
        for name, claim in sorted(claims.items())
    }
    held = {n: claim.in_force for n, claim in claims.items() if claim.in_force is not None}
    return uid_owners(declared, held).get(uid)


def _kept(
    in_force: TenantPolicy | None, name: str, claims: Mapping[str, Claim]
) -> TenantPolicy | None:
    """Return the policy in force unless the data under it is another tenant's by now."""
    if in_force is None or _owner(in_force.tenant_uid, claims) not in (None, name):
        return None
    return in_force


def _bare(tenant: Object) -> dict[str, Any]:
    """Return a Tenant that says nothing, but who it is."""
    metadata = {"name": name_of(tenant), "uid": own_uid(tenant)}
    return {"apiVersion": API_VERSION, "kind": "Tenant", "metadata": metadata}


def _owned_by(tenant: Object) -> dict[str, Any]:
    return {
        "apiVersion": API_VERSION,
        "kind": "Tenant",
        "name": name_of(tenant),
        "uid": tenant["metadata"]["uid"],
        "controller": True,
        # Who deletes a Tenant in the foreground waits until its policy is gone, too.
        "blockOwnerDeletion": True,
    }


def _refused(in_force: TenantPolicy | None, reason: str, message: str) -> Decision:
    return Decision(in_force, Condition(ACCEPTED, FALSE, reason, message))
