"""Policies from a real API server: quick, through restarts of the server, and after it forgot."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import pytest

from kube_api import KubeApi
from meshkit.kube.client import KubeClient
from meshkit.kube.objects import Conflict, Expired, KubeUnavailable, NotFound
from meshkit.tenancy.kubernetes import KubernetesTenantSource
from meshkit.tenancy.resources import POLICIES
from policy_objects import make_all, policy, weight
from silent_proxy import silent_proxy
from waiting import eventually

pytestmark = pytest.mark.timeout(120)


@asynccontextmanager
async def followed(api: KubeApi) -> AsyncIterator[tuple[KubeClient, KubernetesTenantSource]]:
    async with KubeClient(api.connection()) as client, KubernetesTenantSource(client) as source:
        yield client, source


async def test_edit_is_in_force_at_once_and_its_version_is_told(kube_api: KubeApi) -> None:
    async with followed(kube_api) as (client, source):
        await source.loaded()
        delays = []
        for number in range(1, 60):
            document = policy("quick", 1 + number % 100)
            applied = await client.apply(POLICIES, document, manager="tests")
            started = time.perf_counter()
            wanted = document["spec"]["weight"]["value"]
            async with asyncio.timeout(10):
                while weight(source, "quick") != wanted:
                    await asyncio.sleep(0.0005)
            delays.append(time.perf_counter() - started)
            # A bookmark may have told a later one meanwhile.
            assert int(source.applied_version) >= int(applied["metadata"]["resourceVersion"])
        delays.sort()
        print(f"answer to enforced: p50 {delays[29] * 1e3:.1f} ms, worst {delays[-1] * 1e3:.1f}")  # noqa: T201
        assert source.staleness == 0
        await client.delete(POLICIES, "quick")
        await eventually(lambda: source.get("quick") is None)


async def test_policy_that_cannot_be_read_leaves_the_last_one_in_force(kube_api: KubeApi) -> None:
    async with followed(kube_api) as (client, source):
        await client.apply(POLICIES, policy("odd", 3), manager="tests")
        await eventually(lambda: weight(source, "odd") == 3)
        # Another tenant's policy under this name: the schema cannot know.
        await client.apply(POLICIES, policy("odd", 4, tenantId="someone"), manager="tests")
        await eventually(lambda: bool(source.problems()))
        assert weight(source, "odd") == 3
        assert source.get("someone") is None
        await client.apply(POLICIES, policy("odd", 5), manager="tests")
        await eventually(lambda: weight(source, "odd") == 5)
        assert source.problems() == ()


async def test_server_that_restarts_costs_no_policy_and_no_change(own_api: KubeApi) -> None:
    async with followed(own_api) as (client, source):
        await client.apply(POLICIES, policy("kept", 3), manager="tests")
        await client.apply(POLICIES, policy("gone", 3), manager="tests")
        await eventually(lambda: len(source.policies()) == 2)
        own_api.server.kill()
        await eventually(lambda: source.staleness > 0)
        assert (weight(source, "kept"), await source.check()) == (3, None)
        assert "s ago; not watched: " in source.freshness()
        with pytest.raises(KubeUnavailable):
            await client.list(POLICIES)
        await asyncio.to_thread(own_api.start)
        await client.delete(POLICIES, "gone")
        await client.apply(POLICIES, policy("kept", 4), manager="tests")
        await eventually(lambda: weight(source, "kept") == 4, 30)
        await eventually(lambda: source.get("gone") is None)
        assert source.staleness == 0
        assert source.freshness().startswith("watched, last heard ")


async def test_process_that_starts_without_a_server_knows_nobody_yet(own_api: KubeApi) -> None:
    async with KubeClient(own_api.connection()) as client:
        await client.apply(POLICIES, policy("tenant-a"), manager="tests")
        own_api.server.kill()
        async with KubernetesTenantSource(client) as source:
            async with asyncio.timeout(10):
                while "does not answer" not in (await source.check() or ""):
                    await asyncio.sleep(0.01)
            assert source.get("tenant-a") is None
            assert source.staleness > 0
            assert source.freshness().startswith("never heard; not watched: ")
            await asyncio.to_thread(own_api.start)
            async with asyncio.timeout(30):
                await source.loaded()
            assert source.get("tenant-a") is not None
            assert await source.check() is None


async def watch_from(client: KubeClient, version: str) -> None:
    """Watch for ever; a server that is still warming up says so first."""
    async with asyncio.timeout(20):
        while True:
            with suppress(KubeUnavailable):
                async for _ in client.watch(POLICIES, version):
                    pass
            await asyncio.sleep(0.1)


async def test_version_that_the_server_has_forgotten_is_told(own_api: KubeApi) -> None:
    async with KubeClient(own_api.connection()) as client:
        await client.apply(POLICIES, policy("tenant-a"), manager="tests")
        with pytest.raises(Expired):
            await watch_from(client, "1")
        source = KubernetesTenantSource(client)
        listed, _ = await client.list(POLICIES)
        assert len(listed) == 1
        # The same as after an outage longer than the server's memory.
        list_once, versions = source._list, iter(["1"])

        async def list_with_an_old_version() -> str:
            version = await list_once()
            return next(versions, version)

        source._list = list_with_an_old_version  # type: ignore[method-assign]
        async with source:
            await source.loaded()
            await client.apply(POLICIES, policy("tenant-a", 9), manager="tests")
            await eventually(lambda: weight(source, "tenant-a") == 9)


async def test_refusals_are_told_apart(kube_api: KubeApi) -> None:
    async with KubeClient(kube_api.connection()) as client:
        with pytest.raises(NotFound):
            await client.get(POLICIES, "nobody")
        await client.delete(POLICIES, "nobody")
        await client.apply(POLICIES, policy("owned", 2), manager="one")
        with pytest.raises(Conflict, match="one"):
            await client.apply(POLICIES, policy("owned", 3), manager="two", force=False)
        document = policy("made")
        await client.create(POLICIES, document)
        with pytest.raises(Conflict):
            await client.create(POLICIES, document)


async def test_more_policies_than_fit_on_a_page_are_all_listed(
    kube_api: KubeApi,
) -> None:
    namespace = "many"
    assert kube_api.kubectl("create", "namespace", namespace).returncode == 0
    async with KubeClient(kube_api.connection(namespace)) as client:
        names = [f"tenant-{number}" for number in range(1200)]
        await make_all(client, names)
        async with KubernetesTenantSource(client) as source:
            await source.loaded()
            assert set(source.policies()) == set(names)


@pytest.mark.timeout(180)
async def test_watch_that_goes_silent_is_noticed_by_the_missing_bookmark(
    kube_api: KubeApi,
) -> None:
    namespace = "silent"
    assert kube_api.kubectl("create", "namespace", namespace).returncode == 0
    direct = kube_api.connection(namespace)
    async with silent_proxy(kube_api.port) as proxy:
        through = replace(direct, url=f"https://127.0.0.1:{proxy.port}")
        async with (
            KubeClient(direct) as writer,
            KubeClient(through) as client,
            KubernetesTenantSource(client) as source,
        ):
            await writer.apply(POLICIES, policy("tenant-a"), manager="tests")
            await source.loaded()
            # By an event, so the watch is open.
            await writer.apply(POLICIES, policy("tenant-a", 2), manager="tests")
            await eventually(lambda: weight(source, "tenant-a") == 2)
            await writer.apply(POLICIES, policy("tenant-a", 3), manager="tests")
            await eventually(lambda: weight(source, "tenant-a") == 3)
            await eventually(lambda: proxy.opened == 2)
            opened = proxy.opened
            proxy.silence()
            began = time.monotonic()
            await writer.apply(POLICIES, policy("tenant-a", 33), manager="tests")
            while weight(source, "tenant-a") != 33:
                assert time.monotonic() - began < 75, source.freshness()
                await asyncio.sleep(0.1)
            assert time.monotonic() - began > 30
            assert source.staleness == 0.0
            # One new connection, for the watch; what was idle is not asked again.
            assert proxy.opened == opened + 1


async def test_requests_over_silent_connections_end_and_the_next_ones_pass(
    kube_api: KubeApi,
) -> None:
    namespace = "silent-calls"
    assert kube_api.kubectl("create", "namespace", namespace).returncode == 0
    direct = kube_api.connection(namespace)
    async with silent_proxy(kube_api.port) as proxy:
        through = replace(direct, url=f"https://127.0.0.1:{proxy.port}")
        async with KubeClient(through) as client:
            await client.apply(POLICIES, policy("tenant-a"), manager="tests")
            await asyncio.gather(*(client.list(POLICIES) for _ in range(5)))
            proxy.silence()
            # As a renewal of a Lease, which cannot wait for as long as a list may take.
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1):
                    await client.apply(POLICIES, policy("tenant-a", 2), manager="tests")
            async with asyncio.timeout(5):
                await client.apply(POLICIES, policy("tenant-a", 3), manager="tests")
                await client.merge_patch(POLICIES, "tenant-a", {"metadata": {"labels": {"a": "b"}}})
                listed, _ = await client.list(POLICIES)
            assert listed[0]["spec"]["weight"]["value"] == 3
