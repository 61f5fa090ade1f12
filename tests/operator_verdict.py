"""Whether two runs of the same steps came to the same: what must be equal, and what may differ."""

from collections import defaultdict
from typing import Any

from meshkit.tenancy.resources import POLICIES
from operator_world import World
from tenant_operator.erasers import Remains
from tenant_operator.observed import name_of


class WatchedErasers:
    """Erasers of a mesh in which each uid has a point, and then none. They remember whose data they
    erased, and who was in force under that uid then."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._uids: set[str] = set()
        self.robbed: list[str] = []

    @property
    def erased(self) -> list[str]:
        """Whose data is erased."""
        return sorted(self._world.labels.get(uid, uid) for uid in self._uids)

    async def draining(self, tenant_uid: str) -> bool:
        """Nothing is under way."""
        return False

    async def remains(self, tenant_uid: str) -> Remains:
        """What is left."""
        return Remains(0, 0) if tenant_uid in self._uids else Remains(1, 1)

    async def erase(self, tenant_uid: str) -> Remains:
        """Erase it."""
        policies, _ = await self._world.client.list(POLICIES)
        self.robbed += [
            f"the data of {name_of(one)} was erased while it was {one['spec']['state']}"
            for one in policies
            if one["spec"]["tenantUid"] == tenant_uid and one["spec"]["state"] != "Terminating"
        ]
        self._uids.add(tenant_uid)
        return Remains(0, 0)


def differences(wanted: dict[str, Any], got: dict[str, Any], world: World) -> list[str]:
    """How a run's state differs from the undisturbed one's where it must not."""
    result: list[str] = []
    for key in sorted(wanted.keys() | got.keys()):
        kind, _, name = key.partition(" ")
        tenant = wanted.get(f"tenant {name}")
        mine, theirs = got.get(key), wanted.get(key)
        if tenant is not None and tenant["leaving"]:
            mine, theirs = _of_one_that_leaves(kind, mine), _of_one_that_leaves(kind, theirs)
        elif tenant is not None and not _accepted(tenant):
            mine, theirs = _whatever_it_keeps(kind, name, mine, theirs, world)
        elif tenant is not None and kind == "policy" and mine is not None:
            # The undisturbed operator may be wrong, too.
            theirs = {"spec": world.resolved(name), "owners": [tenant["of"]]}
        if mine != theirs:
            result.append(f"{key}: {_told(mine, theirs)} instead of {_told(theirs, mine)}")
    owners: defaultdict[str, list[str]] = defaultdict(list)
    for key, found in got.items():
        if key.startswith("policy "):
            owners[found["spec"]["tenantUid"]].append(key)
    return result + [f"{both} share the uid {u}" for u, both in owners.items() if len(both) > 1]


def _told(one: Any, other: Any) -> Any:
    """What is different in one of two states, for people."""
    if not (isinstance(one, dict) and isinstance(other, dict)):
        return one
    return {key: _told(one[key], other.get(key)) for key in one if one[key] != other.get(key)}


def _accepted(tenant: dict[str, Any]) -> bool:
    return bool(tenant["conditions"].get("Accepted", ("",))[0] == "True")


def _of_one_that_leaves(kind: str, found: dict[str, Any] | None) -> Any:
    """What is left to compare of a Tenant that is being erased: it is judged no more, so what its
    plan was when its end was noticed shows in its policy and in what was last said of it."""
    if found is None:
        return None
    if kind == "policy":
        spec = found["spec"]
        return found | {"spec": {key: spec[key] for key in ("tenantUid", "state")}}
    return found | {"conditions": {"Deleting": found["conditions"].get("Deleting")}}


def _whatever_it_keeps(
    kind: str, name: str, mine: Any, theirs: Any, world: World
) -> tuple[Any, Any]:
    """What is left to compare of a Tenant that keeps its last good policy."""
    if kind == "tenant":
        said = [
            one
            and one
            | {"replicas": None, "conditions": {"Accepted": one["conditions"].get("Accepted")}}
            for one in (mine, theirs)
        ]
        return said[0], said[1]
    spec = mine["spec"] if mine is not None else None
    adopting = any((one.get("spec") or {}).get("adoptUid") for one in world.declared[name])
    if name in world.tampered or spec in world.may_keep(name) or (spec is None and adopting):
        return None, None
    return spec, world.may_keep(name)
