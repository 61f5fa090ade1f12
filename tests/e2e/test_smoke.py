"""A first proof, on any cluster: one tenant of our own, one user, found by nobody else; then gone.

`make smoke` runs it on whatever cluster kubectl points at, through port-forwards: it needs no more
than the right to apply Tenants, and leaves nothing behind.
"""

import asyncio
import secrets
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest

from builders import tenant_document
from cluster import RELEASE, Cluster, current_context, lack, port_forward

pytestmark = pytest.mark.timeout(240)

ALICE = {"name": "Alice Doe", "email": "alice@example.com"}


@pytest.fixture
def here() -> Cluster:
    """The cluster that kubectl points at."""
    context = current_context()
    if context is None:
        pytest.skip("kubectl points at no cluster")
    if problem := lack(context):
        pytest.skip(problem)
    return Cluster(context)


@pytest.fixture
def smoke_tenant(here: Cluster) -> Iterator[str]:
    """A tenant that is erased afterwards."""
    name = f"smoke-{secrets.token_hex(4)}"
    rates = [
        {"name": n, "requests": 20, "windowSeconds": 1} for n in ("users.write", "users.search")
    ]
    here.apply(tenant_document(name, rateLimits=rates, deletionPolicy="Delete"))
    try:
        here.kubectl("wait", "--for=condition=Ready", "--timeout=60s", f"tenant/{name}")
        yield name
    finally:
        here.kubectl("delete", "tenant", name, "--timeout=120s")


async def test_user_is_created_found_and_erased_with_its_tenant(
    here: Cluster, smoke_tenant: str
) -> None:
    with (
        port_forward(here, f"service/{RELEASE}-user-service", 8081) as users_url,
        port_forward(here, f"service/{RELEASE}-ai-gateway", 8090) as gateway_url,
    ):
        timeout = aiohttp.ClientTimeout(total=10)
        async with aiohttp.ClientSession(timeout=timeout) as http:
            headers = {"X-Tenant-Id": smoke_tenant}
            created = await _answer(
                http, "POST", f"{users_url}/users", 202, headers=headers, json=ALICE
            )
            parameters = {"query": "alise", "after": created["position"]}
            async with asyncio.timeout(60):
                found: dict[str, Any] = {"upToDate": False}
                while not found["upToDate"]:
                    url = f"{gateway_url}/ai/users/search"
                    found = await _answer(http, "GET", url, 200, headers=headers, params=parameters)
            assert [user["userId"] for user in found["results"]] == [created["userId"]]


async def _answer(
    http: aiohttp.ClientSession, method: str, url: str, status: int, **request: Any
) -> dict[str, Any]:
    """Return what is answered with this status, after having waited where that was asked for.

    Whoever comes to own a bucket begins with an empty one: where the replicas have just changed
    even a tenant's first request may have to wait.
    """
    async with asyncio.timeout(60):
        while True:
            async with http.request(method, url, **request) as answer:
                body: dict[str, Any] = await answer.json()
                if answer.status != 429:
                    assert answer.status == status, body
                    return body
            await asyncio.sleep(body["retryAfterSeconds"])
