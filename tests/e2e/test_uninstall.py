"""A release that goes and comes back: what was stored is still there, and nothing waits for it.

The last one of these tests: it takes the mesh away from under all others.
"""

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from cluster import RELEASE, Cluster, MakeTenant

pytestmark = pytest.mark.timeout(600)

CHART = str(Path(__file__).parents[2] / "charts/event-mesh")
ALICE = {"name": "Alice Doe", "email": "alice@example.com", "userId": "alice"}


async def found(http: aiohttp.ClientSession, url: str, tenant: str, **query: str) -> list[str]:
    """The users that a search for Alice finds, as soon as it is answered and finds somebody."""
    parameters = {"query": "alice", **query}
    async with asyncio.timeout(120):
        while True:
            try:
                async with http.get(
                    f"{url}/ai/users/search", headers={"X-Tenant-Id": tenant}, params=parameters
                ) as answer:
                    if answer.status == 200 and (users := (await answer.json())["results"]):
                        return [user["userId"] for user in users]
            except (aiohttp.ClientError, TimeoutError):
                pass
            await asyncio.sleep(0.5)


def kept(cluster: Cluster) -> dict[str, Any]:
    """The keys and the volumes of the release, by name."""
    keys = [cluster.get("secret", f"{RELEASE}-{name}-key") for name in ("position", "peer")]
    volumes = cluster.get("pvc")["items"]
    return {one["metadata"]["name"]: one["data"] for one in keys} | {
        one["metadata"]["name"]: one["spec"]["volumeName"] for one in volumes
    }


async def test_release_that_goes_leaves_what_was_stored_and_nobody_waiting(
    cluster: Cluster,
    make_tenant: MakeTenant,
    http: aiohttp.ClientSession,
    users_url: str,
    gateway_url: str,
    tmp_path: Path,
) -> None:
    tenant = await make_tenant()
    headers = {"X-Tenant-Id": tenant}
    async with http.post(f"{users_url}/users", headers=headers, json=ALICE) as answer:
        position = (await answer.json())["position"]
    assert await found(http, gateway_url, tenant, after=position) == ["alice"]
    assert cluster.get("tenant", tenant)["metadata"]["finalizers"]
    before = kept(cluster)
    values = tmp_path / "values.yaml"
    values.write_text(await cluster.helm("get", "values", RELEASE, "-o", "yaml"))
    await cluster.helm("uninstall", RELEASE, "--wait", "--timeout", "4m")
    try:
        # Nothing is left that would keep the namespace from going.
        assert "finalizers" not in cluster.get("tenant", tenant)["metadata"]
        assert cluster.get("deployments,statefulsets,jobs")["items"] == []
        assert kept(cluster) == before
    finally:
        install = ("install", RELEASE, CHART, "--values", str(values), "--wait", "--timeout", "6m")
        await cluster.helm(*install)
    await cluster.call("wait", "--for=condition=Ready", "--timeout=120s", "tenants", "--all")
    assert await found(http, gateway_url, tenant, after=position) == ["alice"]
    assert kept(cluster) == before
