"""What the API server has said so far: the operator's picture of the namespace.

Told by the watches, by answers to the operator's own writes, and by lists; whichever comes later,
the newer version of an object stays (versions of one API server are numbers that grow). So a watch
that is late, or tells twice, never takes the picture back. Pure: no clock, no input or output.

An object is kept as JSON and read when somebody looks at it: as dictionaries it takes five times
the memory, and of ten thousand only a few are looked at.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Self

import msgspec

from meshkit.kube.objects import Object
from meshkit.tenancy.resolve import DEFAULT_PLAN


def version_of(found: Object | None) -> int:
    """Return an object's resource version; 0 of none, and of a server that has no numbers."""
    text = found["metadata"].get("resourceVersion", "") if found is not None else ""
    return int(text) if text.isdecimal() else 0


def name_of(found: Object) -> str:
    """Return an object's name."""
    name: str = found["metadata"]["name"]
    return name


def own_uid(tenant: Object) -> str:
    """Return the uid that a Tenant was made with."""
    uid: str = tenant["metadata"]["uid"]
    return uid


def wanted_uid(tenant: Object) -> str:
    """Return the uid whose data a Tenant has or asks for."""
    return (tenant.get("spec") or {}).get("adoptUid") or own_uid(tenant)


def claimed_uids(tenant: Object) -> set[str]:
    """Return the uids that a Tenant has a claim to: while it is there, its own is nobody else's."""
    return {own_uid(tenant), wanted_uid(tenant)}


def plan_name(tenant: Object) -> str:
    """Return the name of the plan that a Tenant is on."""
    plan: str = (tenant.get("spec") or {}).get("plan") or DEFAULT_PLAN
    return plan


def _asks(tenant: Object) -> tuple[object, ...]:
    metadata = tenant["metadata"]
    finalizers = metadata.get("finalizers") or []
    deleted = metadata.get("deletionTimestamp")
    return metadata["uid"], metadata.get("generation"), deleted, finalizers


_read = msgspec.json.Decoder(Object).decode


@dataclass(frozen=True, slots=True)
class Kept:
    """An object as JSON, and what is asked of all objects. `tenant_uid` is that of a policy."""

    name: str
    version: int
    tenant_uid: str | None
    content: bytes

    @classmethod
    def of(cls, found: Object) -> Self:
        """Return what there is to keep of an object."""
        # Who wrote which field: half of an object, and nobody here reads it.
        metadata = {k: v for k, v in found["metadata"].items() if k != "managedFields"}
        content = msgspec.json.encode(found | {"metadata": metadata})
        # Copied, because msgspec allocates up to half as much again and does not give it back.
        content = bytes(memoryview(content))
        tenant_uid = (found.get("spec") or {}).get("tenantUid")
        return cls(name_of(found), version_of(found), tenant_uid, content)

    def read(self) -> Object:
        """Return the object: the caller's own."""
        return _read(self.content)


class Objects:
    """The objects of one kind by name, and the versions of those that are gone."""

    def __init__(self) -> None:
        self._objects: dict[str, Kept] = {}
        self._gone: dict[str, int] = {}
        # What is not there and not newer than a list of all there was is gone for good.
        self._listed_at = -1

    def get(self, name: str) -> Object | None:
        """Return an object as last seen, the caller's own; None where there is none."""
        kept = self._objects.get(name)
        return None if kept is None else kept.read()

    def __len__(self) -> int:
        return len(self._objects)

    def names(self) -> Sequence[str]:
        """Return the names of all there is."""
        return list(self._objects)

    def names_with_uids(self, uids: Set[str]) -> set[str]:
        """Return the names of the policies of tenants' uids. Looks through all."""
        return {name for name, kept in self._objects.items() if kept.tenant_uid in uids}

    def saw(self, found: Object) -> bool:
        """Take an object in; return whether it is news."""
        if not self._is_news(name_of(found), version_of(found)):
            return False
        self._keep(Kept.of(found))
        return True

    def removed(self, found: Object) -> bool:
        """Take in that an object was removed, as it was then; return whether that is news."""
        return self._remove(name_of(found), version_of(found))

    def listed(self, objects: Iterable[Kept], version: int) -> set[str]:
        """Take in a list of all there was at a version; return the names of what is news. The
        list may be older than what is known."""
        news, present = set(), set()
        for found in objects:
            present.add(found.name)
            if self._is_news(found.name, found.version):
                self._keep(found)
                news.add(found.name)
        missing = [name for name in self._objects if name not in present]
        news |= {name for name in missing if self._remove(name, version)}
        self._listed_at = max(self._listed_at, version)
        self._gone = {name: at for name, at in self._gone.items() if at > version}
        return news

    def _is_news(self, name: str, version: int) -> bool:
        known = self._objects.get(name)
        if known is not None:
            return version > known.version
        return version > max(self._listed_at, self._gone.get(name, -1))

    def _keep(self, found: Kept) -> None:
        self._gone.pop(found.name, None)
        self._objects[found.name] = found

    def _remove(self, name: str, version: int) -> bool:
        known = self._objects.get(name)
        if known is None or known.version > version:
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
        self._plans_of = _Index()
        self._uids_of = _Index()

    def tenant_changed(self, name: str) -> set[str]:
        """Keep the indexes after news of a Tenant; return the tenants that it concerns: itself,
        and those that ask for the same uid or have it, before or now."""
        tenant = self.tenants.get(name)
        self._plans_of.move(name, {plan_name(tenant)} if tenant else set())
        concerned = {name} | self._uids_of.move(name, claimed_uids(tenant) if tenant else set())
        if tenant is not None and wanted_uid(tenant) != own_uid(tenant):
            # Rare enough to look through all.
            concerned |= self.policies.names_with_uids({wanted_uid(tenant)})
        return concerned

    def tenant_written(self, found: Object) -> set[str]:
        """Take in a Tenant as it is after a write of ours; return the tenants that it concerns:
        nobody, unless somebody else has changed it meanwhile. No watch will tell that as news."""
        before = self.tenants.get(name_of(found))
        if not self.tenants.saw(found) or (before is not None and _asks(before) == _asks(found)):
            return set()
        return self.tenant_changed(name_of(found))

    def on_plan(self, plan: str) -> set[str]:
        """Return the names of the tenants that are on a plan."""
        return self._plans_of.names(plan)

    def plan_of(self, tenant: Object) -> Object | None:
        """Return the plan that a Tenant is on, None where there is none of that name."""
        return self.plans.get(plan_name(tenant))

    def claimants(self, uid: str) -> Mapping[str, Object]:
        """Return the Tenants that have a claim to a uid, by name."""
        names = sorted(self._uids_of.names(uid))
        return {name: found for name in names if (found := self.tenants.get(name)) is not None}


class _Index:
    """Names by keys, of which each name has some."""

    def __init__(self) -> None:
        self._keys: dict[str, set[str]] = {}
        self._names: defaultdict[str, set[str]] = defaultdict(set)

    def names(self, key: str) -> set[str]:
        """Return the names that have a key."""
        return set(self._names.get(key, ()))

    def move(self, name: str, keys: set[str]) -> set[str]:
        """Give a name other keys; return who has one of those that it got or lost."""
        before = self._keys.pop(name, set())
        if keys:
            self._keys[name] = keys
        others: set[str] = set()
        for key in before ^ keys:
            names = self._names[key]
            names ^= {name}
            others |= names
            if not names:
                del self._names[key]
        return others - {name}
