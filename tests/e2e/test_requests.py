"""Users through the Services: created, found by their tenant, and by no other."""

import time
from typing import Any

import aiohttp
import pytest

from cluster import MakeTenant

pytestmark = pytest.mark.timeout(120)

# The freshness that is promised is milliseconds; this bound is for a cluster on two busy cores.
SEARCHABLE_SECONDS = 5.0
ALICE = {"name": "Alice Doe", "email": "alice@example.com"}


async def create(http: aiohttp.ClientSession, url: str, tenant: str) -> Any:
    headers = {"X-Tenant-Id": tenant}
    async with http.post(f"{url}/users/create", headers=headers, json=ALICE) as answer:
        assert answer.status == 202, await answer.text()
        return await answer.json()


async def search(
    http: aiohttp.ClientSession, url: str, tenant: str, **query: str
) -> tuple[int, Any]:
    parameters = {"tenant_id": tenant, "query": "alise", **query}
    async with http.get(f"{url}/ai/users/search", params=parameters) as answer:
        return answer.status, await answer.json()


async def found_in_time(http: aiohttp.ClientSession, url: str, tenant: str, position: str) -> Any:
    """Search until the position is searchable, and return the results."""
    begun = time.monotonic()
    while True:
        status, found = await search(http, url, tenant, after=position)
        assert status == 200, found
        if found["upToDate"]:
            return found["results"]
        assert time.monotonic() - begun < SEARCHABLE_SECONDS, "not searchable in time"


async def test_user_is_found_by_a_misspelt_name(
    make_tenant: MakeTenant, http: aiohttp.ClientSession, users_url: str, gateway_url: str
) -> None:
    tenant = await make_tenant()
    created = await create(http, users_url, tenant)
    results = await found_in_time(http, gateway_url, tenant, created["position"])
    assert [user["userId"] for user in results] == [created["userId"]]


async def test_user_of_one_tenant_is_not_found_by_another(
    make_tenant: MakeTenant, http: aiohttp.ClientSession, users_url: str, gateway_url: str
) -> None:
    one, other = await make_tenant(), await make_tenant()
    created = await create(http, users_url, one)
    assert await found_in_time(http, gateway_url, one, created["position"])
    assert (await search(http, gateway_url, other))[1]["results"] == []
    url = f"{gateway_url}/ai/users/{created['userId']}"
    async with http.get(url, headers={"X-Tenant-Id": other}) as answer:
        assert answer.status == 404


async def test_position_of_one_tenant_is_refused_for_another(
    make_tenant: MakeTenant, http: aiohttp.ClientSession, users_url: str, gateway_url: str
) -> None:
    one, other = await make_tenant(), await make_tenant()
    created = await create(http, users_url, one)
    status, problem = await search(http, gateway_url, other, after=created["position"])
    assert (status, problem["code"]) == (400, "invalid-position")


async def test_tenant_that_nobody_applied_is_refused(
    http: aiohttp.ClientSession, users_url: str
) -> None:
    headers = {"X-Tenant-Id": "e2e-nobody"}
    async with http.post(f"{users_url}/users/create", headers=headers, json=ALICE) as answer:
        assert (answer.status, (await answer.json())["code"]) == (403, "tenant-unknown")
