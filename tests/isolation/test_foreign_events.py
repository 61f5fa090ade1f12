"""Records that other producers write: whatever one names, it touches the tenant it names only.

Two tenants with the same user under the same id. A record belongs to the tenant that its attributes
name; only where it has neither a value nor attributes, to the tenant whose uid its key begins with.
"""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from apps import Mesh, running_mesh
from builders import make_policy
from meshkit.events.log import USER_EVENTS, USER_EVENTS_DLQ, NewRecord
from meshkit.tenancy.policy import TenantState
from waiting import eventually

KEY_OF_A, KEY_OF_B = b"uid-of-tenant-a/u-1", b"uid-of-tenant-b/u-1"
A = {"specversion": "1.0", "id": "e", "source": "/crm", "subject": "u-1", "tenantid": "tenant-a"}
CREATED, DELETED = A | {"type": "user.created"}, A | {"type": "user.deleted"}
CHANGED = {"email": "changed@a.example", "name": "Changed"}
STRUCTURED = {"content-type": "application/cloudevents+json"}


@pytest.fixture
async def mesh() -> AsyncIterator[Mesh]:
    async with running_mesh() as mesh:
        for tenant in ("tenant-a", "tenant-b"):
            mine = {"name": "Own", "email": f"own@{tenant}.example"}
            accepted = await mesh.create(tenant, userId="u-1", **mine)
            await mesh.search(tenant, "own", after=accepted["position"])
        yield mesh


async def publish(mesh: Mesh, key: bytes, value: Any, headers: dict[str, str]) -> None:
    """Publish a record and return once the indexer has done with it, and with one after it."""
    raw = value if value is None else json.dumps(value).encode()
    pairs = tuple((name, text.encode()) for name, text in headers.items())
    position = await mesh.log.publish(USER_EVENTS, NewRecord(key, raw, pairs))
    user_id = f"after-{position.partition}-{position.offset}"
    last = {"tenantId": "tenant-b", "userId": user_id, "email": "l@b.example", "name": "Last"}
    record = NewRecord(b"k", json.dumps(last).encode(), (), position.partition)
    await mesh.log.publish(USER_EVENTS, record)
    await eventually(lambda: user_id in users(mesh, "tenant-b"))


def users(mesh: Mesh, tenant: str) -> dict[str, str]:
    context = mesh.tenants.policies()[tenant].context
    return {stored.user.user_id: stored.user.email for stored in mesh.store._users(context)}


def letters(mesh: Mesh) -> int:
    return len(mesh.log.partitions(USER_EVENTS_DLQ)[0])


BINARY = {f"ce_{name}": text for name, text in DELETED.items()}


@pytest.mark.parametrize("tenantuid", [None, "uid-of-tenant-a"])
@pytest.mark.parametrize(
    ("value", "headers"),
    [
        (DELETED, STRUCTURED),
        (DELETED, {}),
        (DELETED | {"data": None, "data_base64": None}, {}),
        (DELETED | {"data": {"tenantId": "tenant-b", "userId": "u-1"}}, {}),
        (None, BINARY),
        (None, {name.upper(): text for name, text in BINARY.items()}),
        (None, BINARY | STRUCTURED),
    ],
)
async def test_deletion_under_anothers_key_deletes_whom_it_names(
    mesh: Mesh, value: Any, headers: dict[str, str], tenantuid: str | None
) -> None:
    if tenantuid and value is None:
        headers = headers | {"ce_tenantuid": tenantuid}
    elif tenantuid:
        value = value | {"tenantuid": tenantuid}
    await publish(mesh, KEY_OF_B, value, headers)
    assert users(mesh, "tenant-b")["u-1"] == "own@tenant-b.example"
    assert "u-1" not in users(mesh, "tenant-a")


@pytest.mark.parametrize(
    ("value", "headers"),
    [
        # What has a value or attributes is never the tombstone of its key, however broken it is.
        (CREATED, STRUCTURED),
        (CREATED | {"data": None}, {}),
        (CREATED | {"data": {"tenantId": "tenant-b", **CHANGED}}, {}),
        (DELETED | {"tenantid": None}, {}),
        (DELETED | {"tenantid": "tenant-a/../tenant-b"}, {}),
        (DELETED | {"tenantuid": "uid-of-tenant-b/u-1"}, {}),
        (DELETED | {"subject": None}, {}),
        (DELETED | {"subject": None, "data": {"tenantId": "tenant-b", "userId": "u-1"}}, {}),
        (None, {"ce_type": "user.deleted"}),
        (None, {"CE_TENANTID": "tenant-a"}),
        (None, BINARY | {"ce_tenantid": ""}),
        (None, BINARY | {"ce_tenantid": "tenant-x"}),
        (None, BINARY | {"ce_specversion": ""}),
        (None, BINARY | {"ce_type": "user.created"}),
        ({}, {}),
        ("", {}),
        (None, {"ce_": ""}),
    ],
)
async def test_broken_event_under_anothers_key_touches_nobody(
    mesh: Mesh, value: Any, headers: dict[str, str]
) -> None:
    await publish(mesh, KEY_OF_B, value, headers)
    assert users(mesh, "tenant-b")["u-1"] == "own@tenant-b.example"
    assert users(mesh, "tenant-a") == {"u-1": "own@tenant-a.example"}
    assert letters(mesh) == 1


async def test_tombstone_of_a_key_touches_its_tenant_only(mesh: Mesh) -> None:
    await publish(mesh, KEY_OF_A, None, {})
    assert users(mesh, "tenant-a") == {}
    assert users(mesh, "tenant-b")["u-1"] == "own@tenant-b.example"
    assert letters(mesh) == 0


@pytest.mark.parametrize(
    "key",
    [
        b"tenant-a/u-1",
        b"uid-of-tenant/u-1",
        b"uid-of-tenant-a2/u-1",
        b"uid-of-tenant-a",
        b"/uid-of-tenant-a/u-1",
        b" uid-of-tenant-a/u-1",
        b"UID-OF-TENANT-A/u-1",
        b"uid-of-tenant-a\x00/u-1",
    ],
)
async def test_tombstone_of_a_key_that_only_looks_alike_touches_nobody(
    mesh: Mesh, key: bytes
) -> None:
    await publish(mesh, key, None, {})
    assert users(mesh, "tenant-a") == {"u-1": "own@tenant-a.example"}
    assert letters(mesh) == 1


async def test_tombstone_reaches_no_other_user_of_its_tenant(mesh: Mesh) -> None:
    for user_id in ("u-1/", "u-1/../u-1", "/u-1", "U-1"):
        await publish(mesh, b"uid-of-tenant-a/" + user_id.encode(), None, {})
    assert users(mesh, "tenant-a") == {"u-1": "own@tenant-a.example"}


async def test_tombstone_of_a_second_life_leaves_the_first_alone(mesh: Mesh) -> None:
    first = mesh.tenants.policies()["tenant-a"].context
    mesh.tenants.put(make_policy("tenant-a", tenant_uid="second-life"))
    await publish(mesh, b"second-life/u-1", None, {})
    assert [stored.user.user_id for stored in mesh.store._users(first)] == ["u-1"]


async def test_tombstone_of_a_terminating_tenant_stays_outside_its_fence(mesh: Mesh) -> None:
    mesh.tenants.put(make_policy("tenant-a", state=TenantState.TERMINATING))
    await publish(mesh, KEY_OF_A, None, {})
    assert users(mesh, "tenant-a") == {"u-1": "own@tenant-a.example"}
    assert letters(mesh) == 0


async def test_tombstone_of_a_suspended_tenant_does_not_wait(mesh: Mesh) -> None:
    mesh.tenants.put(make_policy("tenant-a", state=TenantState.SUSPENDED))
    await publish(mesh, KEY_OF_A, None, {})
    await eventually(lambda: users(mesh, "tenant-a") == {})
    assert letters(mesh) == 0
