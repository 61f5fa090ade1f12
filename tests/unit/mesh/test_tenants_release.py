"""Who can be released, what is said before, and what happens when others write meanwhile."""

from typing import Any

import pytest

from builders import condition, tenant_object
from mesh import tenants_release
from mesh.tenants_release import is_held, meaning, release_all, why_not
from mesh.tenants_status import TenantStatus, read_tenant
from meshkit.errors import StartError
from meshkit.kube.client import KubeClient
from meshkit.kube.objects import Conflict, Object
from meshkit.tenancy.spec import ERASE_FINALIZER

DELETED = {"deletionTimestamp": "2026-11-24T10:00:00Z"}


def tenant(*finalizers: str, deleted: bool = True, **changes: Any) -> TenantStatus:
    metadata = {"finalizers": [*finalizers]} | (DELETED if deleted else {})
    conditions = changes.pop("conditions", ())
    return read_tenant(tenant_object("tenant-a", *conditions, metadata=metadata, **changes))


def test_only_who_is_being_deleted_and_ours_is_held() -> None:
    assert is_held(tenant(ERASE_FINALIZER, "x/y"))
    assert not is_held(tenant("x/y"))
    assert not is_held(tenant(ERASE_FINALIZER, deleted=False))
    assert "is not being deleted" in why_not(tenant(ERASE_FINALIZER, deleted=False))
    assert why_not(tenant("x/y")).endswith("what holds it is x/y")


def test_with_standing_ours_is_held_also_where_nobody_deletes_it() -> None:
    assert is_held(tenant(ERASE_FINALIZER, deleted=False), standing=True)
    assert not is_held(tenant("x/y", deleted=False), standing=True)
    assert "is not being deleted" in meaning([tenant(ERASE_FINALIZER, deleted=False)])


def test_what_it_means_names_the_uid_of_the_data_and_what_the_operator_said() -> None:
    erasing = condition("Deleting", message="4,000 points left")
    spec = {"adoptUid": "first-life", "deletionPolicy": "Delete"}
    said = meaning([tenant(ERASE_FINALIZER, spec=spec, conditions=[erasing])])
    assert "tenant-a (uid first-life, deletionPolicy Delete)" in said
    assert "4,000 points left" in said
    assert "their data stays where it is" in said


class Restless(KubeClient):
    """An API server where somebody else always was quicker."""

    def __init__(self) -> None:
        self.patches = 0

    async def list(self, *_: Any, **__: Any) -> tuple[list[Object], str]:
        metadata = {"finalizers": [ERASE_FINALIZER], "resourceVersion": str(self.patches)}
        return [tenant_object("tenant-a", metadata=metadata | DELETED)], "9"

    async def merge_patch(self, *_: Any, **__: Any) -> Object:
        self.patches += 1
        raise Conflict(409, "the object has been modified")


async def test_tenant_that_changes_again_and_again_is_given_up_with_a_reason() -> None:
    client = Restless()
    with pytest.raises(StartError, match="again and again"):
        await release_all(client, [tenant(ERASE_FINALIZER)])
    assert client.patches == tenants_release._ATTEMPTS
