"""Deleting a Tenant: the saga on a real API server, interrupted at every one of its writes."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from builders import tenant_document
from meshkit.clock import utc_now
from meshkit.kube.client import KubeClient
from meshkit.kube.objects import Conflict, NotFound, Object, Resource
from meshkit.membership.lease import LEASES, MEMBER_LABEL, Member, lease_document, parse_lease
from meshkit.tenancy.resources import POLICIES, TENANTS
from meshkit.tenancy.spec import ERASE_FINALIZER
from operator_rig import condition, replica, running_operator, tenant, until_condition
from tenant_operator.cluster import CONFIG_MAPS, EVENTS, KubeCluster
from tenant_operator.conditions import DELETING
from tenant_operator.erasers import ErasureWaits, Remains
from tenant_operator.following import Told

pytestmark = pytest.mark.timeout(90)


class World:
    """A mesh with data, as its admin ports show it."""

    def __init__(self) -> None:
        self.points: dict[str, int] = {}
        self.keys: dict[str, int] = {}
        self.busy = 0
        self.away = 0
        self.late = 0
        self.calls: list[str] = []

    def fill(self, uid: str, points: int = 7, keys: int = 5) -> None:
        """Give a tenant some data."""
        self.points[uid], self.keys[uid] = points, keys

    async def draining(self, tenant_uid: str) -> bool:
        """Busy for so many looks."""
        self.calls.append("draining")
        self.busy = max(0, self.busy - 1)
        return self.busy > 0

    async def remains(self, tenant_uid: str) -> Remains:
        """What is left; with `late`, more came in the meantime so many times."""
        if self.away:
            self.away -= 1
            raise ErasureWaits("no replica of ai-gateway is live")
        remains = Remains(self.points.get(tenant_uid, 0), self.keys.get(tenant_uid, 0))
        if remains.nothing and self.late:
            self.late -= 1
            self.points[tenant_uid] = 1
        return remains

    async def erase(self, tenant_uid: str) -> Remains:
        """Remove all of it."""
        self.calls.append("erase")
        self.points.pop(tenant_uid, None)
        self.keys.pop(tenant_uid, None)
        return await self.remains(tenant_uid)


@pytest.fixture
def world() -> World:
    return World()


QUICK: dict[str, Any] = {"settle_seconds": 0.05, "verify_again_seconds": 0.05}


async def declare(client: KubeClient, name: str = "tenant-a", **spec: Any) -> Object:
    document = tenant_document(name, **({"deletionPolicy": "Delete"} | spec))
    return await client.apply(TENANTS, document, manager="people")


async def until_deleted(client: KubeClient, name: str = "tenant-a") -> None:
    async with asyncio.timeout(30):
        while True:
            try:
                await client.get(TENANTS, name)
            except NotFound:
                return
            await asyncio.sleep(0.01)


async def policy_state(client: KubeClient, name: str = "tenant-a") -> str | None:
    try:
        state: str = (await client.get(POLICIES, name))["spec"]["state"]
    except NotFound:
        return None
    return state


async def test_replica_that_no_watch_has_told_of_yet_is_waited_for(
    client: KubeClient, world: World
) -> None:
    untold = {"late"}

    def behind(told: Told) -> Told:
        def without_the_late_one(resource: Resource, kind: str | None, found: Object) -> None:
            if resource != LEASES or found["spec"]["holderIdentity"] not in untold:
                told(resource, kind, found)

        return without_the_late_one

    # It was there before the fence, and does not know of that yet.
    late = Member("user-service", "late", applied_version=1, lease_seconds=3600)
    running = running_operator(client, erasers=world, through=behind, **QUICK)
    async with running, replica(client):
        made = await declare(client)
        world.fill(made["metadata"]["uid"])
        await until_condition(client, "tenant-a", "Ready")
        await client.apply(LEASES, lease_document(late, utc_now()), manager="late")
        await client.delete(TENANTS, "tenant-a")
        async with asyncio.timeout(20):
            while condition(await tenant(client, "tenant-a"), DELETING).get("reason") != "Fencing":
                await asyncio.sleep(0.01)
            fenced = (await client.get(POLICIES, "tenant-a"))["metadata"]["resourceVersion"]
            while int(fenced) > await acknowledged_by_others(client):
                await asyncio.sleep(0.01)
        assert not world.calls
        untold.clear()
        obeys = replace(late, applied_version=int(fenced))
        await client.apply(LEASES, lease_document(obeys, utc_now()), manager="late")
        await until_deleted(client)
        assert "erase" in world.calls


async def acknowledged_by_others(client: KubeClient) -> int:
    """The version that the replica with a working watch obeys."""
    leases, _ = await client.list(LEASES, labels=MEMBER_LABEL)
    members = (parse_lease(lease) for lease in leases)
    return max(one.applied_version for one in members if one is not None and one.identity != "late")


async def test_data_is_erased_before_the_tenant_goes_and_a_report_stays(
    client: KubeClient, world: World
) -> None:
    async with running_operator(client, erasers=world, **QUICK), replica(client) as service:
        made = await declare(client)
        uid = made["metadata"]["uid"]
        world.fill(uid)
        world.fill("another", 3, 3)
        held = await until_condition(client, "tenant-a", "Ready")
        assert held["metadata"]["finalizers"] == [ERASE_FINALIZER]
        await client.delete(TENANTS, "tenant-a")
        await until_deleted(client)
        assert (world.points, world.keys) == ({"another": 3}, {"another": 3})
        report = (await client.get(CONFIG_MAPS, f"erasure-tenant-a-{uid[:8]}"))["data"]
        assert (report["uid"], report["pointsErased"], report["keysErased"]) == (uid, "7", "5")
        assert report["verifiedAt"] >= report["startedAt"]
        events, _ = await client.list(EVENTS)
        assert "Erased" in {event["reason"] for event in events}
        async with asyncio.timeout(10):
            while service.get("tenant-a") is not None or await policy_state(client):
                await asyncio.sleep(0.01)


async def test_nothing_is_erased_before_every_replica_refuses_the_tenant(
    client: KubeClient, world: World
) -> None:
    async with running_operator(client, erasers=world, **QUICK), replica(client):
        await declare(client)
        await until_condition(client, "tenant-a", "Ready")
        async with replica(client, service="ai-gateway", applied_version=1):
            await client.delete(TENANTS, "tenant-a")
            found = await until_condition(client, "tenant-a", "Deleting")
            async with asyncio.timeout(10):
                while (
                    condition(found, "Deleting")["message"]
                    != "1/2 live replicas refuse its traffic"
                ):
                    found = await client.get(TENANTS, "tenant-a")
            assert condition(found, "Deleting")["reason"] == "Fencing"
            assert await policy_state(client) == "Terminating"
            assert world.calls == []


async def test_events_under_way_are_stored_before_anything_is_erased(
    client: KubeClient, world: World
) -> None:
    world.busy = 4
    async with running_operator(client, erasers=world, **QUICK), replica(client):
        world.fill((await declare(client))["metadata"]["uid"])
        await until_condition(client, "tenant-a", "Ready")
        await client.delete(TENANTS, "tenant-a")
        await until_deleted(client)
    assert world.calls[:5] == ["draining"] * 4 + ["draining"]
    assert world.calls.index("erase") >= 4


async def test_what_comes_late_is_found_by_the_second_look(
    client: KubeClient, world: World
) -> None:
    world.late = 2
    async with running_operator(client, erasers=world, **QUICK), replica(client):
        world.fill((await declare(client))["metadata"]["uid"])
        await until_condition(client, "tenant-a", "Ready")
        await client.delete(TENANTS, "tenant-a")
        await until_deleted(client)
    assert world.points == {}
    assert world.calls.count("erase") >= 2


async def test_service_that_is_away_holds_up_its_own_tenant_only(
    client: KubeClient, world: World
) -> None:
    async with running_operator(client, erasers=world, **QUICK), replica(client):
        await declare(client)
        await until_condition(client, "tenant-a", "Ready")
        world.away = 3
        await client.delete(TENANTS, "tenant-a")
        found = await until_condition(client, "tenant-a", "Deleting")
        async with asyncio.timeout(10):
            while condition(found, "Deleting")["reason"] != "Waiting":
                found = await client.get(TENANTS, "tenant-a")
        assert "ai-gateway" in condition(found, "Deleting")["message"]
        await declare(client, "tenant-b", deletionPolicy="Retain")
        await until_condition(client, "tenant-b", "Ready")
        await until_deleted(client)


async def test_retained_tenant_goes_at_once_and_erases_nothing(
    client: KubeClient, world: World
) -> None:
    async with running_operator(client, erasers=world, **QUICK), replica(client):
        made = await declare(client, deletionPolicy="Retain")
        world.fill(made["metadata"]["uid"])
        await until_condition(client, "tenant-a", "Ready")
        await client.delete(TENANTS, "tenant-a")
        await until_deleted(client)
        async with asyncio.timeout(10):
            while await policy_state(client):
                await asyncio.sleep(0.01)
    assert world.calls == []
    assert world.points == {made["metadata"]["uid"]: 7}


async def test_retained_data_is_erased_with_a_tenant_that_adopts_it_for_that(
    client: KubeClient, world: World
) -> None:
    async with running_operator(client, erasers=world, **QUICK), replica(client):
        world.fill("retained")
        world.fill("another", 3, 3)
        spec = {"adoptUid": "retained", "suspended": True}
        own = (await declare(client, "leaving", **spec))["metadata"]["uid"]
        await until_condition(client, "leaving", "Enforced")
        await client.delete(TENANTS, "leaving")
        await until_deleted(client, "leaving")
        assert (world.points, world.keys) == ({"another": 3}, {"another": 3})
        report = (await client.get(CONFIG_MAPS, f"erasure-leaving-{own[:8]}"))["data"]
        assert (report["uid"], report["keysErased"]) == ("retained", "5")


async def test_changing_ones_mind_sets_and_removes_the_finalizer(
    client: KubeClient, world: World
) -> None:
    async with running_operator(client, erasers=world, **QUICK):
        await declare(client)
        for wanted, policy in (([ERASE_FINALIZER], "Delete"), (None, "Retain")):
            await declare(client, deletionPolicy=policy)
            async with asyncio.timeout(10):
                while (await client.get(TENANTS, "tenant-a"))["metadata"].get(
                    "finalizers"
                ) != wanted:
                    await asyncio.sleep(0.01)


async def test_data_is_kept_where_somebody_says_so_before_the_operator_is_back(
    client: KubeClient, world: World
) -> None:
    async with running_operator(client, erasers=world, **QUICK):
        made = await declare(client)
        await until_condition(client, "tenant-a", "Accepted")
    world.fill(made["metadata"]["uid"])
    await client.delete(TENANTS, "tenant-a")
    await declare(client, deletionPolicy="Retain")
    async with running_operator(client, erasers=world, **QUICK), replica(client):
        await until_deleted(client)
    assert world.calls == []
    assert world.points == {made["metadata"]["uid"]: 7}


async def test_policy_that_has_changed_since_it_was_seen_is_not_removed(
    client: KubeClient, world: World
) -> None:
    async with running_operator(client, erasers=world, **QUICK):
        await declare(client)
        await until_condition(client, "tenant-a", "Accepted")
        seen = await client.get(POLICIES, "tenant-a")
        await declare(client, suspended=True)
        async with asyncio.timeout(10):
            while await policy_state(client) != "Suspended":
                await asyncio.sleep(0.01)
    with pytest.raises(Conflict):
        await KubeCluster(client).delete_policy(seen)
    assert await policy_state(client) == "Suspended"


async def test_tenant_that_was_never_accepted_can_be_deleted(
    client: KubeClient, world: World
) -> None:
    async with running_operator(client, erasers=world, **QUICK), replica(client):
        await declare(client, plan="nowhere")
        await until_condition(client, "tenant-a", "Accepted", "False")
        await client.delete(TENANTS, "tenant-a")
        await until_deleted(client)


class Crash(Exception):
    """The operator dies here."""


class CrashingCluster(KubeCluster):
    """Dies in the middle of the n-th write: before it, or when it has taken effect."""

    def __init__(self, client: KubeClient, at: int, after: bool) -> None:
        super().__init__(client)
        self.left = at
        self.after = after
        self.dead = asyncio.Event()

    def __getattribute__(self, name: str) -> Any:
        method = super().__getattribute__(name)
        if name not in ("apply_policy", "apply_status", "hold_until_erased", "keep_report", "tell"):
            return method

        async def write(*arguments: Any, **options: Any) -> Any:
            if self.dead.is_set():
                await asyncio.Event().wait()
            self.left -= 1
            if self.left > 0:
                return await method(*arguments, **options)
            if self.after:
                await method(*arguments, **options)
            self.dead.set()
            return await asyncio.Event().wait()

        return write


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_operator_that_dies_at_any_write_of_the_saga_goes_on_where_it_was(
    client: KubeClient, world: World, after: bool
) -> None:
    async with replica(client):
        crashes = 0
        for at in range(1, 30):
            async with running_operator(client, erasers=world, **QUICK):
                uid = (await declare(client))["metadata"]["uid"]
                world.fill(uid)
                await until_condition(client, "tenant-a", "Ready")
            await client.delete(TENANTS, "tenant-a")
            crashing = CrashingCluster(client, at, after)
            async with running_operator(client, cluster=crashing, erasers=world, **QUICK):
                deleted = asyncio.create_task(until_deleted(client))
                died = asyncio.create_task(crashing.dead.wait())
                await asyncio.wait([deleted, died], return_when=asyncio.FIRST_COMPLETED)
                for task in (deleted, died):
                    task.cancel()
                if not crashing.dead.is_set():
                    break
            crashes += 1
            async with running_operator(client, erasers=world, **QUICK):
                await until_deleted(client)
            assert (world.points, world.keys) == ({}, {})
            report = (await client.get(CONFIG_MAPS, f"erasure-tenant-a-{uid[:8]}"))["data"]
            assert (report["pointsErased"], report["keysErased"]) == ("7", "5")
        # The fence, what was found, what is left, looking again, the report, the event, letting go.
        assert crashes >= 7
