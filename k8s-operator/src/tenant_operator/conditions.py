"""Conditions of a Tenant, after the Kubernetes API conventions.

`lastTransitionTime` moves when the status of a condition changes, and only then; so an operator
that looks again, restarts or is replaced writes nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

ACCEPTED, ENFORCED, READY, DELETING = "Accepted", "Enforced", "Ready", "Deleting"
TRUE, FALSE, UNKNOWN = "True", "False", "Unknown"

Conditions = Sequence[dict[str, Any]]
"""As they stand in a status."""


@dataclass(frozen=True, slots=True)
class Condition:
    """What is found now: whether it holds, why in one word, and why for people."""

    type: str
    status: str
    reason: str
    message: str


def merged(
    before: Conditions, found: Sequence[Condition], generation: int, now: datetime
) -> list[dict[str, Any]]:
    """Return the conditions to write: those found, each with the time since when it is so."""
    known = {condition.get("type"): condition for condition in before}
    result = []
    for one in found:
        last = known.get(one.type, {})
        same = last.get("status") == one.status and last.get("lastTransitionTime")
        result.append(
            {
                "type": one.type,
                "status": one.status,
                "observedGeneration": generation,
                "lastTransitionTime": last["lastTransitionTime"] if same else timestamp(now),
                "reason": one.reason,
                "message": one.message,
            }
        )
    return result


def status_of(conditions: Conditions, kind: str) -> str | None:
    """Return whether a condition holds as written, None where it is not there."""
    return next((c.get("status") for c in conditions if c.get("type") == kind), None)


def timestamp(when: datetime) -> str:
    """Return a time (UTC) as the API server writes it."""
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")
