"""What one tenant may never see of another, or do to it: every surface against every trick.

Two tenants with the same people under the same ids. Whatever tenant B sends, and however it names
itself, tenant A's users stay as they are and out of sight.
"""

import re
from collections.abc import AsyncIterator
from urllib.parse import quote

import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ai_gateway.vector_store.memory import MemoryVectorStore
from ai_gateway.vector_store.port import Hit
from apps import Mesh, running_mesh
from builders import make_limit, make_policy, make_quotas
from meshkit.telemetry.metrics import exposition
from meshkit.tenancy.policy import Enforcement, TenantState

A, B = {"X-Tenant-Id": "tenant-a"}, {"X-Tenant-Id": "tenant-b"}
SECRET = {"name": "Secret Person", "email": "secret@a.example", "userId": "u-1"}


@pytest.fixture
async def mesh() -> AsyncIterator[Mesh]:
    async with running_mesh() as mesh:
        accepted = await mesh.create("tenant-a", **SECRET)
        await mesh.search("tenant-a", "secret", after=accepted["position"])
        yield mesh


async def a_is_untouched(mesh: Mesh) -> bool:
    answer = await mesh.gateway.get("/ai/users/u-1", headers=A)
    return answer.status_code == 200 and answer.json()["email"] == SECRET["email"]


# Every way to name a tenant that is not plainly one's own: (headers, query string).
NAMINGS = [
    ([("x-tenant-id", "tenant-b")], "tenant_id=tenant-a"),
    ([("x-tenant-id", "tenant-a")], "tenant_id=tenant-b"),
    ([("x-tenant-id", "tenant-b"), ("x-tenant-id", "tenant-a")], ""),
    ([("x-tenant-id", "tenant-b,tenant-a")], ""),
    ([("x-tenant-id", "tenant-a\t")], ""),
    ([("x-tenant-id", " tenant-a")], ""),
    ([("x-tenant-id", "TENANT-A")], ""),
    ([("x-tenant-id", "tenant-a%00")], ""),
    ([("x-tenant-id", "tenant-a/../tenant-a")], ""),
    ([("x-tenant-id", "tenant-a|tenant-b")], ""),
    ([("x-tenant-id", "tenant%2Da")], ""),
    ([("x-tenant-id", "tenant-a".replace("a", "а"))], ""),
    ([("x-tenant-id", "*")], ""),
    ([("x-tenant-id", "")], ""),
    ([], ""),
    ([], "tenant_id="),
    ([], "tenant_id=*"),
    ([], "tenant_id=tenant-a&tenant_id=tenant-b"),
    ([], "tenant_id=tenant%252Da"),
    ([], "tenant_id=tenant-a%00"),
    ([("x-tenant-id", "uid-of-tenant-a")], ""),
    ([("x-forwarded-tenant-id", "tenant-a")], ""),
    ([("x-tenant", "tenant-a"), ("tenant-id", "tenant-a")], ""),
    ([("x-scope-orgid", "tenant-a")], ""),
]


@pytest.mark.parametrize(("headers", "query"), NAMINGS)
async def test_doubtful_naming_of_a_tenant_opens_nothing(
    mesh: Mesh, headers: list[tuple[str, str]], query: str
) -> None:
    raw = [(name.encode(), value.encode()) for name, value in headers]
    searched = await mesh.gateway.get(f"/ai/users/search?query=secret&{query}", headers=raw)
    fetched = await mesh.gateway.get(f"/ai/users/u-1?{query}", headers=raw)
    for answer in (searched, fetched):
        assert answer.status_code in (401, 403, 422), answer.text
        assert "secret@a.example" not in answer.text


@pytest.mark.parametrize("host", ["tenant-a", "a/?x=", "h/#", "@tenant-a", "user-service/health"])
async def test_host_header_decides_nothing(mesh: Mesh, host: str) -> None:
    answer = await mesh.gateway.get("/ai/users/u-1", headers=B | {"host": host})
    assert answer.status_code == 404
    assert (await mesh.gateway.get("/ai/users/u-1", headers={"host": host})).status_code == 401


async def test_same_id_of_another_tenant_is_not_found(mesh: Mesh) -> None:
    assert (await mesh.gateway.get("/ai/users/u-1", headers=B)).status_code == 404


async def test_writes_under_anothers_ids_touch_only_ones_own(mesh: Mesh) -> None:
    mine = {"name": "Mine", "email": "mine@b.example"}
    await mesh.users.put("/users/u-1", headers=B, json=mine)
    await mesh.create("tenant-b", userId="u-1", **mine)
    deleted = await mesh.users.delete("/users/u-1", headers=B)
    await mesh.search("tenant-b", "mine", after=deleted.json()["position"])
    assert await a_is_untouched(mesh)


@pytest.mark.parametrize("user_id", ["../tenant-a/u-1", "u-1/../u-1", "..%2Fuid-of-tenant-a%2Fu-1"])
async def test_id_that_reaches_out_of_the_tenant_is_refused(mesh: Mesh, user_id: str) -> None:
    created = await mesh.users.post("/users", headers=B, json=SECRET | {"userId": user_id})
    replaced = await mesh.users.put(f"/users/{user_id}", headers=B, json=SECRET)
    assert created.status_code == 422
    # A client may tidy the path up to its own /users/u-1 first; nobody else's is reached.
    assert replaced.status_code in (202, 404, 405, 422)
    assert await a_is_untouched(mesh)


@pytest.mark.parametrize("user_id", ["uid-of-tenant-a/u-1", "/u-1", "uid-of-tenant-a|u-1"])
async def test_id_that_looks_like_another_tenants_key_stays_in_its_tenant(
    mesh: Mesh, user_id: str
) -> None:
    mine = {"name": "Mine", "email": "mine@b.example"}
    path = f"/users/{quote(user_id, safe='')}"
    accepted = await mesh.create("tenant-b", userId=user_id, **mine)
    await mesh.search("tenant-b", "mine", after=accepted["position"])
    assert (await mesh.gateway.get("/ai" + path, headers=B)).json()["email"] == mine["email"]
    assert (await mesh.gateway.get("/ai" + path, headers=A)).status_code == 404
    deleted = await mesh.users.delete(path, headers=B)
    await mesh.search("tenant-b", "mine", after=deleted.json()["position"])
    assert (await mesh.gateway.get("/ai" + path, headers=B)).status_code == 404
    assert await a_is_untouched(mesh)


async def test_payload_cannot_name_its_tenant(mesh: Mesh) -> None:
    for field in ("tenantId", "tenantUid", "tenant_id", "revision"):
        answer = await mesh.users.post("/users", headers=B, json=SECRET | {field: "tenant-a"})
        assert answer.status_code == 422
    accepted = await mesh.create(
        "tenant-b",
        userId="u-9",
        attributes={"tenantId": "tenant-a", "tenantUid": "uid-of-tenant-a", "revision": 10**9},
    )
    await mesh.search("tenant-b", "alice", after=accepted["position"])
    found = (await mesh.search("tenant-a", "alice doe"))["results"]
    assert all(user["userId"] != "u-9" for user in found)


async def test_position_of_another_tenant_is_refused(mesh: Mesh) -> None:
    position = (await mesh.create("tenant-a"))["position"]
    assert (await mesh.search("tenant-b", "x", after=position))["code"] == "invalid-position"


async def test_position_does_not_show_how_busy_others_are(mesh: Mesh) -> None:
    positions = {(await mesh.create("tenant-b", userId="u"))["position"] for _ in range(20)}
    assert len({len(position) for position in positions}) == 1
    assert len({position[:8] for position in positions}) == 20


async def test_idempotency_key_of_another_tenant_is_another_user(mesh: Mesh) -> None:
    body = {"name": "X", "email": "x@example.com"}
    ids = [
        (await mesh.users.post("/users", headers=t | {"Idempotency-Key": "k"}, json=body)).json()
        for t in (A, B)
    ]
    assert ids[0]["userId"] != ids[1]["userId"]


async def test_tenant_sees_only_its_own_limits_and_usage(mesh: Mesh) -> None:
    for client in (mesh.users, mesh.gateway):
        text = (await client.get("/tenants/self", headers=B)).text
        assert "tenant-a" not in text
        assert "uid-of" not in text
    quotas = (await mesh.gateway.get("/tenants/self", headers=B)).json()["quotas"]
    assert [q["used"] for q in quotas if q["name"] == "storedUsers"] == [0]


async def test_quota_of_one_tenant_is_neither_used_up_nor_told_by_another() -> None:
    small = make_policy("tenant-a", quotas=make_quotas(eventsPerDay=3, storedUsers=3))
    async with running_mesh(small, make_policy("tenant-b", quotas=small.quotas)) as mesh:
        for _ in range(3):
            await mesh.create("tenant-a")
        user = {"name": "Alice Doe", "email": "alice@example.com"}
        refused = await mesh.users.post("/users/create", headers=A, json=user)
        assert refused.status_code == 403
        for headers in (B, B | {"X-Tenant": "tenant-a", "Quota-Tenant": "tenant-a"}):
            answer = await mesh.users.get("/tenants/self", headers=headers)
            assert {q["used"] for q in answer.json()["quotas"]} == {0}
            assert "tenant-a" not in answer.text
        answer = await mesh.users.post("/users/create", headers=B, json=user)
        assert answer.status_code == 202
        assert "quota-warning" not in answer.headers
        for path in ("/internal/usage", "/internal/tenants/uid-of-tenant-a/usage"):
            assert (await mesh.users.get(path, headers=B)).status_code == 404


async def test_flood_of_one_tenant_costs_another_nothing() -> None:
    limits = [make_limit(name, requests=3) for name in ("users.write", "users.search")]
    async with running_mesh(make_policy("tenant-a", *limits), make_policy("tenant-b")) as mesh:
        answers = [await mesh.gateway.get("/ai/users/u", headers=A) for _ in range(10)]
        assert answers[-1].status_code == 429
        fresh = await mesh.gateway.get("/ai/users/u", headers=B)
        assert fresh.status_code == 404
        assert "r=999999" in fresh.headers["ratelimit"]


@pytest.mark.parametrize("state", [TenantState.SUSPENDED, TenantState.TERMINATING])
async def test_tenant_that_is_not_active_gets_nothing_at_all(
    mesh: Mesh, state: TenantState
) -> None:
    mesh.tenants.put(make_policy("tenant-a", state=state))
    for answer in (
        await mesh.users.post("/users", headers=A, json=SECRET),
        await mesh.users.delete("/users/u-1", headers=A),
        await mesh.users.post("/users:batch", headers=A, json=[SECRET]),
        await mesh.gateway.get("/ai/users/search?query=secret", headers=A),
        await mesh.gateway.get("/ai/users/u-1", headers=A),
        await mesh.gateway.get("/tenants/self", headers=A),
    ):
        assert answer.status_code == 403


async def test_what_is_counted_in_shadow_is_shown_to_its_tenant_only() -> None:
    limits = [make_limit(name, requests=2) for name in ("users.write", "users.search")]
    shadow = [
        make_policy(name, *limits, enforcement=Enforcement.SHADOW)
        for name in ("tenant-a", "tenant-b")
    ]
    async with running_mesh(*shadow) as mesh:
        for _ in range(9):
            await mesh.gateway.get("/ai/users/u", headers=A)
        counts = [
            {
                limit["wouldRefuse"]
                for limit in (await mesh.gateway.get("/tenants/self", headers=tenant)).json()[
                    "rateLimits"
                ]
            }
            for tenant in (A, B)
        ]
    assert counts == [{0, 7}, {0}]


async def test_suspended_tenant_is_refused_by_every_route_there_is(mesh: Mesh) -> None:
    mesh.tenants.put(make_policy("tenant-a", state=TenantState.SUSPENDED))
    asked = 0
    for client in (mesh.users, mesh.gateway):
        paths = (await client.get("/openapi.json")).json()["paths"]
        for path, methods in paths.items():
            for method, operation in methods.items():
                if "403" not in operation["responses"]:
                    continue
                answer = await client.request(method, path.replace("{userId}", "u-1"), headers=A)
                assert answer.json()["code"] == "tenant-suspended", (method, path)
                asked += 1
    assert asked >= 8


async def test_tenant_made_again_under_its_name_starts_empty(mesh: Mesh) -> None:
    mesh.tenants.put(make_policy("tenant-a", tenant_uid="second-life"))
    assert (await mesh.search("tenant-a", "secret"))["results"] == []
    assert (await mesh.gateway.get("/ai/users/u-1", headers=A)).status_code == 404


async def test_removed_tenant_is_a_stranger(mesh: Mesh) -> None:
    mesh.tenants.remove("tenant-a")
    answer = await mesh.gateway.get("/ai/users/search?query=secret", headers=A)
    assert (answer.status_code, answer.json()["code"]) == (403, "tenant-unknown")


async def test_metrics_name_no_tenant_and_no_person(mesh: Mesh) -> None:
    await mesh.search("tenant-of-nobody", "secret")
    text = exposition()[0].decode()
    assert not re.search("tenant-a|tenant-b|tenant-of-nobody|secret|u-1", text)


async def test_ten_thousand_strangers_leave_no_trace_in_the_metrics(mesh: Mesh) -> None:
    before = len(exposition()[0])
    for number in range(300):
        await mesh.gateway.get("/ai/users/u", headers={"X-Tenant-Id": f"stranger-{number}"})
        await mesh.gateway.get(f"/no/such/path/{number}", headers=A)
    assert len(exposition()[0]) < before + 2000


async def test_logs_hold_no_personal_data() -> None:
    with structlog.testing.capture_logs() as logs:
        async with running_mesh() as mesh:
            accepted = await mesh.create("tenant-a", **SECRET)
            await mesh.search("tenant-a", "secret", after=accepted["position"])
            await mesh.users.post("/users", headers=A, json=SECRET | {"email": "secret@"})
    assert "secret" not in str(logs).lower()


class LeakyStore(MemoryVectorStore):
    """A store that forgets the tenant: what the doors above it must survive is tested with the
    real adapter in tests/contract; here it shows that this suite would notice."""

    async def search(self, tenant: object, query: object, limit: int) -> list[Hit]:
        return [
            Hit(stored.upsert.user, 0.9, 0.9)
            for stored in self._points.values()
            if stored.upsert is not None
        ]


async def test_this_suite_notices_a_store_that_forgets_the_tenant() -> None:
    async with running_mesh(store=LeakyStore()) as mesh:
        accepted = await mesh.create("tenant-a", **SECRET)
        await mesh.search("tenant-a", "secret", after=accepted["position"])
        assert "secret@a.example" in str(await mesh.search("tenant-b", "secret"))


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(query=st.text(min_size=1, max_size=80))
async def test_no_query_whatever_finds_another_tenants_users(mesh: Mesh, query: str) -> None:
    found = (await mesh.gateway.get("/ai/users/search", headers=B, params={"query": query})).json()
    assert found.get("results", []) == []
