"""Quotas as a client meets them: what passes, what is refused, and what it is told."""

import asyncio
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from apps import Mesh, running_mesh
from builders import make_policy, make_quota, make_quotas
from meshkit.errors import LogUnavailable
from meshkit.events.log import USER_EVENTS, NewRecord, Position
from meshkit.events.memory_log import MemoryEventLog
from meshkit.telemetry.metrics import QUOTA_REFUSALS
from meshkit.tenancy.policy import Enforcement, TenantPolicy
from user_service.quotas import is_far
from waiting import eventually

A = {"X-Tenant-Id": "tenant-a"}
ALICE = {"name": "Alice Doe", "email": "alice@example.com"}
NOON = datetime(2026, 11, 25, 12, 0, 0, tzinfo=UTC)


def limited(**limits: int) -> TenantPolicy:
    return make_policy("tenant-a", quotas=make_quotas(**limits))


async def create(mesh: Mesh, **user: Any) -> httpx.Response:
    return await mesh.users.post("/users/create", headers=A, json=ALICE | user)


async def quota(mesh: Mesh, name: str) -> dict[str, Any]:
    quotas = (await mesh.users.get("/tenants/self", headers=A)).json()["quotas"]
    found: dict[str, Any] = next(q for q in quotas if q["name"] == name)
    return found


async def indexed(mesh: Mesh, answer: httpx.Response) -> None:
    await mesh.search("tenant-a", "x", after=answer.json()["position"])


async def counted(mesh: Mesh, users: int) -> None:
    """Return once everybody knows how many are stored."""
    async with asyncio.timeout(10):
        while (await quota(mesh, "storedUsers"))["used"] != users:
            await asyncio.sleep(0.01)


def published(mesh: Mesh) -> int:
    return sum(map(len, mesh.log.partitions(USER_EVENTS)))


async def test_day_budget_lets_exactly_its_limit_pass() -> None:
    async with running_mesh(limited(eventsPerDay=25)) as mesh:
        answers = await asyncio.gather(*(create(mesh) for _ in range(40)))
        assert sorted(a.status_code for a in answers) == [202] * 25 + [403] * 15
        assert published(mesh) == 25


async def test_refusal_names_the_quota_its_numbers_and_its_reset() -> None:
    async with running_mesh(limited(eventsPerDay=1), wall_clock=lambda: NOON) as mesh:
        assert (await create(mesh)).status_code == 202
        refused = await create(mesh)
        assert refused.status_code == 403
        assert refused.headers["content-type"] == "application/problem+json"
        problem = refused.json()
        assert (problem["type"], problem["code"]) == ("/errors/quota-exceeded", "quota-exceeded")
        assert problem["quota"] == {
            "name": "eventsPerDay",
            "limit": 1,
            "used": 1,
            "remaining": 0,
            "provenance": "override",
            "resetAt": "2026-11-26T00:00:00Z",
            "resetSeconds": 43200,
        }
        assert "retry-after" not in refused.headers


async def test_deletion_and_replacement_are_events_too() -> None:
    async with running_mesh(limited(eventsPerDay=2)) as mesh:
        assert (await mesh.users.put("/users/u-1", headers=A, json=ALICE)).status_code == 202
        assert (await mesh.users.delete("/users/u-1", headers=A)).status_code == 202
        assert (await mesh.users.delete("/users/u-1", headers=A)).status_code == 403


async def test_reset_frees_the_budget_without_a_restart() -> None:
    now = NOON
    async with running_mesh(limited(eventsPerDay=1), wall_clock=lambda: now) as mesh:
        await create(mesh)
        assert (await create(mesh)).status_code == 403
        now += timedelta(hours=12)
        assert (await create(mesh)).status_code == 202


async def test_limit_that_is_raised_or_lowered_holds_from_the_next_request_on() -> None:
    async with running_mesh(limited(eventsPerDay=5)) as mesh:
        for _ in range(3):
            assert (await create(mesh)).status_code == 202
        mesh.tenants.put(limited(eventsPerDay=2))
        assert (await create(mesh)).status_code == 403
        mesh.tenants.put(limited(eventsPerDay=4))
        assert [(await create(mesh)).status_code for _ in range(2)] == [202, 403]


@pytest.mark.parametrize("name", ["eventsPerDay", "storedUsers"])
async def test_limit_of_zero_lets_nothing_pass(name: str) -> None:
    async with running_mesh(limited(**{name: 0})) as mesh:
        for refused in (
            await create(mesh),
            await mesh.users.put("/users/u", headers=A, json=ALICE),
        ):
            assert refused.status_code == 403
            assert refused.json()["quota"]["name"] == name
        assert published(mesh) == 0


async def test_batch_is_taken_as_far_as_there_is_room() -> None:
    async with running_mesh(limited(storedUsers=3)) as mesh:
        answer = await mesh.users.post("/users:batch", headers=A, json=[ALICE] * 5)
        assert answer.status_code == 207
        results = answer.json()["results"]
        assert [r["status"] for r in results] == ["accepted"] * 3 + ["rejected"] * 2
        assert {r["problem"]["code"] for r in results[3:]} == {"quota-exceeded"}
        assert (await mesh.users.post("/users:batch", headers=A, json=[ALICE])).status_code == 403


async def test_items_that_are_refused_cost_no_budget() -> None:
    async with running_mesh(limited(storedUsers=3, eventsPerDay=4)) as mesh:
        batch = [ALICE] * 5 + [{"name": "no address"}]
        await mesh.users.post("/users:batch", headers=A, json=batch)
        assert (await quota(mesh, "eventsPerDay"))["used"] == 3


async def test_users_on_their_way_to_the_index_count_as_stored() -> None:
    async with running_mesh(limited(storedUsers=10)) as mesh:
        answers = await asyncio.gather(*(create(mesh) for _ in range(30)))
        assert sum(a.status_code == 202 for a in answers) == 10
        await counted(mesh, 10)
        assert (await create(mesh)).status_code == 403


async def test_deletion_makes_room_once_it_is_indexed() -> None:
    async with running_mesh(limited(storedUsers=1)) as mesh:
        await indexed(mesh, await create(mesh, userId="u-1"))
        await counted(mesh, 1)
        assert (await create(mesh, userId="u-2")).status_code == 403
        await indexed(mesh, await mesh.users.delete("/users/u-1", headers=A))
        await counted(mesh, 0)
        answer = await create(mesh, userId="u-2")
        assert answer.status_code == 202, answer.text


async def test_same_user_created_many_times_takes_one_place() -> None:
    async with running_mesh(limited(storedUsers=5)) as mesh:
        for _ in range(4):
            await indexed(mesh, await create(mesh, userId="u-1"))
        await counted(mesh, 1)

        async def four_more() -> bool:
            return (await create(mesh, userId="u-1")).status_code == 202

        async with asyncio.timeout(10):
            while not await four_more():
                await asyncio.sleep(0.02)


async def test_users_of_a_full_tenant_can_still_be_corrected() -> None:
    async with running_mesh(limited(storedUsers=2)) as mesh:
        for user in ("u-1", "u-2"):
            await indexed(mesh, await create(mesh, userId=user))
        await counted(mesh, 2)
        assert (await create(mesh)).status_code == 403
        answer = await mesh.users.put("/users/u-1", headers=A, json=ALICE | {"name": "Alicia"})
        assert answer.status_code == 202
        await indexed(mesh, answer)
        await counted(mesh, 2)


async def test_replacements_do_not_get_around_a_full_store() -> None:
    async with running_mesh(limited(storedUsers=2)) as mesh:
        statuses = []
        for number in range(20):
            answer = await mesh.users.put(f"/users/new-{number}", headers=A, json=ALICE)
            statuses.append(answer.status_code)
        assert statuses == [202] * 12 + [403] * 8


class RefusingLog(MemoryEventLog):
    """Takes usage, and no events while it is told so."""

    refuses = False

    async def publish_many(self, topic: str, records: Sequence[NewRecord]) -> Sequence[Position]:
        if self.refuses and topic == USER_EVENTS:
            raise LogUnavailable("the disk is full", retry_after=1.0)
        return await super().publish_many(topic, records)


async def test_what_the_log_refuses_costs_nothing() -> None:
    log = RefusingLog()
    async with running_mesh(limited(storedUsers=2, eventsPerDay=2), log=log) as mesh:
        log.refuses = True
        for _ in range(5):
            assert (await create(mesh)).status_code == 503
        log.refuses = False
        assert [(await create(mesh)).status_code for _ in range(3)] == [202, 202, 403]


async def test_tenant_is_warned_from_four_fifths_on_and_before_the_first_refusal() -> None:
    async with running_mesh(limited(eventsPerDay=10), wall_clock=lambda: NOON) as mesh:
        warnings = [(await create(mesh)).headers.get("quota-warning") for _ in range(10)]
        assert warnings[:7] == [None] * 7
        assert warnings[7] == '"eventsPerDay";u=8;l=10;t=43200'
        assert (await quota(mesh, "eventsPerDay"))["warning"] is True


async def test_shadow_counts_what_it_would_refuse_and_refuses_nothing() -> None:
    shadow = make_policy(
        "tenant-a",
        quotas=make_quotas(eventsPerDay=2, storedUsers=2),
        enforcement=Enforcement.SHADOW,
    )
    before = QUOTA_REFUSALS.labels("eventsPerDay", "shadow")._value.get()
    async with running_mesh(shadow) as mesh:
        for _ in range(5):
            assert (await create(mesh)).status_code == 202
        assert QUOTA_REFUSALS.labels("eventsPerDay", "shadow")._value.get() == before + 3
        assert (await quota(mesh, "eventsPerDay"))["used"] == 5


async def test_no_limit_is_not_counted_and_writes_no_usage() -> None:
    quotas = tuple(
        make_quota(name, 0, unlimited=True)
        for name in ("storedUsers", "eventsPerDay", "llmTokensPerDay")
    )
    async with running_mesh(make_policy("tenant-a", quotas=quotas)) as mesh:
        for _ in range(3):
            await indexed(mesh, await create(mesh))
        await counted(mesh, 3)
        state = await quota(mesh, "eventsPerDay")
        assert (state["used"], state["remaining"], state["unlimited"]) == (None, None, True)
        keys = {record.key for record in mesh.log.partitions("mesh.usage")[0]}
        assert {key for key in keys if b"eventsPerDay" in key} == set()


async def test_usage_is_told_on_the_admin_port_for_the_operator() -> None:
    async with running_mesh(limited(storedUsers=10)) as mesh:
        await indexed(mesh, await create(mesh))
        await counted(mesh, 1)
        usage = json.loads((await mesh.users_admin.get("/internal/usage")).text)["usage"]
        used = {"eventsPerDay": 1, "llmTokensPerDay": 0, "storedUsers": 1}
        assert usage["uid-of-tenant-a"] == used
        assert (await mesh.users.get("/internal/usage")).status_code == 404


async def test_store_that_lost_everything_is_counted_again() -> None:
    async with running_mesh(limited(storedUsers=10)) as mesh:
        await indexed(mesh, await create(mesh))
        await counted(mesh, 1)
        mesh.store._points.clear()
        await indexed(mesh, await create(mesh))
        await eventually(lambda: len(mesh.store._points) == 1)
        await counted(mesh, 1)


def test_only_who_is_far_from_every_warning_is_not_looked_at_for_a_moment() -> None:
    policy = limited(eventsPerDay=100_000, storedUsers=1_000_000)
    assert is_far(policy, {"eventsPerDay": 69_999, "storedUsers": 700_000})
    assert not is_far(policy, {"eventsPerDay": 70_000, "storedUsers": 0})
    assert not is_far(policy, {"eventsPerDay": 0, "storedUsers": 790_000})
    assert not is_far(limited(eventsPerDay=1_000), {})


async def test_policy_with_a_smaller_quota_warns_at_once() -> None:
    async with running_mesh(limited(eventsPerDay=1_000_000)) as mesh:
        for _ in range(9):
            assert "quota-warning" not in (await create(mesh)).headers
        mesh.tenants.put(limited(eventsPerDay=12))
        assert '"eventsPerDay";u=10;l=12' in (await create(mesh)).headers["quota-warning"]
