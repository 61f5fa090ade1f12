"""What is known of each tenant, whether it came from a folder or from a cluster.

On a cluster a Tenant has a status that the operator writes. Its word counts only where it is about
the generation that people wrote last: about an older one it says nothing of what they want now.
Values in, values out: nothing here reads or prints anything.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from difflib import get_close_matches
from typing import Any

from meshkit.tenancy.policy import TenantPolicy
from meshkit.tenancy.source import TenantProblem

_PATH = re.compile(r"((?:spec|metadata)(?:[.\[]\S*)?): ")


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition of a Tenant; `current` says that it is about the generation of now."""

    type: str
    status: str
    reason: str
    message: str
    since: datetime | None
    current: bool


@dataclass(frozen=True, slots=True)
class TenantStatus:
    """A Tenant object: its metadata, and what the operator says of it. `document` is the whole."""

    name: str
    uid: str
    version: str
    deleting_since: str
    finalizers: tuple[str, ...]
    looked_at: bool
    conditions: Mapping[str, Condition]
    document: Mapping[str, Any] = field(repr=False)

    def current(self, condition: str) -> Condition | None:
        """Return a condition, None where it is missing or about an older generation."""
        found = self.conditions.get(condition)
        return found if found is not None and found.current else None

    @property
    def unknown(self) -> str:
        """Why there is no current condition: nobody looked, or the operator has not got so far."""
        if self.looked_at:
            return "the operator does not know yet for the newest edit"
        return "not looked at yet (is the operator running?)"

    @property
    def spec(self) -> Mapping[str, Any]:
        """What people wrote."""
        return self.document.get("spec") or {}

    @property
    def data_uid(self) -> str:
        """The uid that its data is under, or is to be: its own, or the one it has adopted."""
        return str(self.spec.get("adoptUid") or self.uid)

    @property
    def status(self) -> Mapping[str, Any]:
        """What the operator wrote, as it is."""
        return self.document.get("status") or {}


@dataclass(frozen=True, slots=True)
class Entry:
    """A tenant: the policy in force, and on a cluster its object; either may be missing."""

    name: str
    policy: TenantPolicy | None = None
    tenant: TenantStatus | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """All tenants of a place by name, and what is wrong; `namespace` is None for a folder."""

    entries: Mapping[str, Entry]
    problems: Sequence[TenantProblem]
    namespace: str | None = None


def read_tenant(document: Mapping[str, Any]) -> TenantStatus:
    """Return what a Tenant object of the API server says."""
    metadata = document["metadata"]
    status = document.get("status") or {}
    generation, observed = metadata.get("generation"), status.get("observedGeneration")
    conditions = {}
    for given in status.get("conditions", ()):
        about = given.get("observedGeneration", observed)
        conditions[given["type"]] = Condition(
            given["type"],
            given["status"],
            given.get("reason", ""),
            given.get("message", ""),
            _moment(given.get("lastTransitionTime")),
            about is not None and about == generation,
        )
    return TenantStatus(
        metadata["name"],
        metadata["uid"],
        metadata["resourceVersion"],
        metadata.get("deletionTimestamp", ""),
        tuple(metadata.get("finalizers", ())),
        observed is not None and observed == generation,
        conditions,
        document,
    )


def problem_of(tenant: TenantStatus) -> TenantProblem | None:
    """Return why a Tenant is not accepted, or its deletion not begun; None where all is well."""
    accepted = tenant.current("Accepted")
    if tenant.deleting_since:
        if tenant.looked_at or tenant.current("Deleting") is not None:
            return None
        way_out = f"if it is gone for good: mesh tenants release {tenant.name}"
        return TenantProblem(
            "", tenant.name, "", f"is being deleted, but {tenant.unknown}; {way_out}"
        )
    if accepted is None:
        return TenantProblem("", tenant.name, "", tenant.unknown)
    if accepted.status == "True":
        return None
    path, message = split_path(accepted.message)
    return TenantProblem("", tenant.name, path, message or accepted.reason)


def split_path(message: str) -> tuple[str, str]:
    """Return the path that a message of the operator begins with, and the rest: the path is empty
    where it begins with none."""
    found = _PATH.match(message)
    return (found[1], message[found.end() :]) if found else ("", message)


def did_you_mean(name: str, names: Sequence[str]) -> str:
    """Return a hint at names like `name`, with a space before it; empty where there are none."""
    near = get_close_matches(name, names, n=3)
    return f" Did you mean {', '.join(near)}?" if near else ""


def age(since: datetime, now: datetime) -> str:
    """Return how long ago something was, as kubectl says it: `42s`, `7m`, `3h`, `12d`."""
    seconds = max(0, int((now - since).total_seconds()))
    for unit, length in (("d", 86_400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"


def _moment(text: str | None) -> datetime | None:
    try:
        return datetime.fromisoformat(text) if text else None
    except ValueError:
        return None
