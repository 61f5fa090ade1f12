"""The members of a service as one of them sees them, on a real API server."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from kube_api import KubeApi
from meshkit.clock import utc_now
from meshkit.kube.client import KubeClient
from meshkit.kube.connection import KubeConnection
from meshkit.membership.fellows import Fellows
from meshkit.membership.lease import LEASES, Member, lease_document
from operator_rig import grant
from waiting import eventually

pytestmark = pytest.mark.timeout(120)

ME = Member("user-service", "users-1", admin_url="http://10.0.0.1:9081", lease_seconds=3)
OTHER = Member("user-service", "users-2", admin_url="http://10.0.0.2:9081", lease_seconds=3)


@dataclass
class Seen:
    """What a follower has been told."""

    fellows: Fellows
    told: list[Mapping[str, str]] = field(default_factory=list)

    async def becomes(self, *members: Member) -> None:
        """Wait until it was last told of exactly these."""
        wanted = {member.identity: member.admin_url for member in members}
        await eventually(lambda: bool(self.told) and self.told[-1] == wanted, 30)


@asynccontextmanager
async def watching(connection: KubeConnection) -> AsyncIterator[Seen]:
    async with KubeClient(connection) as client:
        seen = Seen(Fellows(client, ME))
        seen.fellows.follow(seen.told.append)
        async with seen.fellows:
            yield seen


async def renew(client: KubeClient, member: Member, ago: float = 0.0) -> None:
    renewed = utc_now() - timedelta(seconds=ago)
    await client.apply(LEASES, lease_document(member, renewed), manager="tests")


async def test_members_of_the_same_service_are_told_as_they_come_and_go(
    kube_api: KubeApi, namespace: str
) -> None:
    async with KubeClient(kube_api.connection(namespace)) as client:
        await renew(client, ME)
        async with watching(kube_api.connection(namespace)) as seen:
            await seen.becomes(ME)
            assert await seen.fellows.check() is None
            await renew(client, Member("ai-gateway", "g-1", admin_url="http://10.0.0.9:9091"))
            await renew(client, OTHER)
            await seen.becomes(ME, OTHER)
            await client.delete(LEASES, OTHER.name)
            await eventually(lambda: OTHER.identity not in seen.told[-1], 30)


async def test_lease_that_is_not_renewed_ends(kube_api: KubeApi, namespace: str) -> None:
    async with (
        KubeClient(kube_api.connection(namespace)) as client,
        watching(kube_api.connection(namespace)) as seen,
    ):
        await renew(client, OTHER)
        await seen.becomes(OTHER)
        async with asyncio.timeout(30):
            while OTHER.identity in seen.told[-1]:
                await renew(client, ME)
                await asyncio.sleep(0.5)
        assert seen.told[-1] == {ME.identity: ME.admin_url}


async def test_nobody_is_told_before_the_first_list_and_those_of_long_ago_are_not_there(
    kube_api: KubeApi, namespace: str
) -> None:
    async with KubeClient(kube_api.connection(namespace)) as client:
        await renew(client, OTHER, ago=3600)
        async with watching(kube_api.connection(namespace)) as seen:
            assert await seen.fellows.check() is not None
            await eventually(lambda: bool(seen.told), 30)
            assert seen.told[0] == {}


async def test_silence_of_the_api_server_is_not_that_everybody_is_gone(own_api: KubeApi) -> None:
    async with KubeClient(own_api.connection()) as client:
        await renew(client, ME)
        await renew(client, OTHER)
        async with watching(own_api.connection()) as seen:
            await seen.becomes(ME, OTHER)
            before = len(seen.told)
            own_api.server.kill()
            # Longer than their Leases last.
            await asyncio.sleep(ME.lease_seconds + 2)
            assert len(seen.told) == before
            await asyncio.to_thread(own_api.start)
            await renew(client, ME)
            # The other is not renewed by now, and has some time to be.
            async with asyncio.timeout(60):
                while OTHER.identity in seen.told[-1]:
                    await renew(client, ME)
                    await asyncio.sleep(0.3)
            assert ME.identity in seen.told[-1]
            assert {} not in seen.told


async def test_replica_that_may_not_see_leases_is_not_ready_and_says_what_it_lacks(
    kube_api: KubeApi, namespace: str
) -> None:
    connection = kube_api.connection(namespace, "guest")
    with capture_logs() as logs:
        async with watching(connection) as seen:
            await eventually(lambda: any("needed" in entry for entry in logs), 30)
            problem = await seen.fellows.check()
    assert problem is not None
    assert 'cannot list resource "leases"' in problem
    (line,) = [entry for entry in logs if entry["event"] == "members_not_watched"]
    assert line["needed"] == "list and watch of leases in coordination.k8s.io"


async def test_members_role_is_enough(kube_api: KubeApi, namespace: str) -> None:
    grant(kube_api, namespace, member="member")
    async with (
        KubeClient(kube_api.connection(namespace)) as client,
        watching(kube_api.connection(namespace, "member")) as seen,
    ):
        await eventually(lambda: bool(seen.told), 30)
        await renew(client, OTHER)
        await seen.becomes(OTHER)
