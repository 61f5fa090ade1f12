"""Who is there, and what each of them obeys: one Lease for each replica of a service.

A replica renews its Lease, and writes into it the newest resource version whose policies are in
force in it, and where its admin port is. So the live Leases are the list of members, and the least
of their versions says what is in force everywhere.

Liveness is judged as client-go does for leader election: by how long ago *we* saw a Lease change,
on our own monotonic clock, never by comparing clocks of two machines.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec

from meshkit.kube.objects import Object, Resource
from meshkit.tenancy.spec import GROUP

LEASES = Resource("coordination.k8s.io", "v1", "leases")
MEMBER_LABEL = f"{GROUP}/member"
"""Label of a member's Lease; its value is the service."""
APPLIED_ANNOTATION = f"{GROUP}/applied-version"
NOT_APPLIED_ANNOTATION = f"{GROUP}/not-applied"
ADMIN_URL_ANNOTATION = f"{GROUP}/admin-url"
LEASE_SECONDS = 15
EVERY_TENANT = "*"
"""Stands in `not_applied` for all tenants, where there are too many to name. No tenant has it."""
# Clocks of a cluster agree to within this; a Lease that is older at first sight has ended.
_SKEW_SECONDS = 60.0
_NAMES_MOST = 100
_NAME_BYTES = 253


@dataclass(frozen=True, slots=True)
class Member:
    """One replica as it says it is.

    `applied_version` is the newest resource version whose policies it obeys (0: none yet), except
    for the tenants in `not_applied`, whose policies it could not read. `owner` is its pod, as an
    owner reference has it.
    """

    service: str
    identity: str
    applied_version: int = 0
    not_applied: frozenset[str] = frozenset()
    admin_url: str = ""
    lease_seconds: int = LEASE_SECONDS
    owner: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The name of its Lease."""
        return lease_name(self.service, self.identity)

    def obeys(self, tenant: str, version: int) -> bool:
        """Return whether the policy that a tenant has since `version` is in force in it."""
        excepted = tenant in self.not_applied or EVERY_TENANT in self.not_applied
        return self.applied_version >= version and not excepted


def lease_name(service: str, identity: str) -> str:
    """Return the name of a member's Lease: a DNS subdomain, whatever the identity is."""
    plain = re.sub(r"[^a-z0-9.-]+", "-", identity.lower())
    # What is between two dots may neither be empty nor begin or end with a hyphen.
    plain = re.sub(r"[.-]*\.[.-]*", ".", plain).strip("-.")
    return f"mesh-{service}-{plain}"[:_NAME_BYTES].rstrip("-.")


def lease_document(member: Member, renewed: datetime) -> Object:
    """Return the Lease that a member applies, renewed at a time (UTC)."""
    annotations = {APPLIED_ANNOTATION: str(member.applied_version)}
    if member.admin_url:
        annotations[ADMIN_URL_ANNOTATION] = member.admin_url
    if member.not_applied:
        # A name left out would read as a policy that is in force.
        few = len(member.not_applied) <= _NAMES_MOST
        names = sorted(member.not_applied) if few else [EVERY_TENANT]
        annotations[NOT_APPLIED_ANNOTATION] = msgspec.json.encode(names).decode()
    metadata: dict[str, Any] = {
        "name": member.name,
        "labels": {MEMBER_LABEL: member.service, "app.kubernetes.io/part-of": "event-mesh"},
        "annotations": annotations,
    }
    if member.owner:
        metadata["ownerReferences"] = [dict(member.owner)]
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": metadata,
        "spec": {
            "holderIdentity": member.identity,
            "leaseDurationSeconds": member.lease_seconds,
            "renewTime": micro_time(renewed),
        },
    }


def micro_time(when: datetime) -> str:
    """Return a time (UTC) as the API server's MicroTime."""
    return when.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_lease(lease: Object) -> Member | None:
    """Return the member that a Lease is of, None where it is not one of ours."""
    metadata, spec = lease["metadata"], lease.get("spec") or {}
    annotations = metadata.get("annotations") or {}
    service = (metadata.get("labels") or {}).get(MEMBER_LABEL)
    if not service:
        return None
    applied = annotations.get(APPLIED_ANNOTATION, "")
    try:
        names = msgspec.json.decode(annotations.get(NOT_APPLIED_ANNOTATION, "[]"), type=list[str])
    except msgspec.DecodeError:
        names = []
    owners = metadata.get("ownerReferences") or [{}]
    return Member(
        service=service,
        identity=spec.get("holderIdentity") or metadata["name"],
        applied_version=int(applied) if applied.isdecimal() else 0,
        not_applied=frozenset(names),
        admin_url=annotations.get(ADMIN_URL_ANNOTATION, ""),
        lease_seconds=spec.get("leaseDurationSeconds") or LEASE_SECONDS,
        owner=owners[0],
    )


@dataclass(slots=True)
class _Seen:
    """A Lease as last seen, and the monotonic second at which it last changed."""

    member: Member
    renewed: str
    at: float


class Roster:
    """The members that have shown themselves, told what is seen of their Leases. Pure: times are
    given, `now` in monotonic seconds."""

    def __init__(self) -> None:
        self._seen: dict[str, _Seen] = {}

    def saw(self, lease: Object, now: float, wall: datetime) -> None:
        """Take in a Lease as it is now; one that was renewed long ago is not counted as live."""
        member = parse_lease(lease)
        name = lease["metadata"]["name"]
        if member is None:
            self._seen.pop(name, None)
            return
        renewed = (lease.get("spec") or {}).get("renewTime") or ""
        before = self._seen.get(name)
        at = before.at if before is not None and before.renewed == renewed else now
        if before is None and _age(renewed, wall) > member.lease_seconds + _SKEW_SECONDS:
            at = now - member.lease_seconds - 1.0
        self._seen[name] = _Seen(member, renewed, at)

    def gone(self, name: str) -> None:
        """Forget a Lease that was removed."""
        self._seen.pop(name, None)

    def keep_only(self, names: Iterable[str]) -> None:
        """Forget every Lease that is not among these: the others are no more."""
        kept = set(names)
        self._seen = {name: seen for name, seen in self._seen.items() if name in kept}

    def live(self, now: float) -> Sequence[Member]:
        """Return the members whose Leases have not ended, by name."""
        return [
            seen.member
            for _, seen in sorted(self._seen.items())
            if now - seen.at < seen.member.lease_seconds
        ]

    def ended(self, now: float, for_seconds: float) -> Sequence[str]:
        """Return the names of Leases that ended so long ago that nobody will renew them."""
        return [
            name
            for name, seen in self._seen.items()
            if now - seen.at > seen.member.lease_seconds + for_seconds
        ]

    def next_end(self, now: float) -> float | None:
        """Return in how many seconds the next live Lease ends if it is not renewed."""
        left = [seen.at + seen.member.lease_seconds - now for seen in self._seen.values()]
        return min((seconds for seconds in left if seconds > 0), default=None)


def _age(renewed: str, wall: datetime) -> float:
    try:
        return (wall - datetime.fromisoformat(renewed)).total_seconds()
    except (ValueError, TypeError):
        return 0.0


__all__ = [
    "ADMIN_URL_ANNOTATION",
    "APPLIED_ANNOTATION",
    "EVERY_TENANT",
    "LEASES",
    "LEASE_SECONDS",
    "MEMBER_LABEL",
    "NOT_APPLIED_ANNOTATION",
    "Member",
    "Roster",
    "lease_document",
    "lease_name",
    "micro_time",
    "parse_lease",
]
