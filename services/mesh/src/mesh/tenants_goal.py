"""Where tenants were told to be, and who of them is not there yet: told of objects, never asking.

A condition counts only where it is about the newest generation, and no goal is reached by a spec
that is not accepted: the policy of an older one may well be in force everywhere. A tenant is the
object that was there at the start: one of the same name that came later is another, and the first
is gone. Who is gone, or on the way out, is not waited for any longer.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum
from itertools import islice
from typing import Any

from mesh.tenants_status import Condition, Found, TenantStatus, read_tenant
from meshkit.kube.objects import WatchEvent

_NAMED_MOST = 3


class Goal(StrEnum):
    """What is waited for."""

    ENFORCED = "enforced"
    READY = "ready"
    ACCEPTED = "accepted"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class Lack:
    """What keeps a tenant from the goal."""

    condition: str
    status: str
    reason: str
    message: str

    def __str__(self) -> str:
        reason = f" ({self.reason})" if self.reason else ""
        return f"{self.condition}={self.status}{reason}: {self.message}"


def lack(goal: Goal, tenant: TenantStatus) -> Lack | None:
    """Return what keeps a tenant that is there from the goal, None where it is reached."""
    if goal is Goal.DELETED:
        return _held(tenant)
    accepted, wanted = tenant.current("Accepted"), tenant.current(goal.value.title())
    if accepted is not None and accepted.status == "False":
        return _lack(accepted)
    if wanted is None:
        return Lack(goal.value.title(), "Unknown", "", tenant.unknown)
    return None if wanted.status == "True" else _lack(wanted)


def lack_in_folder(goal: Goal, found: Found, name: str) -> Lack | None:
    """Return what keeps a tenant of a folder from the goal: a saved file is in force as soon as it
    is accepted, so there is nothing to wait for."""
    problem = next((problem for problem in found.problems if problem.name == name), None)
    there = name in found.entries or problem is not None
    if goal is Goal.DELETED:
        return Lack("Deleting", "False", "", "it is still in the folder") if there else None
    if problem is not None:
        where = ": ".join(filter(None, (problem.source, problem.path, problem.message)))
        return Lack("Accepted", "False", "", where)
    return None if there else Lack("Accepted", "False", "", "there is no such tenant")


class Waiting:
    """Who of the `tenants` has not reached the goal yet, and who never will."""

    def __init__(self, goal: Goal, tenants: Iterable[TenantStatus]) -> None:
        self.goal = goal
        self.lacking: dict[str, Lack] = {}
        self.lost: dict[str, str] = {}
        self._uids: dict[str, str] = {}
        for tenant in tenants:
            self._uids[tenant.name] = tenant.uid
            self.put(tenant)

    def settle(self, name: str, lacking: Lack | None) -> None:
        """Say of a tenant that is no object, once and for all, what it lacks."""
        self._uids[name] = ""
        if lacking is not None:
            self.lacking[name] = lacking

    @property
    def reached(self) -> list[str]:
        """All who are there."""
        return [n for n in self._uids if n not in self.lacking and n not in self.lost]

    @property
    def over(self) -> bool:
        """Whether there is nothing left to wait for: all are there, or one never will be."""
        return not self.lacking or bool(self.lost)

    def put(self, tenant: TenantStatus) -> bool:
        """Take in how a tenant is now; return whether anything is different by that."""
        if tenant.name not in self._uids:
            return False
        if tenant.uid != self._uids[tenant.name]:
            return self.remove(tenant.name)
        if tenant.deleting_since and self.goal is not Goal.DELETED:
            return self._lose(tenant.name, "it is being deleted")
        before, now = self.lacking.get(tenant.name), lack(self.goal, tenant)
        if now is None:
            self.lacking.pop(tenant.name, None)
        else:
            self.lacking[tenant.name] = now
        return before != now

    def remove(self, name: str) -> bool:
        """Take in that a tenant is gone; return whether anything is different by that."""
        if name not in self._uids:
            return False
        if self.goal is Goal.DELETED:
            return self.lacking.pop(name, None) is not None
        return self._lose(name, "it was deleted")

    def take(self, event: WatchEvent) -> bool:
        """Take in an event of a watch; return whether anything is different by that."""
        if event.type == "DELETED":
            return self.remove(event.object["metadata"]["name"])
        return event.type != "BOOKMARK" and self.put(read_tenant(event.object))

    def take_all(self, tenants: Iterable[TenantStatus]) -> None:
        """Take in all the tenants that there are now."""
        there = {tenant.name: tenant for tenant in tenants}
        for name in self._uids:
            if name in there:
                self.put(there[name])
            else:
                self.remove(name)

    def documents(self) -> list[dict[str, Any]]:
        """Return as JSON values who is there, and what keeps the others."""
        reached = set(self.reached)
        return [
            {
                "name": name,
                "reached": name in reached,
                "missing": asdict(self.lacking[name]) if name in self.lacking else None,
                "lost": self.lost.get(name),
            }
            for name in self._uids
        ]

    def __str__(self) -> str:
        named = [f"{name}: {lack}" for name, lack in islice(self.lacking.items(), _NAMED_MOST)]
        if more := len(self.lacking) - len(named):
            named.append(f"and {more} more")
        return f"{len(self.lacking)} of {len(self._uids)} not {self.goal} yet; {'; '.join(named)}"

    def _lose(self, name: str, why: str) -> bool:
        self.lost[name] = why
        return True


def _held(tenant: TenantStatus) -> Lack:
    deleting = tenant.conditions.get("Deleting")
    if not tenant.deleting_since:
        return Lack("Deleting", "False", "", f"nobody has: kubectl delete tenant {tenant.name}")
    if deleting is not None:
        return _lack(deleting)
    return Lack("Deleting", "Unknown", "", f"held by {', '.join(tenant.finalizers) or 'nobody'}")


def _lack(condition: Condition) -> Lack:
    return Lack(condition.type, condition.status, condition.reason, condition.message)
