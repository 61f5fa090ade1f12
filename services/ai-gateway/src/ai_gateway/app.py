"""Composition root of ai-gateway: the public application, and the process around it."""

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version

from starlette.applications import Starlette

from ai_gateway.api_internal import points_route
from ai_gateway.api_users import user_operations
from ai_gateway.counting import StoredUsers
from ai_gateway.indexing import create_indexer, indexing
from ai_gateway.search import UserSearch
from ai_gateway.stores import create_vectorizer, opened_store
from meshkit.backends import opened_event_log, position_sealer
from meshkit.events.log import USAGE, USER_EVENTS, USER_EVENTS_DLQ, EventLog
from meshkit.events.position import PositionSealer
from meshkit.limits.limiter import Limiter
from meshkit.membership.composition import joining
from meshkit.runtime import run, until
from meshkit.settings import MeshSettings, load_settings
from meshkit.tenancy.identity import TenantContext
from meshkit.tenancy.source import TenantSource
from meshkit.usage.accounts import Accounts
from meshkit.usage.composition import keeping_accounts
from meshkit.usage.windows import STORED_USERS
from meshkit.web.admin import (
    NO_PART,
    AdminPart,
    Check,
    Detail,
    create_admin_app,
    event_log_check,
    topics_detail,
)
from meshkit.web.application import Application
from meshkit.web.authentication import Authenticator, HeaderAuthenticator
from meshkit.web.common import with_common_operations
from meshkit.web.drain import Drain
from meshkit.web.erasure import ErasurePart, erasure_routes
from meshkit.web.overload import InFlight
from meshkit.web.rate_limits import RateLimits
from meshkit.web.server import bind, serving

ADMIN_PORT = 9091
_DESCRIPTION = (
    "Finds the users of one tenant. Pass the `position` of an accepted write as `after` to see it."
)


def create_app(
    *,
    search: UserSearch,
    tenants: TenantSource,
    sealer: PositionSealer,
    limiter: Limiter,
    accounts: Accounts | None = None,
    authenticator: Authenticator | None = None,
    in_flight: InFlight | None = None,
) -> Application:
    """Return the public application over these adapters. Without `accounts` it knows of usage only
    what is stored."""

    async def usage(tenant: TenantContext) -> Mapping[str, int]:
        used = {} if accounts is None else accounts.used(tenant.tenant_uid)
        return {**used, STORED_USERS: await search.stored_users(tenant)}

    limits = RateLimits(limiter)
    operations = with_common_operations(
        user_operations(search, sealer),
        service="ai-gateway",
        description=_DESCRIPTION,
        version=version("ai-gateway"),
        limits=limits,
        usage=usage,
    )
    return Application(
        operations,
        authenticator=authenticator or HeaderAuthenticator(),
        tenants=tenants,
        limits=limits,
        in_flight=in_flight,
    )


@dataclass(frozen=True, slots=True)
class Gateway:
    """A running ai-gateway: its public application, its admin application, and its part in the
    erasure of a tenant, for the admin ports of whatever runs beside it."""

    public: Application
    admin: Starlette
    erasure: ErasurePart


@asynccontextmanager
async def running_gateway(
    settings: MeshSettings,
    *,
    log: EventLog | None,
    tenants: TenantSource,
    limiter: Limiter,
    accounts: Accounts | None = None,
    beside: Sequence[ErasurePart] = (),
    more: AdminPart = NO_PART,
) -> AsyncIterator[Gateway]:
    """Run ai-gateway for as long as the block lasts; with a `log`, and `accounts` over it, it
    indexes it, too. `beside` are the parts of the other services of the process, `more` is what
    else its admin port has."""
    vectorizer = create_vectorizer()
    sealer = position_sealer(settings)
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(opened_store(settings, vectorizer, log))
        checks: dict[str, Check] = {
            "collection": store.check,
            "tenants": tenants.check,
            **more.checks,
        }
        details: dict[str, Detail] = {"policies": tenants.freshness, **more.details}
        busy_with = []
        if log is not None and accounts is not None:
            await tenants.loaded()
            count = StoredUsers(log, store, accounts.topic, tenants)
            await stack.enter_async_context(count.counting())
            health = await stack.enter_async_context(
                indexing(lambda: create_indexer(log, store, vectorizer, tenants, count.stored))
            )
            checks["event-log"] = event_log_check(log, (USER_EVENTS, USER_EVENTS_DLQ, USAGE))
            checks["indexer"] = health.check
            details["counting"] = lambda: count.problem or "ok"
            details["topics"] = topics_detail(log)
            busy_with.append(health.busy_with)
        search = UserSearch(store, vectorizer, after_timeout=settings.after_timeout_seconds)
        public = create_app(
            search=search,
            tenants=tenants,
            sealer=sealer,
            limiter=limiter,
            accounts=accounts,
            in_flight=InFlight(settings.requests_most),
        )
        busy_with.append(public.busy_with)
        part = ErasurePart([points_route(store, tenants)], busy_with)
        routes = [*erasure_routes(tenants, part, *beside), *more.routes]
        yield Gateway(public, create_admin_app(checks, details=details, routes=routes), part)


async def serve(settings: MeshSettings, stop: asyncio.Event) -> None:
    """Run ai-gateway until `stop`. On the embedded engine, which belongs to one process, it
    indexes, too; beside a Qdrant server that is what `ai-gateway-indexer` is for."""
    public = bind(settings.host, settings.ai_gateway_port, "MESH_AI_GATEWAY_PORT")
    admin = bind(settings.host, settings.admin_port or ADMIN_PORT, "MESH_ADMIN_PORT")
    await until(stop, _run(settings, public, admin))


async def _run(settings: MeshSettings, public: socket.socket, admin: socket.socket) -> None:
    async with AsyncExitStack() as stack:
        log = None
        if settings.qdrant_url is None:
            log = await stack.enter_async_context(opened_event_log(settings))
        replica = await stack.enter_async_context(joining(settings, "ai-gateway", admin))
        accounts = None
        if log is not None:
            accounts = await stack.enter_async_context(
                keeping_accounts(settings, "ai-gateway", admin, log, replica.tenants)
            )
        drain = Drain(settings.drain_seconds)
        gateway = await stack.enter_async_context(
            running_gateway(
                settings,
                log=log,
                tenants=replica.tenants,
                limiter=replica.limiter,
                accounts=accounts,
                more=drain.over_readiness(replica.admin),
            )
        )
        await stack.enter_async_context(serving(gateway.admin, admin))
        await stack.enter_async_context(serving(gateway.public, public, drain))
        await asyncio.Event().wait()


def main() -> None:
    """Entry point of the `ai-gateway` command."""
    run(serve, load_settings)
