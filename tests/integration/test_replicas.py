"""Services as real processes with their tenants from an API server: members, until they end."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import aiohttp
import pytest

from kube_api import KubeApi
from meshkit.clock import monotonic, utc_now
from meshkit.kube.client import KubeClient
from meshkit.membership.lease import LEASES, Member, Roster
from meshkit.tenancy.resources import POLICIES
from policy_objects import policy
from processes import free_ports
from replica_process import Replica

pytestmark = pytest.mark.timeout(120)


@dataclass
class Cluster:
    """Some replicas, and who is a member as an operator sees it."""

    client: KubeClient
    replicas: Sequence[Replica]
    roster: Roster = field(default_factory=Roster)

    async def look(self) -> dict[str, Member]:
        """Look at all Leases; return the live members by identity."""
        leases, _ = await self.client.list(LEASES)
        for lease in leases:
            self.roster.saw(lease, monotonic(), utc_now())
        self.roster.keep_only(lease["metadata"]["name"] for lease in leases)
        return {member.identity: member for member in self.roster.live(monotonic())}

    async def live(self, *expected: Replica) -> dict[str, Member]:
        """Wait until exactly these are live."""
        wanted = {replica.identity for replica in expected}
        async with asyncio.timeout(30):
            while (live := await self.look()).keys() != wanted:
                for replica in expected:
                    assert replica.running, replica.log.read_text()[-2000:]
                await asyncio.sleep(0.05)
        return live

    async def enforced(self, tenant: str, version: int) -> None:
        """Wait until every replica is live and obeys a policy of this version."""
        async with asyncio.timeout(30):
            while sum(m.obeys(tenant, version) for m in (await self.look()).values()) < len(
                self.replicas
            ):
                await asyncio.sleep(0.02)

    async def leases(self) -> set[str]:
        """The holders of the Leases that are there, live or not."""
        leases, _ = await self.client.list(LEASES)
        return {lease["spec"]["holderIdentity"] for lease in leases}


@asynccontextmanager
async def started(
    api: KubeApi, folder: Path, *commands: tuple[str, ...], **settings: str
) -> AsyncIterator[Cluster]:
    """These commands, all of them members."""
    namespace = f"n{uuid4().hex}"
    assert api.kubectl("create", "namespace", namespace).returncode == 0
    replicas = [
        Replica(api, namespace, folder / f"replica-{number}", *command, **settings)
        for number, command in enumerate(commands)
    ]
    try:
        for replica in replicas:
            replica.spawn()
        async with KubeClient(api.connection(namespace)) as client:
            cluster = Cluster(client, replicas)
            await cluster.live(*replicas)
            yield cluster
    finally:
        for replica in replicas:
            replica.kill()


@pytest.fixture
async def cluster(kube_api: KubeApi, tmp_path: Path) -> AsyncIterator[Cluster]:
    """Two replicas of user-service."""
    async with started(kube_api, tmp_path, ("user-service",), ("user-service",)) as cluster:
        yield cluster


async def test_change_is_acknowledged_by_every_replica(cluster: Cluster) -> None:
    for number in range(1, 6):
        edited = await cluster.client.apply(POLICIES, policy("tenant-a", number), manager="tests")
        await cluster.enforced("tenant-a", int(edited["metadata"]["resourceVersion"]))


async def test_member_says_where_its_admin_port_is_and_that_says_how_old_policies_are(
    cluster: Cluster,
) -> None:
    async with aiohttp.ClientSession() as http:
        for member in (await cluster.live(*cluster.replicas)).values():
            assert member.service == "user-service"
            async with http.get(f"{member.admin_url}/readyz") as answer:
                health = await answer.json()
            assert health["checks"]["tenants"] == "ok"
            assert health["details"]["policies"].startswith("watched, last heard ")
            async with http.get(f"{member.admin_url}/metrics") as answer:
                assert "mesh_policies_staleness_seconds 0.0" in await answer.text()


async def test_lease_of_a_replica_that_is_stopped_is_gone_by_then(cluster: Cluster) -> None:
    stopped, other = cluster.replicas
    assert await asyncio.to_thread(stopped.stop) == 0
    assert await cluster.leases() == {other.identity}
    events = [json.loads(line)["event"] for line in stopped.log.read_text().splitlines()]
    assert "lease_not_removed" not in events


async def test_lease_of_a_replica_that_is_killed_is_left_to_end(cluster: Cluster) -> None:
    killed, other = cluster.replicas
    killed.kill()
    # Nobody said that it is gone.
    assert killed.identity in await cluster.look()
    await cluster.live(other)
    assert await cluster.leases() == {killed.identity, other.identity}


async def test_replica_that_starts_again_takes_its_old_lease(cluster: Cluster) -> None:
    killed, other = cluster.replicas
    killed.kill()
    await cluster.live(other)
    killed.spawn()
    await cluster.live(killed, other)
    assert await cluster.leases() == {killed.identity, other.identity}


async def test_gateway_and_a_whole_mesh_are_one_member_each(
    kube_api: KubeApi, tmp_path: Path
) -> None:
    async with started(kube_api, tmp_path, ("ai-gateway",), ("mesh", "up")) as cluster:
        members = await cluster.live(*cluster.replicas)
        assert sorted(m.service for m in members.values()) == ["ai-gateway", "mesh"]
        edited = await cluster.client.apply(POLICIES, policy("tenant-a", 2), manager="tests")
        await cluster.enforced("tenant-a", int(edited["metadata"]["resourceVersion"]))
        for replica in cluster.replicas:
            assert await asyncio.to_thread(replica.stop) == 0
        assert await cluster.leases() == set()


async def test_indexer_is_a_member_also_while_its_store_is_away(
    kube_api: KubeApi, tmp_path: Path
) -> None:
    away = f"http://127.0.0.1:{free_ports(1)[0]}"
    async with started(kube_api, tmp_path, ("ai-gateway-indexer",), QDRANT_URL=away) as cluster:
        (member,) = (await cluster.live(*cluster.replicas)).values()
        assert member.service == "ai-gateway-indexer"
        async with (
            aiohttp.ClientSession() as http,
            http.get(f"{member.admin_url}/readyz") as answer,
        ):
            assert "watched, last heard" in (await answer.json())["details"]["policies"]
