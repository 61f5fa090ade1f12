"""A small client of the mesh's HTTP routes, for the `mesh` command itself."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

TENANT_HEADER = "X-Tenant-Id"


class MeshUnreachable(Exception):
    """Nothing answers at the address; the message says which and what to start."""


class Refused(Exception):
    """The mesh refused a request; `problem` is its problem document."""

    def __init__(self, problem: dict[str, Any], retry_after: str | None) -> None:
        super().__init__(f"{problem.get('code')}: {problem.get('detail')}")
        self.problem = problem
        self.retry_after = retry_after


class MeshClient:
    """Calls user-service and ai-gateway for one tenant after another."""

    def __init__(self, session: aiohttp.ClientSession, users_url: str, gateway_url: str) -> None:
        self._session = session
        self._users_url = users_url
        self._gateway_url = gateway_url

    async def health(self) -> None:
        """Return if both services answer. Raises MeshUnreachable."""
        for url in (self._users_url, self._gateway_url):
            await self._call("GET", f"{url}/health")

    async def limits(self, tenant: str) -> dict[str, Any]:
        """Return what `GET /tenants/self` says. Raises Refused."""
        return await self._call("GET", f"{self._users_url}/tenants/self", tenant=tenant)

    async def create(self, tenant: str, user: dict[str, Any]) -> dict[str, Any]:
        """Create one user. Raises Refused."""
        url = f"{self._users_url}/users/create"
        return await self._call("POST", url, tenant=tenant, json=user)

    async def create_all(
        self, tenant: str, users: Sequence[dict[str, Any]]
    ) -> AsyncIterator[dict[str, Any]]:
        """Create all users by batches at the pace the tenant's limit allows; yield each result."""
        waiting = list(users)
        while waiting:
            url = f"{self._users_url}/users:batch"
            try:
                answer = await self._call("POST", url, tenant=tenant, json=waiting[:500])
            except Refused as refused:
                if refused.retry_after is None:
                    raise
                await asyncio.sleep(float(refused.problem["retryAfterSeconds"]))
                continue
            again = []
            for result in answer["results"]:
                if result["status"] == "accepted":
                    yield result
                elif result["problem"]["code"] == "rate-limited":
                    again.append(waiting[result["index"]])
                else:
                    raise Refused(result["problem"], None)
            waiting = again + waiting[500:]

    async def search(
        self, tenant: str, query: str, limit: int = 5, after: str | None = None
    ) -> dict[str, Any]:
        """Search the users of a tenant. Raises Refused."""
        parameters = {"tenant_id": tenant, "query": query, "limit": str(limit)}
        if after is not None:
            parameters["after"] = after
        url = f"{self._gateway_url}/ai/users/search"
        return await self._call("GET", url, params=parameters)

    async def _call(
        self, method: str, url: str, *, tenant: str | None = None, **options: Any
    ) -> dict[str, Any]:
        headers = {TENANT_HEADER: tenant} if tenant is not None else {}
        try:
            async with self._session.request(method, url, headers=headers, **options) as answer:
                body: dict[str, Any] = await answer.json(content_type=None)
                if answer.status >= 400:
                    raise Refused(body, answer.headers.get("Retry-After"))
                return body
        except aiohttp.ClientConnectionError:
            raise MeshUnreachable(
                f"nothing answers at {url}. Start the mesh with `mesh up` (or `make run`) first."
            ) from None


@asynccontextmanager
async def connected(users_url: str, gateway_url: str) -> AsyncIterator[MeshClient]:
    """Return a client whose connections live as long as the block."""
    async with aiohttp.ClientSession() as session:
        yield MeshClient(session, users_url, gateway_url)
