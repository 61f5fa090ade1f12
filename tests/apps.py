"""Both services over adapters in memory, for tests that speak HTTP without a socket."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from ai_gateway.api_internal import points_route
from ai_gateway.app import create_app as create_gateway
from ai_gateway.counting import StoredUsers
from ai_gateway.embedding.features import FeatureExtractor
from ai_gateway.embedding.hash import HashEmbedder
from ai_gateway.embedding.lexical import LexicalEncoder
from ai_gateway.embedding.vectorizer import Vectorizer
from ai_gateway.indexer import Indexer
from ai_gateway.indexing import create_indexer, indexing
from ai_gateway.search import UserSearch
from ai_gateway.vector_store.memory import MemoryVectorStore
from builders import make_policy
from meshkit.clock import Clock, WallClock, monotonic, utc_now
from meshkit.events.log import EventLog
from meshkit.events.memory_log import MemoryEventLog
from meshkit.events.position import PositionSealer
from meshkit.limits.gcra import RateLimiter
from meshkit.tenancy.policy import TenantPolicy
from meshkit.tenancy.static import StaticTenantSource
from meshkit.tenancy.terminating import TerminatingTenants
from meshkit.usage.accounts import Accounts
from meshkit.web.admin import create_admin_app
from meshkit.web.erasure import ErasurePart, erasure_routes
from user_service.app import create_admin as create_users_admin
from user_service.app import create_app as create_users
from user_service.app import erasure_part
from waiting import eventually


@dataclass
class Mesh:
    """The services' clients and the adapters under them."""

    users: httpx.AsyncClient
    gateway: httpx.AsyncClient
    users_admin: httpx.AsyncClient
    gateway_admin: httpx.AsyncClient
    log: MemoryEventLog
    store: MemoryVectorStore
    tenants: StaticTenantSource

    async def create(self, tenant: str, **user: Any) -> dict[str, Any]:
        """Create a user and return the answer's body; it has to be accepted."""
        body = {"name": "Alice Doe", "email": "alice@example.com"} | user
        headers = {"X-Tenant-Id": tenant}
        answer = await self.users.post("/users/create", headers=headers, json=body)
        assert answer.status_code == 202, answer.text
        accepted: dict[str, Any] = answer.json()
        return accepted

    async def search(self, tenant: str, query: str, **more: str) -> dict[str, Any]:
        """Search and return the answer's body."""
        parameters = {"tenant_id": tenant, "query": query} | more
        found: dict[str, Any] = (
            await self.gateway.get("/ai/users/search", params=parameters)
        ).json()
        return found


@asynccontextmanager
async def running_users(log: EventLog, *policies: TenantPolicy) -> AsyncIterator[httpx.AsyncClient]:
    """user-service alone over a log."""
    accounts = Accounts(log, "users")
    app = create_users(
        log=log,
        tenants=StaticTenantSource(*policies),
        sealer=PositionSealer(bytes(range(32))),
        limiter=RateLimiter(),
        accounts=accounts,
    )
    async with (
        accounts.running(),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://users") as client,
    ):
        yield client


@asynccontextmanager
async def running_mesh(
    *policies: TenantPolicy,
    log: Any = None,
    store: Any = None,
    clock: Clock = monotonic,
    wall_clock: WallClock = utc_now,
) -> AsyncIterator[Mesh]:
    """Both services and the indexer, for as long as the block lasts."""
    log = log or MemoryEventLog()
    store = store or MemoryVectorStore()
    tenants = StaticTenantSource(*(policies or (make_policy("tenant-a"), make_policy("tenant-b"))))
    extractor = FeatureExtractor()
    vectorizer = Vectorizer(HashEmbedder(extractor), LexicalEncoder(extractor))
    sealer = PositionSealer(bytes(range(32)))
    search = UserSearch(store, vectorizer, after_timeout=2.0)
    limiter = RateLimiter()

    fenced = TerminatingTenants(tenants)
    accounts = Accounts(log, "mesh", fenced, clock=clock, wall_clock=wall_clock)
    users = create_users(
        log=log, tenants=tenants, sealer=sealer, limiter=limiter, accounts=accounts
    )
    gateway = create_gateway(
        search=search, tenants=tenants, sealer=sealer, limiter=limiter, accounts=accounts
    )
    count = StoredUsers(log, store, accounts.topic, tenants)

    def make_indexer() -> Indexer:
        return create_indexer(log, store, vectorizer, tenants, count.stored)

    async with AsyncExitStack() as stack:
        await stack.enter_async_context(accounts.running())
        # As a replica is not ready before.
        await eventually(lambda: accounts.topic.is_loaded, seconds=30)
        await stack.enter_async_context(count.counting())
        health = await stack.enter_async_context(indexing(make_indexer))
        points = ErasurePart([points_route(store, tenants)], [health.busy_with])
        routes = erasure_routes(tenants, points)
        gateway_admin = create_admin_app({"indexer": health.check}, routes=routes)
        keys = erasure_part(users, log, tenants, accounts)
        users_app = create_users_admin(log, tenants, accounts, keys)
        apps = (users, gateway, users_app, gateway_admin)
        u, g, users_admin, admin = [
            await stack.enter_async_context(
                httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://mesh")
            )
            for app in apps
        ]
        yield Mesh(u, g, users_admin, admin, log, store, tenants)
