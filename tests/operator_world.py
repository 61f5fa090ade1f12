"""One run of a schedule: a namespace, the people in it, and what can be seen of it from outside.

`World` does the steps and remembers what was declared; `seen` is the state that two runs of the
same steps are compared by. Uids become `name#incarnation` in it, since each run has its own, and
what depends on time or on uids alone (versions, digests, times, messages) is left out.
"""

import json
from collections import defaultdict
from contextlib import suppress
from typing import Any

from builders import plan_document, tenant_document
from meshkit.clock import utc_now
from meshkit.kube.client import KubeClient
from meshkit.kube.objects import KubeRefused, NotFound, Object
from meshkit.membership.lease import LEASES, Member, lease_document
from meshkit.tenancy.documents import InvalidDocument, parse_plan, parse_tenant
from meshkit.tenancy.resolve import DEFAULT_PLAN, ResolutionError, resolve
from meshkit.tenancy.resources import PLANS, POLICIES, TENANTS
from operator_people import (
    DELETED,
    JOINED,
    LEFT,
    MADE,
    OBEYED,
    PLANNED,
    REMOVED,
    TAMPERED,
    UNPLANNED,
    Step,
)
from tenant_operator.observed import name_of, version_of

Spec = dict[str, Any]


class World:
    """A namespace in which people do what a schedule says."""

    def __init__(self, client: KubeClient) -> None:
        self.client = client
        self.labels: dict[str, str] = {}
        self.declared: defaultdict[str, list[Object]] = defaultdict(list)
        self.plans: defaultdict[str, list[Object | None]] = defaultdict(lambda: [None])
        self.kept: dict[str, Spec | None] = {}
        self.tampered: set[str] = set()
        self.replicas: dict[str, bool] = {}
        self._acknowledged: dict[str, int] = {}
        self._uids: dict[str, str] = {}

    async def do(self, step: Step) -> None:
        """Do what a step says."""
        if step.what == MADE:
            await self._make(step)
        elif step.what == DELETED:
            await self.client.delete(TENANTS, step.name)
        elif step.what == PLANNED:
            document = plan_document(step.name, **step.spec)
            self.plans[step.name].append(document)
            await self.client.apply(PLANS, document, manager="people")
        elif step.what == UNPLANNED:
            self.plans[step.name].append(None)
            await self.client.delete(PLANS, step.name)
        elif step.what == REMOVED:
            self.tampered.add(step.name)
            await self.client.delete(POLICIES, step.name)
        elif step.what == TAMPERED:
            await self._tamper(step.name)
        elif step.what == LEFT:
            await self.client.delete(LEASES, Member("user-service", step.name).name)
            del self.replicas[step.name]
        elif step.what in (JOINED, OBEYED):
            await self._obey(step)

    async def _make(self, step: Step) -> None:
        spec = dict(step.spec)
        if adopt := spec.get("adoptUid"):
            spec["adoptUid"] = self._uids.get(adopt.removeprefix("@"), adopt)
        # People apply whole documents: what an earlier one said and this one does not is gone.
        document = tenant_document(step.name, **spec)
        found = await self.client.apply(TENANTS, document, manager="people")
        uid = found["metadata"]["uid"]
        if uid not in self.labels:
            self.labels[uid] = f"{step.name}#{len(self.labels)}"
            self._uids[step.name] = uid
            self.declared[step.name].clear()
            self.kept[step.name] = None
        self.declared[step.name].append(found)

    async def _tamper(self, name: str) -> None:
        """Edit a policy, where there is one: what is not there yet is nothing to edit."""
        self.tampered.add(name)
        with suppress(NotFound):
            found = await self.client.get(POLICIES, name)
            found["spec"]["state"] = "Suspended"
            with suppress(KubeRefused):
                await self.client.replace(POLICIES, found)

    async def _obey(self, step: Step) -> None:
        if step.what == JOINED:
            self.replicas[step.name] = not step.spec["stuck"]
            self._acknowledged.pop(step.name, None)
        await self.acknowledge(step.name)

    async def acknowledge(self, *names: str) -> None:
        """Let replicas (all, where none is named) say that they obey all there is now."""
        policies, _ = await self.client.list(POLICIES)
        newest = max(map(version_of, policies), default=1)
        for name in names or tuple(self.replicas):
            version = newest if self.replicas[name] else 1
            if self._acknowledged.get(name) == version:
                continue
            self._acknowledged[name] = version
            member = Member("user-service", name, applied_version=version, lease_seconds=3600)
            await self.client.apply(LEASES, lease_document(member, utc_now()), manager="replica")

    async def versions(self) -> dict[str, str]:
        """The version of every object that the operator may write."""
        return {
            f"{kind.plural}/{name_of(one)}": one["metadata"]["resourceVersion"]
            for kind in (TENANTS, POLICIES)
            for one in (await self.client.list(kind))[0]
        }

    async def seen(self) -> dict[str, Any]:
        """What there is, as two runs of the same steps are compared."""
        tenants, _ = await self.client.list(TENANTS)
        policies, _ = await self.client.list(POLICIES)
        found: dict[str, Any] = {f"policy {name_of(one)}": self._policy(one) for one in policies}
        revisions = {name_of(one): one["spec"].get("revision") for one in policies}
        for one in tenants:
            found[f"tenant {name_of(one)}"] = self._tenant(one, revisions.get(name_of(one)))
        return found

    def _tenant(self, found: Object, revision: str | None) -> dict[str, Any]:
        status, metadata = found.get("status") or {}, found["metadata"]
        conditions = status.get("conditions") or ()
        return {
            "of": self.labels.get(metadata["uid"]),
            "finalizers": metadata.get("finalizers") or [],
            "leaving": "deletionTimestamp" in metadata,
            "replicas": status.get("enforcedReplicas"),
            "conditions": {one["type"]: (one["status"], one["reason"]) for one in conditions},
            "upToDate": status.get("observedGeneration") == metadata["generation"]
            and all(one["observedGeneration"] == metadata["generation"] for one in conditions),
            "namesItsPolicy": status.get("policyRevision") == revision,
        }

    def _policy(self, found: Object) -> dict[str, Any]:
        owners = [one["uid"] for one in found["metadata"].get("ownerReferences") or ()]
        return {"spec": self.named(found["spec"]), "owners": [self.labels.get(u) for u in owners]}

    def named(self, spec: Spec) -> Spec:
        """A policy's spec, with the names of uids, and without the digest of it."""
        text = json.dumps({k: v for k, v in spec.items() if k != "revision"}, sort_keys=True)
        for uid, label in self.labels.items():
            text = text.replace(uid, label)
        result: Spec = json.loads(text)
        return result

    def resolved(self, name: str) -> Spec | None:
        """What a Tenant resolves to as it is declared now, with its plan as that is now."""
        declared = self.declared[name][-1]
        return self._resolved(declared, self.plans[_plan_of(declared)][-1])

    def may_keep(self, name: str) -> list[Spec | None]:
        """The policies that a Tenant which is not accepted may have, as the last good one: what it
        had at the last rest, and whatever its specs since then resolve to with its plans since
        then. An operator that is told late may meet any of these pairs; no other."""
        pairs = [(one, plan) for one in self.declared[name] for plan in self.plans[_plan_of(one)]]
        return [self.kept.get(name), *filter(None, (self._resolved(*pair) for pair in pairs))]

    def _resolved(self, declared: Object, plan: Object | None) -> Spec | None:
        document = {key: value for key, value in declared.items() if key != "status"}
        with suppress(ResolutionError, InvalidDocument):
            parsed = parse_plan(plan) if plan is not None else None
            return self.named(resolve(parse_tenant(document), parsed).document())
        return None

    def rested(self, seen: dict[str, Any]) -> None:
        """Begin a new stretch of history at what is there now."""
        for name in self.declared:
            self.declared[name][:] = self.declared[name][-1:]
            policy = seen.get(f"policy {name}")
            self.kept[name] = policy["spec"] if policy is not None else None
        for plan in self.plans.values():
            plan[:] = plan[-1:]
        self.tampered.clear()


def _plan_of(tenant: Object) -> str:
    plan: str = (tenant.get("spec") or {}).get("plan") or DEFAULT_PLAN
    return plan
