"""Members on a real API server: what they acknowledge, what it costs, and how they leave."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from kube_api import KubeApi
from meshkit.kube.client import KubeClient
from meshkit.kube.connection import KubeConnection
from meshkit.kube.objects import NotFound
from meshkit.membership.lease import LEASES, Member, lease_document, parse_lease
from meshkit.membership.member import Membership
from meshkit.tenancy.kubernetes import KubernetesTenantSource
from meshkit.tenancy.resources import POLICIES
from policy_objects import make_all, policy, weight
from waiting import eventually

pytestmark = pytest.mark.timeout(120)

MEMBER = Member("user-service", "users-1", admin_url="http://10.0.0.1:9081")


@dataclass
class Replica:
    """A member in this process, and how to look at it from outside."""

    client: KubeClient
    source: KubernetesTenantSource
    member: Member = MEMBER

    async def lease(self) -> Member | None:
        """What its Lease says, None where there is none."""
        try:
            return parse_lease(await self.client.get(LEASES, self.member.name))
        except NotFound:
            return None

    async def edit(self, name: str, number: int, **changes: Any) -> int:
        """Write a policy, and return its version."""
        document = policy(name, number, **changes)
        written = await self.client.apply(POLICIES, document, manager="tests")
        return int(written["metadata"]["resourceVersion"])

    async def acknowledges(self, version: int) -> Member:
        """Wait until a version is acknowledged."""
        async with asyncio.timeout(30):
            while True:
                lease = await self.lease()
                if lease is not None and lease.applied_version >= version:
                    return lease
                await asyncio.sleep(0.01)


@asynccontextmanager
async def joined(connection: KubeConnection, member: Member = MEMBER) -> AsyncIterator[Replica]:
    """A replica that is a member for as long as the block lasts."""
    async with (
        KubeClient(connection) as client,
        KubernetesTenantSource(client) as source,
        Membership(client, source, member),
    ):
        yield Replica(client, source, member)


def counted(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"mesh_member_{name}_total", labels) or 0.0


async def test_change_is_acknowledged_with_its_version(kube_api: KubeApi, namespace: str) -> None:
    async with joined(kube_api.connection(namespace)) as replica:
        for number in range(1, 20):
            version = await replica.edit("tenant-a", number)
            acknowledged = await replica.acknowledges(version)
            assert acknowledged.obeys("tenant-a", version)
            assert weight(replica.source, "tenant-a") == number
        assert replace(acknowledged, applied_version=0) == MEMBER


async def test_removed_policy_is_acknowledged_too(kube_api: KubeApi, namespace: str) -> None:
    async with joined(kube_api.connection(namespace)) as replica:
        version = await replica.edit("tenant-a", 1)
        await replica.acknowledges(version)
        await replica.client.delete(POLICIES, "tenant-a")
        await replica.acknowledges(version + 1)
        assert replica.source.get("tenant-a") is None


async def test_change_that_is_not_in_force_here_is_not_acknowledged(
    kube_api: KubeApi, namespace: str
) -> None:
    async with joined(kube_api.connection(namespace), replace(MEMBER, lease_seconds=3)) as replica:
        await replica.acknowledges(await replica.edit("tenant-a", 1))
        # It hears no more of policies, but renews its Lease.
        await replica.source.close()
        version = await replica.edit("tenant-a", 2)
        renewed = counted("acknowledgements") + 2
        await eventually(lambda: counted("acknowledgements") >= renewed)
        lease = await replica.lease()
        assert lease is not None
        assert not lease.obeys("tenant-a", version)


async def test_policy_that_cannot_be_read_is_heard_of_and_not_obeyed(
    kube_api: KubeApi, namespace: str
) -> None:
    async with joined(kube_api.connection(namespace)) as replica:
        await replica.acknowledges(await replica.edit("odd", 1))
        version = await replica.edit("odd", 2, tenantId="someone")
        lease = await replica.acknowledges(version)
        assert lease.not_applied == {"odd"}
        assert not lease.obeys("odd", version)
        version = await replica.edit("odd", 3)
        lease = await replica.acknowledges(version)
        assert lease.obeys("odd", version)


async def test_burst_costs_a_handful_of_writes_and_is_acknowledged_to_its_end(
    kube_api: KubeApi, namespace: str
) -> None:
    member = replace(MEMBER, lease_seconds=60)
    async with joined(kube_api.connection(namespace), member) as replica:
        await replica.acknowledges(await replica.edit("tenant-a", 1))
        started, before = time.monotonic(), counted("acknowledgements")
        versions = await make_all(replica.client, [f"tenant-{number}" for number in range(1000)])
        await replica.acknowledges(max(versions))
        seconds, writes = time.monotonic() - started, counted("acknowledgements") - before
        print(f"1,000 policies in {seconds:.1f} s: {writes:.0f} writes")  # noqa: T201
        assert len(replica.source.policies()) == 1001
        # What the pace promises for half a minute, and a slow machine may take that long.
        assert writes <= 25


async def test_lease_is_there_once_policies_were_listed_and_gone_after_an_orderly_stop(
    kube_api: KubeApi, namespace: str
) -> None:
    async with KubeClient(kube_api.connection(namespace)) as client:
        source = KubernetesTenantSource(client)
        async with Membership(client, source, MEMBER):
            replica = Replica(client, source)
            assert await replica.lease() is None
            await source.start()
            await replica.acknowledges(1)
        assert await replica.lease() is None
        await source.close()


async def test_lease_that_somebody_removed_is_there_again_after_a_renewal(
    kube_api: KubeApi, namespace: str
) -> None:
    member = replace(MEMBER, lease_seconds=3)
    async with joined(kube_api.connection(namespace), member) as replica:
        await replica.acknowledges(1)
        await replica.client.delete(LEASES, member.name)
        await replica.acknowledges(1)


async def test_lease_of_a_pod_belongs_to_it(kube_api: KubeApi, namespace: str) -> None:
    pod = {"apiVersion": "v1", "kind": "Pod", "name": "users-1", "uid": str(uuid4())}
    member = replace(MEMBER, owner=pod)
    async with joined(kube_api.connection(namespace), member) as replica:
        lease = await replica.acknowledges(1)
        assert lease.owner == pod


async def test_server_that_comes_back_hears_what_was_missed(own_api: KubeApi) -> None:
    async with joined(own_api.connection()) as replica:
        await replica.acknowledges(await replica.edit("tenant-a", 1))
        failed = counted("acknowledgement_failures", reason="unavailable")
        own_api.server.kill()
        await eventually(
            lambda: counted("acknowledgement_failures", reason="unavailable") > failed, 30
        )
        assert weight(replica.source, "tenant-a") == 1
        await asyncio.to_thread(own_api.start)
        version = await replica.edit("tenant-a", 2)
        assert (await replica.acknowledges(version)).obeys("tenant-a", version)


async def account(api: KubeApi, namespace: str, *rules: dict[str, Any]) -> KubeConnection:
    """A connection as a service account that may do what these rules say."""
    metadata = {"name": "service", "namespace": namespace}
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": metadata}
    assert api.apply(role | {"rules": list(rules)}).returncode == 0
    for command in (
        ("create", "serviceaccount", "service"),
        (
            "create",
            "rolebinding",
            "service",
            "--role=service",
            f"--serviceaccount={namespace}:service",
        ),
    ):
        assert api.kubectl("-n", namespace, *command).returncode == 0
    issued = api.kubectl("-n", namespace, "create", "token", "service")
    assert issued.returncode == 0, issued.stderr

    async def token() -> str:
        return issued.stdout.strip()

    return replace(api.connection(namespace), token=token)


READ_POLICIES = {
    "apiGroups": ["mesh.distributedai.io"],
    "resources": ["tenantpolicies"],
    "verbs": ["list", "watch"],
}
OWN_LEASE = {
    "apiGroups": ["coordination.k8s.io"],
    "resources": ["leases"],
    "verbs": ["create", "patch", "delete"],
}


async def test_service_needs_no_more_permissions_than_these(
    kube_api: KubeApi, namespace: str
) -> None:
    connection = await account(kube_api, namespace, READ_POLICIES, OWN_LEASE)
    pod = {"apiVersion": "v1", "kind": "Pod", "name": "users-1", "uid": str(uuid4())}
    member = replace(MEMBER, owner=pod)
    async with KubeClient(kube_api.connection(namespace)) as master:
        async with joined(connection, member) as replica:
            seen = Replica(master, replica.source)
            version = await seen.edit("tenant-a", 1)
            assert (await seen.acknowledges(version)).obeys("tenant-a", version)
        assert await seen.lease() is None


async def test_replica_that_may_not_acknowledge_obeys_and_says_once_what_it_lacks(
    kube_api: KubeApi, namespace: str
) -> None:
    connection = await account(kube_api, namespace, READ_POLICIES)
    failed = counted("acknowledgement_failures", reason="refused")
    with capture_logs() as logs:
        async with KubeClient(kube_api.connection(namespace)) as master, joined(connection) as told:
            await Replica(master, told.source).edit("tenant-a", 3)
            await eventually(lambda: weight(told.source, "tenant-a") == 3)
            await eventually(
                lambda: counted("acknowledgement_failures", reason="refused") >= failed + 3
            )
            assert await told.source.check() is None
    (line,) = [entry for entry in logs if entry["event"] == "policies_not_acknowledged"]
    assert 'cannot patch resource "leases"' in line["reason"]
    assert line["needed"] == "create, patch and delete of leases in coordination.k8s.io"


async def test_lease_of_an_older_life_does_not_outlive_the_first_write_of_the_next(
    kube_api: KubeApi, namespace: str
) -> None:
    async with KubeClient(kube_api.connection(namespace)) as client:
        old = replace(MEMBER, applied_version=2**62, not_applied=frozenset({"odd"}))
        document = lease_document(old, datetime(2026, 1, 1, tzinfo=UTC))
        await client.apply(LEASES, document, manager="event-mesh-member")
    async with joined(kube_api.connection(namespace)) as replica:
        async with asyncio.timeout(10):
            while (lease := await replica.lease()) is None or lease.not_applied:
                await asyncio.sleep(0.01)
        assert 0 < lease.applied_version < 2**62
