"""Operators with a bug each, which fault schedules have to convict: what somebody might write."""

from collections.abc import Callable
from typing import Any

import pytest

from meshkit.kube.objects import Object
from meshkit.tenancy.resources import POLICIES
from tenant_operator import deletion, policies, reconcile
from tenant_operator import status as statuses
from tenant_operator.cluster import KubeCluster
from tenant_operator.membership import Membership
from tenant_operator.observed import Kept, Objects, Observed, name_of, wanted_uid
from tenant_operator.reconcile import Reconciler
from tenant_operator.work_queue import WorkQueue


def takes_any_version(patch: pytest.MonkeyPatch) -> None:
    def saw(self: Objects, found: Object) -> bool:
        self._objects[name_of(found)] = Kept.of(found)
        return True

    patch.setattr(Objects, "saw", saw)


def does_not_ask_before_it_removes(patch: pytest.MonkeyPatch) -> None:
    async def clear(self: Reconciler, name: str, found: Object | None) -> None:
        if found is not None:
            await self._cluster.delete_policy(found)

    patch.setattr(Reconciler, "_clear", clear)


def removes_whatever_policy_is_there(patch: pytest.MonkeyPatch) -> None:
    async def delete_policy(self: KubeCluster, found: Object) -> None:
        await self._client.delete(POLICIES, name_of(found))

    patch.setattr(KubeCluster, "delete_policy", delete_policy)


def swallows_edits_in_answers(patch: pytest.MonkeyPatch) -> None:
    def tenant_written(self: Observed, found: Object) -> set[str]:
        self.tenants.saw(found)
        return set()

    patch.setattr(Observed, "tenant_written", tenant_written)


def takes_policies_of_earlier_tenants(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(policies, "_is_of", lambda found, tenant: True)


def writes_statuses_without_comparing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(reconcile, "is_written", lambda tenant, status: False)


def lists_do_not_remove(patch: pytest.MonkeyPatch) -> None:
    def listed(self: Objects, objects: Any, version: int) -> set[str]:
        return {found.name for found in objects if self.saw(found.read())}

    patch.setattr(Objects, "listed", listed)


def old_lists_remove_what_is_newer(patch: pytest.MonkeyPatch) -> None:
    def removed(self: Objects, name: str, version: int) -> bool:
        self._gone[name] = version
        return self._objects.pop(name, None) is not None

    patch.setattr(Objects, "_remove", removed)


def does_not_tell_tenants_of_their_plan(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Observed, "on_plan", lambda self, plan: set())


def does_not_try_again(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(WorkQueue, "add_later", lambda self, name, seconds: None)


def does_not_hear_replicas(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Membership, "acknowledged", lambda self: ())


def erases_what_was_only_asked_for(patch: pytest.MonkeyPatch) -> None:
    def terminating(tenant: Object, last: Any) -> Any:
        wanted = {"metadata": {"name": name_of(tenant), "uid": wanted_uid(tenant)}}
        return policies.terminating(wanted, None)

    patch.setattr(deletion, "terminating", terminating)


def keeps_the_data_of_others(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(policies, "_kept", lambda in_force, name, claims: in_force)


def erases_whoever_is_held(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(reconcile, "to_be_erased", deletion.is_held)
    patch.setattr(deletion, "to_be_erased", deletion.is_held)


def trusts_the_revision_of_a_policy(patch: pytest.MonkeyPatch) -> None:
    def stands(found: Object, wanted: Object) -> bool:
        same: bool = found["spec"].get("revision") == wanted["spec"]["revision"]
        return same

    patch.setattr(reconcile, "stands", stands)


def reports_any_version_as_obeyed(patch: pytest.MonkeyPatch) -> None:
    def enforcement(tenant: str, version: int, members: Any) -> Any:
        return statuses.Enforcement(len(members))

    patch.setattr(reconcile, "enforcement", enforcement)


Bug = Callable[[pytest.MonkeyPatch], None]

BUGS: list[Bug] = [
    takes_any_version,
    writes_statuses_without_comparing,
    does_not_hear_replicas,
    does_not_tell_tenants_of_their_plan,
    erases_what_was_only_asked_for,
    lists_do_not_remove,
    does_not_ask_before_it_removes,
    takes_policies_of_earlier_tenants,
    old_lists_remove_what_is_newer,
    does_not_try_again,
    keeps_the_data_of_others,
    erases_whoever_is_held,
    trusts_the_revision_of_a_policy,
    reports_any_version_as_obeyed,
    removes_whatever_policy_is_there,
    swallows_edits_in_answers,
]
"""What is convicted within a few schedules comes first."""
