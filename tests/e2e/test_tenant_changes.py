"""A Tenant that is edited: what its status says is in force, is in force on every replica."""

import asyncio
import json
from typing import Any

import aiohttp
import pytest

from cluster import Cluster, MakeTenant

pytestmark = pytest.mark.timeout(180)

ALICE = {"name": "Alice Doe", "email": "alice@example.com"}
# Each on a connection of its own, so that kube-proxy asks every replica.
ATTEMPTS = 30


async def patched(cluster: Cluster, tenant: str, **spec: Any) -> None:
    """Edit a Tenant and wait until its status says that every replica obeys."""
    await cluster.call("patch", "tenant", tenant, "--type=merge", "-p", json.dumps({"spec": spec}))
    await cluster.call("wait", "--for=condition=Enforced", "--timeout=60s", f"tenant/{tenant}")


async def answers(url: str, tenant: str) -> set[tuple[int, str]]:
    """Write users over connections of their own; return what came of it, status and code."""
    seen = set()
    for _ in range(ATTEMPTS):
        async with (
            aiohttp.ClientSession() as http,
            http.post(f"{url}/users", headers={"X-Tenant-Id": tenant}, json=ALICE) as answer,
        ):
            seen.add((answer.status, (await answer.json()).get("code", "")))
    return seen


async def test_new_limit_is_in_force_on_every_replica(
    cluster: Cluster, make_tenant: MakeTenant, users_url: str
) -> None:
    tenant = await make_tenant()
    assert await answers(users_url, tenant) == {(202, "")}
    nothing = [{"name": "users.write", "requests": 0, "windowSeconds": 1}]
    await patched(cluster, tenant, rateLimits=nothing)
    assert await answers(users_url, tenant) == {(429, "rate-limited")}
    await patched(cluster, tenant, rateLimits=[{"name": "users.write", "unlimited": True}])
    assert await answers(users_url, tenant) == {(202, "")}


async def test_suspended_tenant_is_refused_until_it_is_resumed(
    cluster: Cluster, make_tenant: MakeTenant, users_url: str
) -> None:
    tenant = await make_tenant()
    await patched(cluster, tenant, suspended=True)
    assert await answers(users_url, tenant) == {(403, "tenant-suspended")}
    await patched(cluster, tenant, suspended=False)
    assert await answers(users_url, tenant) == {(202, "")}


async def test_deleted_tenant_is_erased_with_a_report(
    cluster: Cluster,
    make_tenant: MakeTenant,
    http: aiohttp.ClientSession,
    users_url: str,
    gateway_url: str,
) -> None:
    tenant = await make_tenant()
    uid = cluster.get("tenant", tenant)["metadata"]["uid"]
    await answers(users_url, tenant)
    await stored(http, gateway_url, tenant, ATTEMPTS)
    await cluster.call("delete", "tenant", tenant, "--timeout=120s")
    (report,) = cluster.get("configmaps", "-l", f"mesh.distributedai.io/erasure={tenant}")["items"]
    erased = {name: report["data"][name] for name in ("uid", "pointsErased", "keysErased")}
    assert erased == {"uid": uid, "pointsErased": str(ATTEMPTS), "keysErased": str(ATTEMPTS)}
    assert await answers(users_url, tenant) == {(403, "tenant-unknown")}


async def stored(http: aiohttp.ClientSession, url: str, tenant: str, users: int) -> None:
    """Return once this many users of the tenant are searchable."""
    async with asyncio.timeout(30):
        while True:
            headers = {"X-Tenant-Id": tenant}
            async with http.get(f"{url}/tenants/self", headers=headers) as answer:
                quotas = (await answer.json())["quotas"]
            if {"storedUsers": users} in [{q["name"]: q.get("used")} for q in quotas]:
                return
            await asyncio.sleep(0.1)
