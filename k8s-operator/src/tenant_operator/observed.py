"""What the API server has said so far: the operator's picture of the namespace.

Told by the watches, by answers to the operator's own writes, and by lists; whichever comes later,
the newer version of an object stays (versions of one API server are numbers that grow). So a watch
that is late, or tells twice, never takes the picture back. Pure: no clock, no input or output.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from meshkit.kube.objects import Object
from meshkit.tenancy.resolve import DEFAULT_PLAN


def version_of(found: Object) -> int:
    """Return an object's resource version; a server that has others than numbers has 0."""
    text = found["metadata"].get("resourceVersion", "")
    return int(text) if text.isdecimal() else 0


def name_of(found: Object) -> str:
    """Return an object's name."""
    name: str = found["metadata"]["name"]
    return name


def wanted_uid(tenant: Object) -> str:
    """Return the uid whose data a Tenant has or asks for."""
    adopted = (tenant.get("spec") or {}).get("adoptUid")
    uid: str = adopted or tenant["metadata"]["uid"]
    return uid


def plan_name(tenant: Object) -> str:
    """Return the name of the plan that a Tenant is on."""
    plan: str = (tenant.get("spec") or {}).get("plan") or DEFAULT_PLAN
    return plan


class Objects:
    """The objects of one kind by name, and the versions of those that are gone."""

    def __init__(self) -> None:
        self._objects: dict[str, Object] = {}
        self._gone: dict[str, int] = {}

    def get(self, name: str) -> Object | None:
        """Return an object as last seen, None where there is none."""
        return self._objects.get(name)

    def __len__(self) -> int:
        return len(self._objects)

    def names(self) -> Sequence[str]:
        """Return the names of all there is."""
        return list(self._objects)

    def saw(self, found: Object) -> bool:
        """Take an object in; return whether it is news."""
        name, version = name_of(found), version_of(found)
        known = self._objects.get(name)
        if known is not None and version <= version_of(known):
            return False
        if version <= self._gone.get(name, -1):
            return False
        self._gone.pop(name, None)
        self._objects[name] = found
        return True

    def removed(self, found: Object) -> bool:
        """Take in that an object was removed, as it was then; return whether that is news."""
        return self._remove(name_of(found), version_of(found))

    def listed(self, objects: Iterable[Object], version: int) -> set[str]:
        """Take in a list of all there was at a version; return the names of what is news."""
        news, present = set(), set()
        for found in objects:
            present.add(name_of(found))
            if self.saw(found):
                news.add(name_of(found))
        missing = [name for name in self._objects if name not in present]
        news |= {name for name in missing if self._remove(name, version)}
        self._gone = {name: at for name, at in self._gone.items() if at > version}
        return news

    def _remove(self, name: str, version: int) -> bool:
        known = self._objects.get(name)
        if known is None or version_of(known) > version:
            return False
        del self._objects[name]
        self._gone[name] = version
        return True


class Observed:
    """Tenants, plans and policies, and who depends on whom."""

    def __init__(self) -> None:
        self.tenants = Objects()
        self.plans = Objects()
        self.policies = Objects()
        self._plan_of: dict[str, str] = {}
        self._on_plan: defaultdict[str, set[str]] = defaultdict(set)
        self._uid_of: dict[str, str] = {}
        self._with_uid: defaultdict[str, set[str]] = defaultdict(set)

    def tenant_changed(self, name: str) -> set[str]:
        """Keep the indexes after news of a Tenant; return the tenants that it concerns: itself,
        and those that ask for the same uid, before or now."""
        concerned = {name}
        tenant = self.tenants.get(name)
        concerned |= self._moved(
            self._uid_of, self._with_uid, name, wanted_uid(tenant) if tenant else None
        )
        plan = plan_name(tenant) if tenant else None
        self._moved(self._plan_of, self._on_plan, name, plan)
        return concerned

    def on_plan(self, plan: str) -> set[str]:
        """Return the names of the tenants that are on a plan."""
        return set(self._on_plan.get(plan, ()))

    def plan_of(self, tenant: Object) -> Object | None:
        """Return the plan that a Tenant is on, None where there is none of that name."""
        return self.plans.get(plan_name(tenant))

    def claimants(self, uid: str) -> Mapping[str, Object]:
        """Return the Tenants that have or ask for a uid, by name."""
        names = sorted(self._with_uid.get(uid, ()))
        return {name: found for name in names if (found := self.tenants.get(name)) is not None}

    @staticmethod
    def _moved(
        of: dict[str, str], back: defaultdict[str, set[str]], name: str, key: str | None
    ) -> set[str]:
        """Move a name from its old key to its new one; return who else is under either."""
        old = of.pop(name, None)
        if old is not None:
            back[old].discard(name)
        if key is not None:
            of[name] = key
            back[key].add(name)
        keys = {one for one in (old, key) if one is not None}
        others = set().union(*(back[one] for one in keys)) if old != key else set()
        for one in keys:
            if not back[one]:
                del back[one]
        return others - {name}
