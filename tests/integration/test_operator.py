"""The operator on a real API server: policies, statuses, and writing nothing that is not news."""

import asyncio
from typing import Any

import pytest

from builders import plan_document, tenant_document
from meshkit.clock import monotonic
from meshkit.kube.client import KubeClient
from meshkit.kube.objects import NotFound, Object
from meshkit.tenancy.resources import PLANS, POLICIES, TENANTS
from operator_rig import (
    condition,
    replica,
    running_operator,
    tenant,
    until_condition,
)
from tenant_operator.cluster import EVENTS

pytestmark = pytest.mark.timeout(90)

ROW = {"name": "users.write", "windowSeconds": 1}


async def declare(client: KubeClient, name: str, **spec: Any) -> Object:
    return await client.apply(TENANTS, tenant_document(name, **spec), manager="people")


async def policy(client: KubeClient, name: str) -> Object | None:
    try:
        return await client.get(POLICIES, name)
    except NotFound:
        return None


async def until_policy(client: KubeClient, name: str, **wanted: object) -> Object:
    async with asyncio.timeout(20):
        while True:
            found = await policy(client, name)
            if found is not None and all(found["spec"].get(k) == v for k, v in wanted.items()):
                return found
            await asyncio.sleep(0.01)


async def until_gone(client: KubeClient, name: str) -> None:
    async with asyncio.timeout(20):
        while await policy(client, name) is not None:
            await asyncio.sleep(0.01)


async def until_told(client: KubeClient, *event: str) -> None:
    """Wait for an Event of this reason and type: it comes after the status."""
    async with asyncio.timeout(20):
        while True:
            events, _ = await client.list(EVENTS)
            if event in [(one["reason"], one["type"]) for one in events]:
                return
            await asyncio.sleep(0.01)


def write_rate(found: Object) -> int:
    (limit,) = [one for one in found["spec"]["rateLimits"] if one["name"] == "users.write"]
    requests: int = limit["requests"]
    return requests


async def test_tenant_becomes_a_policy_that_it_owns(client: KubeClient) -> None:
    async with running_operator(client):
        made = await declare(client, "tenant-a", displayName="A")
        found = await until_policy(client, "tenant-a")
        (owner,) = found["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["uid"]) == ("Tenant", made["metadata"]["uid"])
        assert found["spec"]["tenantUid"] == made["metadata"]["uid"]
        assert found["spec"]["displayName"] == "A"


async def test_enforced_says_that_every_live_replica_obeys(client: KubeClient) -> None:
    async with running_operator(client):
        await declare(client, "tenant-a")
        alone = await until_condition(client, "tenant-a", "Enforced", "Unknown")
        assert condition(alone, "Enforced")["reason"] == "NoReplicas"
        async with replica(client), replica(client):
            found = await until_condition(client, "tenant-a", "Enforced")
            assert condition(found, "Ready")["status"] == "True"
            async with asyncio.timeout(10):
                while (await tenant(client, "tenant-a"))["status"]["enforcedReplicas"] != "2/2":
                    await asyncio.sleep(0.02)


async def test_edit_is_enforced_only_when_the_last_replica_obeys(client: KubeClient) -> None:
    async with (
        running_operator(client, settle_seconds=0.1),
        replica(client) as quick,
        # It never obeys anything newer than the first version.
        replica(client, service="ai-gateway", applied_version=1),
    ):
        await declare(client, "tenant-a", rateLimits=[ROW | {"requests": 7}])
        found = await until_condition(client, "tenant-a", "Enforced", "False")
        said = condition(found, "Enforced")
        assert said["reason"] == "Propagating"
        assert "ai-gateway" in said["message"]
        assert found["status"]["enforcedReplicas"] == "1/2"
        in_force = quick.get("tenant-a")
        assert in_force is not None
        assert in_force.rate_limit("users.write").requests == 7


async def test_replica_that_cannot_read_a_policy_does_not_obey_it(client: KubeClient) -> None:
    async with (
        running_operator(client, settle_seconds=0.1),
        replica(client, not_applied=frozenset({"tenant-a"})),
    ):
        await declare(client, "tenant-a")
        await declare(client, "tenant-b")
        await until_condition(client, "tenant-b", "Enforced")
        await until_condition(client, "tenant-a", "Enforced", "False")


async def test_bad_plan_name_leaves_the_last_policy_in_force(client: KubeClient) -> None:
    async with running_operator(client), replica(client):
        await declare(client, "tenant-a", rateLimits=[ROW | {"requests": 5}])
        await until_condition(client, "tenant-a", "Ready")
        before = await until_policy(client, "tenant-a")
        await declare(client, "tenant-a", plan="nowhere", rateLimits=[ROW | {"requests": 9}])
        found = await until_condition(client, "tenant-a", "Accepted", "False")
        said = condition(found, "Accepted")
        assert said["reason"] == "UnknownPlan"
        assert "spec.plan" in said["message"]
        assert condition(found, "Ready")["status"] == "False"
        assert await policy(client, "tenant-a") == before
        assert found["status"]["policyRevision"] == before["spec"]["revision"]
        await until_told(client, "UnknownPlan", "Warning")
        # The plan that was meant arrives: nobody has to touch the Tenant.
        await client.apply(PLANS, plan_document("nowhere"), manager="people")
        await until_condition(client, "tenant-a", "Ready")
        assert write_rate(await until_policy(client, "tenant-a")) == 9


async def test_edit_of_a_plan_reaches_its_tenants_and_no_others(client: KubeClient) -> None:
    async with running_operator(client):
        for plan, rate in (("gold", 10), ("tin", 1)):
            limits = {"rateLimits": [ROW | {"requests": rate}]}
            await client.apply(PLANS, plan_document(plan, defaults=limits), manager="people")
        await declare(client, "rich", plan="gold")
        await declare(client, "poor", plan="tin")
        assert write_rate(await until_policy(client, "rich")) == 10
        other = await until_policy(client, "poor")
        limits = {"rateLimits": [ROW | {"requests": 20}]}
        await client.apply(PLANS, plan_document("gold", defaults=limits), manager="people")
        async with asyncio.timeout(10):
            while write_rate(await until_policy(client, "rich")) != 20:
                await asyncio.sleep(0.01)
        assert await policy(client, "poor") == other


async def test_plan_that_is_removed_leaves_policies_as_they_were(client: KubeClient) -> None:
    async with running_operator(client):
        await client.apply(PLANS, plan_document("gold"), manager="people")
        await declare(client, "tenant-a", plan="gold")
        before = await until_policy(client, "tenant-a")
        await client.delete(PLANS, "gold")
        await until_condition(client, "tenant-a", "Accepted", "False")
        assert await policy(client, "tenant-a") == before


async def test_policy_that_somebody_edits_or_removes_is_put_back(client: KubeClient) -> None:
    async with running_operator(client):
        await declare(client, "tenant-a", rateLimits=[ROW | {"requests": 5}])
        wanted = (await until_policy(client, "tenant-a"))["spec"]
        tampered = wanted | {"state": "Suspended"}
        document = {
            "apiVersion": "mesh.distributedai.io/v1alpha1",
            "kind": "TenantPolicy",
            "metadata": {"name": "tenant-a"},
            "spec": tampered,
        }
        await client.apply(POLICIES, document, manager="somebody")
        assert (await until_policy(client, "tenant-a", state="Active"))["spec"] == wanted
        extra = {"name": "more.of.it", "limit": 1, "provenance": "override"}
        await client.apply(
            POLICIES, document | {"spec": wanted | {"quotas": [extra]}}, manager="somebody"
        )
        await until_policy(client, "tenant-a", **wanted)
        await client.delete(POLICIES, "tenant-a")
        assert (await until_policy(client, "tenant-a"))["spec"] == wanted


async def test_deleted_tenant_loses_its_policy(client: KubeClient) -> None:
    async with running_operator(client):
        await declare(client, "tenant-a")
        await until_policy(client, "tenant-a")
        await client.delete(TENANTS, "tenant-a")
        await until_gone(client, "tenant-a")


async def test_tenant_of_an_old_name_is_another_tenant(client: KubeClient) -> None:
    async with running_operator(client):
        first = await declare(client, "tenant-a")
        await until_policy(client, "tenant-a")
        await client.delete(TENANTS, "tenant-a")
        second = await declare(client, "tenant-a")
        assert first["metadata"]["uid"] != second["metadata"]["uid"]
        await until_policy(client, "tenant-a", tenantUid=second["metadata"]["uid"])


async def test_broken_tenant_of_an_old_name_does_not_go_on_under_the_old_policy(
    client: KubeClient,
) -> None:
    async with running_operator(client) as operator:
        await declare(client, "tenant-a")
        await until_policy(client, "tenant-a")
    assert operator
    # The operator is away while the one goes and the other, which does not resolve, comes.
    await client.delete(TENANTS, "tenant-a")
    await declare(client, "tenant-a", plan="nowhere")
    async with running_operator(client):
        await until_condition(client, "tenant-a", "Accepted", "False")
        await until_gone(client, "tenant-a")


async def test_uid_of_another_tenant_is_not_taken_over(client: KubeClient) -> None:
    async with running_operator(client):
        owner = await declare(client, "owner")
        await until_policy(client, "owner")
        await declare(client, "thief", adoptUid=owner["metadata"]["uid"])
        found = await until_condition(client, "thief", "Accepted", "False")
        assert condition(found, "Accepted")["reason"] == "UidTaken"
        assert await policy(client, "thief") is None
        # It has it as soon as nobody else does.
        await client.delete(TENANTS, "owner")
        await until_condition(client, "thief", "Accepted")
        await until_policy(client, "thief", tenantUid=owner["metadata"]["uid"])


async def versions(client: KubeClient) -> dict[str, str]:
    found = {}
    for kind in (TENANTS, POLICIES):
        objects, _ = await client.list(kind)
        for one in objects:
            found[f"{kind.plural}/{one['metadata']['name']}"] = one["metadata"]["resourceVersion"]
    return found


async def test_restart_and_resync_write_nothing(client: KubeClient) -> None:
    async with replica(client):
        async with running_operator(client):
            await client.apply(PLANS, plan_document("gold"), manager="people")
            for number in range(20):
                await declare(client, f"t-{number}", **({"plan": "gold"} if number % 2 else {}))
            await declare(client, "broken", plan="nowhere")
            for number in range(20):
                await until_condition(client, f"t-{number}", "Ready")
            await until_condition(client, "broken", "Accepted", "False")
        before = await versions(client)
        async with running_operator(client, resync_seconds=0.2) as operator:
            await operator.resync()
            async with asyncio.timeout(10):
                while not operator.queue.idle:
                    await asyncio.sleep(0.02)
            for name in operator.observed.tenants.names():
                operator.queue.add(name)
            async with asyncio.timeout(10):
                while not operator.queue.idle:
                    await asyncio.sleep(0.02)
        assert await versions(client) == before


async def test_edit_costs_one_write_of_the_policy_and_one_of_the_status(
    client: KubeClient,
) -> None:
    async with running_operator(client), replica(client):
        await declare(client, "tenant-a", rateLimits=[ROW | {"requests": 5}])
        settled = await until_condition(client, "tenant-a", "Ready")
        seen: list[str] = []

        async def follow() -> None:
            # Bookmarks come once a minute: none in this time.
            async for event in client.watch(TENANTS, settled["metadata"]["resourceVersion"]):
                assert event.type in ("MODIFIED", "BOOKMARK")
                seen.append(event.object["metadata"]["resourceVersion"])

        following = asyncio.create_task(follow())
        await declare(client, "tenant-a", rateLimits=[ROW | {"requests": 6}])
        done = await until_condition(client, "tenant-a", "Ready")
        async with asyncio.timeout(10):
            while done["metadata"]["resourceVersion"] not in seen:
                await asyncio.sleep(0.01)
        following.cancel()
        # The edit itself, and the status.
        assert len(seen) == 2


async def test_transition_times_stay_where_nothing_changes(client: KubeClient) -> None:
    async with running_operator(client), replica(client):
        await declare(client, "tenant-a", rateLimits=[ROW | {"requests": 5}])
        first = await until_condition(client, "tenant-a", "Ready")
        await declare(client, "tenant-a", rateLimits=[ROW | {"requests": 6}])
        second = await until_condition(client, "tenant-a", "Ready")
        for kind in ("Accepted", "Enforced", "Ready"):
            before, after = condition(first, kind), condition(second, kind)
            assert before["lastTransitionTime"] == after["lastTransitionTime"]
            assert after["observedGeneration"] == before["observedGeneration"] + 1


async def test_people_are_told_of_a_replica_that_does_not_come_along(client: KubeClient) -> None:
    async with (
        running_operator(client, settle_seconds=0.05, overdue_seconds=0.2),
        replica(client, service="ai-gateway", applied_version=1),
    ):
        await declare(client, "tenant-a")
        told: list[Object] = []
        async with asyncio.timeout(20):
            while not told:
                events, _ = await client.list(EVENTS)
                told = [one for one in events if one["reason"] == "NotEnforced"]
                await asyncio.sleep(0.02)
        assert "ai-gateway" in told[0]["message"]


async def test_watch_that_begins_anew_is_followed_by_a_list(client: KubeClient) -> None:
    deaf = False

    def through(told: Any) -> Any:
        def hear(resource: Any, kind: str | None, found: Object) -> None:
            if not deaf:
                told(resource, kind, found)

        return hear

    async with running_operator(client, through=through) as operator:
        await declare(client, "gone")
        await declare(client, "there")
        await until_policy(client, "gone")
        await until_policy(client, "there")
        deaf = True
        await client.delete(TENANTS, "gone")
        # As kopf does after the server has forgotten its version: what is there, and no word of
        # what is not.
        operator.told(TENANTS, None, await tenant(client, "there"))
        await until_gone(client, "gone")


async def test_watch_that_tells_nothing_any_more_is_noticed_and_made_up_for(
    client: KubeClient,
) -> None:
    skipped = 0.0
    deaf = False

    def through(told: Any) -> Any:
        def hear(resource: Any, kind: str | None, found: Object) -> None:
            if not (deaf and resource == TENANTS):
                told(resource, kind, found)

        return hear

    def clock() -> float:
        return monotonic() + skipped

    async with running_operator(client, through=through, clock=clock) as operator:
        await declare(client, "tenant-a", displayName="Before")
        await until_policy(client, "tenant-a", displayName="Before")
        deaf = True
        await declare(client, "tenant-a", displayName="After")
        await operator.resync()
        await until_policy(client, "tenant-a", displayName="After")
        assert await operator.alive() is None
        skipped = 60.0
        assert "the watch of tenants is dead" in (await operator.alive() or "")
