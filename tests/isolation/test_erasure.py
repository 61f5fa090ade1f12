"""Erasing one tenant: everything of that uid, nothing of any other, and only while it is leaving.

Three tenants with the same people under the same ids, and a fourth that is A's second life under
its own name. The admin port knows no caller, so whatever is asked of it, only what the policies say
is Terminating may lose anything.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence

import httpx
import pytest

from ai_gateway.vector_store.port import StoreRefused, UserKey
from apps import Mesh, running_mesh
from builders import at, make_context, make_delete, make_policy
from meshkit.events.envelope import EventType, UserData, UserEvent, record_key, to_record
from meshkit.events.log import USER_EVENTS, NewRecord, Position, Record
from meshkit.events.memory_log import MemoryEventLog
from meshkit.tenancy.identity import TenantContext
from meshkit.tenancy.policy import TenantPolicy, TenantState
from waiting import eventually

A, B = make_context("tenant-a"), make_context("tenant-b")
# Its uid begins with A's, and A's begins with another's.
LONGER, SHORTER = make_context("tenant-c", "uid-of-tenant-a1"), make_context("tenant-d", "uid-of")
SECOND_LIFE = make_context("tenant-a", "second-life")
OTHERS = (B, LONGER, SHORTER, SECOND_LIFE)
USERS = ("u-1", "u-2", "uid-of-tenant-a/u-1")

ROUTES = [
    ("users_admin", "GET", "tombstones"),
    ("users_admin", "POST", "tombstones"),
    ("users_admin", "GET", "draining"),
    ("users_admin", "DELETE", "usage"),
    ("gateway_admin", "GET", "points"),
    ("gateway_admin", "DELETE", "points"),
    ("gateway_admin", "GET", "draining"),
]


def user(tenant: TenantContext, user_id: str) -> NewRecord:
    data = UserData(tenant.tenant_id, user_id, "alice@example.com", "Alice Doe")
    return to_record(UserEvent("e", EventType.CREATED, tenant, user_id, "", data))


def policy(tenant: TenantContext, state: TenantState = TenantState.ACTIVE) -> TenantPolicy:
    return make_policy(tenant.tenant_id, tenant_uid=tenant.tenant_uid, state=state)


@pytest.fixture
async def mesh() -> AsyncIterator[Mesh]:
    async with running_mesh(*(policy(tenant) for tenant in (A, B, LONGER, SHORTER))) as mesh:
        everybody = [user(tenant, name) for tenant in (A, *OTHERS) for name in USERS]
        await mesh.log.publish_many(USER_EVENTS, everybody)
        for tenant in (A, *OTHERS):
            await eventually(lambda t=tenant: len(mesh.store._users(t)) == 3)  # type: ignore[misc]
            await mesh.store.apply([make_delete(tenant, "u-9", 10**6)])
        yield mesh


async def ask(mesh: Mesh, client: str, method: str, what: str, uid: str) -> httpx.Response:
    admin: httpx.AsyncClient = getattr(mesh, client)
    return await admin.request(method, f"/internal/tenants/{uid}/{what}")


def keys(mesh: Mesh) -> dict[bytes, Record]:
    records = (record for part in mesh.log.partitions(USER_EVENTS) for record in part)
    return {record.key: record for record in records}


async def assert_whole(mesh: Mesh, tenant: TenantContext) -> None:
    """All that the tenant had is there: users, marker and keys."""
    newest = keys(mesh)
    mine = [f"{tenant.tenant_uid}/{name}".encode() for name in USERS]
    assert all(newest[key].value is not None for key in mine), tenant
    assert await mesh.store.footprint(tenant) == 4, tenant
    assert await mesh.store.revisions([UserKey(tenant, "u-9")]) == [at(10**6)]
    for name in USERS:
        assert await mesh.store.get(tenant, name) is not None, tenant


async def test_erased_tenant_is_gone_and_all_others_are_whole(mesh: Mesh) -> None:
    mesh.tenants.put(policy(A, TenantState.TERMINATING))
    answers = [await ask(mesh, *route, A.tenant_uid) for route in ROUTES]
    assert [answer.status_code for answer in answers] == [200] * len(ROUTES)
    seen, ended, served, forgotten, held, left, drained = [answer.json() for answer in answers]
    uid = {"tenantUid": A.tenant_uid}
    assert seen == uid | {"keys": 3, "tombstoned": 0, "remaining": 3}
    assert ended == uid | {"keys": 3, "tombstoned": 3, "remaining": 0}
    assert (held, left) == (uid | {"points": 4}, uid | {"points": 0})
    assert forgotten == uid | {"counters": 0}
    assert served == drained == uid | {"busy": False}
    for other in OTHERS:
        await assert_whole(mesh, other)


async def test_tombstones_of_an_erased_tenant_leave_no_marker(mesh: Mesh) -> None:
    mesh.tenants.put(policy(A, TenantState.TERMINATING))
    await ask(mesh, "gateway_admin", "DELETE", "points", A.tenant_uid)
    await ask(mesh, "users_admin", "POST", "tombstones", A.tenant_uid)
    await mesh.log.publish(USER_EVENTS, user(B, "after"))
    await eventually(lambda: len(mesh.store._users(B)) == 4)
    assert await mesh.store.footprint(A) == 0


async def test_counters_of_an_erased_tenant_are_gone_and_those_of_others_stay(mesh: Mesh) -> None:
    for name in ("tenant-a", "tenant-b"):
        await mesh.create(name)

    async def counted() -> bool:
        usage = (await mesh.users_admin.get("/internal/usage")).json()["usage"]
        return all(usage.get(t.tenant_uid, {}).get("storedUsers") == 4 for t in (A, B))

    async with asyncio.timeout(10):
        while not await counted():
            await asyncio.sleep(0.01)
    mesh.tenants.put(policy(A, TenantState.TERMINATING))
    for _ in range(2):
        answer = await ask(mesh, "users_admin", "DELETE", "usage", A.tenant_uid)
        assert answer.json()["counters"] == 0
    usage = (await mesh.users_admin.get("/internal/usage")).json()["usage"]
    assert A.tenant_uid not in usage
    assert usage[B.tenant_uid]["storedUsers"] == 4


async def test_second_erasure_finds_nothing_to_do(mesh: Mesh) -> None:
    mesh.tenants.put(policy(A, TenantState.TERMINATING))
    for _ in range(2):
        await ask(mesh, "gateway_admin", "DELETE", "points", A.tenant_uid)
        ended = await ask(mesh, "users_admin", "POST", "tombstones", A.tenant_uid)
    assert ended.json()["tombstoned"] == 0


@pytest.mark.parametrize("state", [TenantState.ACTIVE, TenantState.SUSPENDED, None])
@pytest.mark.parametrize("route", ROUTES, ids=lambda route: " ".join(route[1:]))
async def test_tenant_that_is_not_terminating_loses_nothing(
    mesh: Mesh, route: tuple[str, str, str], state: TenantState | None
) -> None:
    if state is None:
        mesh.tenants.remove("tenant-a")
    else:
        mesh.tenants.put(policy(A, state))
    answer = await ask(mesh, *route, A.tenant_uid)
    assert (answer.status_code, answer.json()["code"]) == (409, "tenant-not-terminating")
    await assert_whole(mesh, A)


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: " ".join(route[1:]))
async def test_first_life_is_safe_while_the_second_one_ends(
    mesh: Mesh, route: tuple[str, str, str]
) -> None:
    mesh.tenants.put(policy(SECOND_LIFE, TenantState.TERMINATING))
    assert (await ask(mesh, *route, A.tenant_uid)).status_code == 409
    assert (await ask(mesh, *route, SECOND_LIFE.tenant_uid)).status_code == 200
    await assert_whole(mesh, A)


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: " ".join(route[1:]))
async def test_data_that_another_tenant_has_adopted_is_safe(
    mesh: Mesh, route: tuple[str, str, str]
) -> None:
    mesh.tenants.put(policy(A, TenantState.TERMINATING))
    mesh.tenants.put(make_policy("tenant-e", tenant_uid=A.tenant_uid))
    assert (await ask(mesh, *route, A.tenant_uid)).status_code == 409
    await assert_whole(mesh, A)


# Every way to name more than the one uid, or another one than it seems.
UIDS = [
    "", "%20", ".", "..", "*", "%2A", "uid-of-tenant-a/../uid-of-tenant-b",
    "uid-of-tenant-a%2F..%2Fuid-of-tenant-b", "uid-of-tenant-a%2Fu-1", "uid-of-tenant-a/",
    "uid-of-tenant-a%00", "uid-of-tenant-a%0A", "uid-of-tenant-b%00", "uid-of-tenant-%D0%B0",
    "tenant-a", "tenant-b", "uid-of", "uid-of-tenant-", "uid-of-tenant-a1", "UID-OF-TENANT-A",
    "uid-of-tenant-b", "second-life", "uid-of-tenant-a,uid-of-tenant-b", "x" * 129,
    "uid-of-tenant-a%252F", "%27%20or%201=1", "[uid-of-tenant-b]", "{tenantUid}",
]  # fmt: skip


@pytest.mark.parametrize("uid", UIDS)
@pytest.mark.parametrize("route", ROUTES, ids=lambda route: " ".join(route[1:]))
async def test_only_the_very_uid_is_taken(
    mesh: Mesh, route: tuple[str, str, str], uid: str
) -> None:
    mesh.tenants.put(policy(A, TenantState.TERMINATING))
    answer = await ask(mesh, *route, uid)
    assert answer.status_code in (404, 405, 409, 422), answer.text
    for tenant in (A, *OTHERS):
        await assert_whole(mesh, tenant)


@pytest.mark.parametrize("method", ["GET", "DELETE"])
@pytest.mark.parametrize("fault", [StoreRefused("400: exact search"), KeyError("a fault of ours")])
async def test_fault_of_the_store_is_answered_as_a_problem(
    mesh: Mesh, monkeypatch: pytest.MonkeyPatch, method: str, fault: Exception
) -> None:
    async def refuse(_: TenantContext) -> int:
        raise fault

    mesh.tenants.put(policy(A, TenantState.TERMINATING))
    monkeypatch.setattr(mesh.store, "footprint", refuse)
    answer = await ask(mesh, "gateway_admin", method, "points", A.tenant_uid)
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.status_code, answer.json()["code"]) == (500, "internal-error")


async def test_parameters_headers_and_bodies_name_no_tenant(mesh: Mesh) -> None:
    mesh.tenants.put(policy(A, TenantState.TERMINATING))
    answer = await mesh.gateway_admin.request(
        "DELETE",
        f"/internal/tenants/{A.tenant_uid}/points?tenantUid={B.tenant_uid}&tenant_id=tenant-b",
        headers={"x-tenant-id": "tenant-b"},
        json={"tenantUid": B.tenant_uid},
    )
    assert answer.json() == {"tenantUid": A.tenant_uid, "points": 0}
    for other in OTHERS:
        await assert_whole(mesh, other)


@pytest.mark.parametrize("client", ["users", "gateway"])
@pytest.mark.parametrize("route", ROUTES, ids=lambda route: " ".join(route[1:]))
async def test_public_ports_have_none_of_it(
    mesh: Mesh, client: str, route: tuple[str, str, str]
) -> None:
    mesh.tenants.put(policy(A, TenantState.TERMINATING))
    answer = await ask(mesh, client, *route[1:], A.tenant_uid)
    assert (answer.status_code, answer.json()["code"]) == (404, "route-not-found")
    await assert_whole(mesh, A)


async def test_late_event_of_an_erased_tenant_reaches_nothing(mesh: Mesh) -> None:
    mesh.tenants.put(policy(A, TenantState.TERMINATING))
    await ask(mesh, "gateway_admin", "DELETE", "points", A.tenant_uid)
    await mesh.log.publish_many(USER_EVENTS, [user(A, "late"), user(SECOND_LIFE, "late")])
    await eventually(lambda: len(mesh.store._users(SECOND_LIFE)) == 4)
    answer = await ask(mesh, "gateway_admin", "GET", "points", A.tenant_uid)
    assert answer.json()["points"] == 0
    # What came past the fence of the writers is found by the next scan of the log.
    ended = await ask(mesh, "users_admin", "POST", "tombstones", A.tenant_uid)
    assert ended.json()["tombstoned"] == 4


class PatientLog(MemoryEventLog):
    """A log whose acknowledgements of users wait."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.go = asyncio.Event(), asyncio.Event()

    async def publish(self, topic: str, record: NewRecord) -> Position:
        if topic == USER_EVENTS:
            self.asked.set()
            await self.go.wait()
        return await super().publish(topic, record)


async def test_write_that_was_admitted_before_the_fence_is_waited_for() -> None:
    log = PatientLog()
    async with running_mesh(policy(A), log=log) as mesh:
        write = asyncio.create_task(mesh.create("tenant-a"))
        await log.asked.wait()
        mesh.tenants.put(policy(A, TenantState.TERMINATING))
        answer = await ask(mesh, "users_admin", "GET", "draining", A.tenant_uid)
        assert answer.json() == {"tenantUid": A.tenant_uid, "busy": True}
        log.go.set()
        await write
        answer = await ask(mesh, "users_admin", "GET", "draining", A.tenant_uid)
        assert answer.json()["busy"] is False
        ended = await ask(mesh, "users_admin", "POST", "tombstones", A.tenant_uid)
        assert ended.json()["tombstoned"] == 1


FORGERIES = [
    ("no attributes", {}),
    ("the other's headers", {"ce_specversion": "1.0", "ce_tenantuid": B.tenant_uid}),
    ("a content type", {"content-type": "application/cloudevents+json"}),
]


@pytest.mark.parametrize("headers", [h for _, h in FORGERIES], ids=[name for name, _ in FORGERIES])
async def test_erasure_ends_no_key_of_others_whatever_a_record_under_it_says(
    mesh: Mesh, headers: dict[str, str]
) -> None:
    """Records of A, by what they say, under the keys of the others' users: before and after theirs.
    The first life of a name has no policy, but records."""
    event = {"specversion": "1.0", "id": "f", "source": "/crm", "type": "user.created"}
    named = {"tenantid": "tenant-a", "tenantuid": A.tenant_uid, "subject": "u-1"}
    body = {"tenantId": "tenant-a", "email": "f@example.com", "name": "Forged"}
    pairs = tuple((name, text.encode()) for name, text in headers.items())
    value = json.dumps(event | named | {"data": body}).encode()
    keys_of_others = [record_key(tenant, name) for tenant in OTHERS for name in USERS]
    await mesh.log.publish_many(USER_EVENTS, [NewRecord(k, value, pairs) for k in keys_of_others])
    before = {key: len(part) for key, part in _partitions(mesh, keys_of_others).items()}
    mesh.tenants.put(policy(A, TenantState.TERMINATING))
    await ask(mesh, "gateway_admin", "DELETE", "points", A.tenant_uid)
    for _ in range(2):
        ended = (await ask(mesh, "users_admin", "POST", "tombstones", A.tenant_uid)).json()
        assert ended["remaining"] == (0 if "ce_tenantuid" in headers else len(keys_of_others))
    for other in OTHERS:
        await assert_whole(mesh, other)
    after = {key: len(part) for key, part in _partitions(mesh, keys_of_others).items()}
    assert after == before


def _partitions(mesh: Mesh, keys: Sequence[bytes]) -> dict[bytes, list[Record]]:
    everything = [record for part in mesh.log.partitions(USER_EVENTS) for record in part]
    return {key: [record for record in everything if record.key == key] for key in keys}
