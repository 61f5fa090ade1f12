"""The status of a Tenant, from what is known of it. Pure.

`Enforced` is about the policy that this generation of the spec resolved to: while a Tenant is not
accepted its last good policy may be in force everywhere, and still what was asked for is not.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from meshkit.kube.objects import Object
from meshkit.membership.lease import Member
from meshkit.tenancy.policy import TenantPolicy
from tenant_operator.conditions import (
    ACCEPTED,
    DELETING,
    ENFORCED,
    FALSE,
    READY,
    TRUE,
    UNKNOWN,
    Condition,
    Conditions,
    merged,
    status_of,
)
from tenant_operator.usage import Used, nearly_used, usage_status

NEARLY_USED = "QuotaNearlyUsed"
_NAMES_MOST = 3


@dataclass(frozen=True, slots=True)
class News:
    """An Event: a reason in one word, the same for people, and whether something is wrong."""

    reason: str
    message: str
    warning: bool


@dataclass(frozen=True, slots=True)
class Enforcement:
    """How many live replicas there are, and which of them do not obey the policy yet."""

    live: int
    lagging: Sequence[str] = ()

    @property
    def complete(self) -> bool:
        """Whether every live replica obeys, and there is one."""
        return self.live > 0 and not self.lagging

    def __str__(self) -> str:
        return f"{self.live - len(self.lagging)}/{self.live}"


def enforcement(tenant: str, version: int, members: Sequence[Member]) -> Enforcement:
    """Return who obeys the policy that a tenant has since a resource version (0: it has none)."""
    lagging = [
        f"{member.service} {member.identity}"
        for member in members
        if not version or not member.obeys(tenant, version)
    ]
    return Enforcement(len(members), lagging)


@dataclass(frozen=True, slots=True)
class Findings:
    """What there is to say of a Tenant; `erasure` and `deleting` while it is being deleted. `used`
    is None where nobody has told."""

    accepted: Condition
    policy: TenantPolicy | None
    enforcement: Enforcement
    deleting: Condition | None = None
    erasure: dict[str, Any] = field(default_factory=dict)
    used: Used | None = None


def status_document(tenant: Object, findings: Findings, now: datetime) -> dict[str, Any]:
    """Return the status to write for a Tenant."""
    before = tenant.get("status") or {}
    generation = tenant["metadata"].get("generation", 1)
    enforced = _enforced(findings)
    usage = before.get("usage") or {}
    if findings.policy is not None and findings.used is not None:
        usage = usage_status(findings.policy, findings.used)
    found = [findings.accepted, enforced, _ready(findings.accepted, enforced, nearly_used(usage))]
    if findings.deleting is not None:
        found.append(findings.deleting)
    status: dict[str, Any] = {
        "observedGeneration": generation,
        "enforcedReplicas": str(findings.enforcement),
        "conditions": merged(before.get("conditions") or (), found, generation, now),
    }
    if findings.policy is not None:
        status["policyRevision"] = findings.policy.revision
    if usage:
        status["usage"] = usage
    if findings.erasure:
        status["erasure"] = findings.erasure
    return status


def is_written(tenant: Object, status: dict[str, Any]) -> bool:
    """Return whether a Tenant has this status already; what others have written into it does not
    count."""
    before = tenant.get("status") or {}
    return all(before.get(key) == value for key, value in status.items()) and all(
        key in status for key in ("policyRevision", "erasure") if key in before
    )


def news(tenant: Object, status: dict[str, Any]) -> list[News]:
    """Return what to tell people when this status takes the place of the one that is written."""
    before = tenant.get("status") or {}
    told = []
    was = status_of(before.get("conditions") or (), ACCEPTED)
    accepted = next(c for c in status["conditions"] if c["type"] == ACCEPTED)
    refused = accepted["status"] == FALSE
    if was != accepted["status"] and (refused or was == FALSE):
        reason = accepted["reason"] if refused else "Accepted"
        told.append(News(reason, accepted["message"], warning=refused))
    known = {text.partition(" ")[0] for text in nearly_used(before.get("usage") or {})}
    nearly = nearly_used(status.get("usage") or {})
    if fresh := [text for text in nearly if text.partition(" ")[0] not in known]:
        told.append(News(NEARLY_USED, f"four fifths are used: {', '.join(fresh)}", warning=True))
    return told


def deleting(reason: str, message: str) -> Condition:
    """Return the condition of a Tenant that is being deleted."""
    return Condition(DELETING, TRUE, reason, message)


def last_accepted(conditions: Conditions) -> Condition:
    """Return the condition Accepted as it is written: what is being deleted is judged no more."""
    for found in conditions:
        if found.get("type") == ACCEPTED:
            return Condition(ACCEPTED, found["status"], found["reason"], found["message"])
    return Condition(ACCEPTED, UNKNOWN, "Deleting", "deleted before it was looked at")


def lagging(findings: Findings) -> str:
    """Return who does not obey yet, for people."""
    replicas = findings.enforcement
    named = ", ".join(replicas.lagging[:_NAMES_MOST])
    more = len(replicas.lagging) - _NAMES_MOST
    named += f" and {more} more" if more > 0 else ""
    return f"in force in {replicas}; not yet in {named}"


def _enforced(findings: Findings) -> Condition:
    replicas = findings.enforcement
    if findings.policy is None:
        return Condition(ENFORCED, FALSE, "NoPolicy", "there is no policy yet; nobody is let in")
    if findings.accepted.status != TRUE:
        message = f"the last good policy {findings.policy.revision} stays in force in {replicas}"
        return Condition(ENFORCED, FALSE, "NotAccepted", message)
    if not replicas.live:
        return Condition(ENFORCED, UNKNOWN, "NoReplicas", "no replica is live")
    if replicas.complete:
        return Condition(ENFORCED, TRUE, "AllReplicas", f"in force in {replicas} live replicas")
    return Condition(ENFORCED, FALSE, "Propagating", lagging(findings))


def _ready(accepted: Condition, enforced: Condition, nearly: Sequence[str]) -> Condition:
    for condition in (accepted, enforced):
        if condition.status != TRUE:
            status = UNKNOWN if condition.status == UNKNOWN else FALSE
            return Condition(READY, status, condition.reason, condition.message)
    message = "accepted, and in force in every live replica"
    if nearly:
        return Condition(READY, TRUE, NEARLY_USED, f"{message}; nearly used: {', '.join(nearly)}")
    return Condition(READY, TRUE, "Ready", message)
