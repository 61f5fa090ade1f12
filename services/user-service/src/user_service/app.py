"""Composition root of user-service."""

import asyncio
import socket
from collections.abc import Collection, Mapping
from importlib.metadata import version

from starlette.applications import Starlette

from meshkit.backends import opened_event_log, position_sealer
from meshkit.events.log import USAGE, USER_EVENTS, EventLog
from meshkit.events.position import PositionSealer
from meshkit.limits.limiter import Limiter
from meshkit.membership.composition import joining
from meshkit.runtime import run, until
from meshkit.settings import MeshSettings, load_settings
from meshkit.tenancy.identity import TenantContext
from meshkit.tenancy.source import TenantSource
from meshkit.usage.accounts import Accounts
from meshkit.usage.composition import keeping_accounts
from meshkit.web.admin import NO_PART, AdminPart, create_admin_app, event_log_check, topics_detail
from meshkit.web.application import Application
from meshkit.web.authentication import Authenticator, HeaderAuthenticator
from meshkit.web.common import with_common_operations
from meshkit.web.drain import Drain
from meshkit.web.erasure import ErasurePart, erasure_routes
from meshkit.web.overload import InFlight
from meshkit.web.rate_limits import RateLimits
from meshkit.web.server import bind, serving
from meshkit.web.usage import counters_route, usage_route
from user_service.api import user_operations
from user_service.api_internal import tombstones_route
from user_service.erasing import KeyEraser
from user_service.quotas import WriteQuotas
from user_service.service import UserService

ADMIN_PORT = 9081
_DESCRIPTION = (
    "Accepts users and publishes them as events. An answer of 202 means that the event is durable;"
    " `position` lets a search wait for it."
)


def create_app(
    *,
    log: EventLog,
    tenants: TenantSource,
    sealer: PositionSealer,
    limiter: Limiter,
    accounts: Accounts,
    authenticator: Authenticator | None = None,
    in_flight: InFlight | None = None,
) -> Application:
    """Return the public application over these adapters."""
    limits = RateLimits(limiter)

    async def usage(tenant: TenantContext) -> Mapping[str, int]:
        return accounts.used(tenant.tenant_uid)

    operations = with_common_operations(
        user_operations(UserService(log, sealer), limits, WriteQuotas(accounts)),
        service="user-service",
        description=_DESCRIPTION,
        version=version("user-service"),
        limits=limits,
        usage=usage,
        wall_clock=accounts.wall_clock,
    )
    return Application(
        operations,
        authenticator=authenticator or HeaderAuthenticator(),
        tenants=tenants,
        limits=limits,
        in_flight=in_flight,
    )


def erasure_part(
    public: Application, log: EventLog, tenants: TenantSource, accounts: Accounts
) -> ErasurePart:
    """Return what this service has to do with the erasure of a tenant."""

    def uids_in_force() -> Collection[str]:
        return [policy.tenant_uid for policy in tenants.policies().values()]

    eraser = KeyEraser(log, uids_in_force=uids_in_force)
    routes = [tombstones_route(eraser, tenants), counters_route(accounts, tenants)]
    return ErasurePart(routes, [public.busy_with])


def create_admin(
    log: EventLog,
    tenants: TenantSource,
    accounts: Accounts,
    *parts: ErasurePart,
    more: AdminPart = NO_PART,
) -> Starlette:
    """Return the application of the admin port, with the parts of all services of the process."""
    checks = {
        "event-log": event_log_check(log, (USER_EVENTS, USAGE)),
        "tenants": tenants.check,
        "usage": accounts.topic.check,
        **more.checks,
    }
    details = {"policies": tenants.freshness, "topics": topics_detail(log), **more.details}
    routes = [usage_route(accounts), *erasure_routes(tenants, *parts), *more.routes]
    return create_admin_app(checks, details=details, routes=routes)


async def serve(settings: MeshSettings, stop: asyncio.Event) -> None:
    """Run user-service alone until `stop`."""
    public = bind(settings.host, settings.user_service_port, "MESH_USER_SERVICE_PORT")
    admin = bind(settings.host, settings.admin_port or ADMIN_PORT, "MESH_ADMIN_PORT")
    await until(stop, _run(settings, public, admin))


async def _run(settings: MeshSettings, public: socket.socket, admin: socket.socket) -> None:
    sealer = position_sealer(settings)
    async with (
        opened_event_log(settings) as log,
        joining(settings, "user-service", admin) as replica,
        keeping_accounts(settings, "user-service", admin, log, replica.tenants) as accounts,
    ):
        tenants = replica.tenants
        app = create_app(
            log=log,
            tenants=tenants,
            sealer=sealer,
            limiter=replica.limiter,
            accounts=accounts,
            in_flight=InFlight(settings.requests_most),
        )
        drain = Drain(settings.drain_seconds)
        part = erasure_part(app, log, tenants, accounts)
        more = drain.over_readiness(replica.admin)
        health = create_admin(log, tenants, accounts, part, more=more)
        async with serving(health, admin), serving(app, public, drain):
            await asyncio.Event().wait()


def main() -> None:
    """Entry point of the `user-service` command."""
    run(serve, load_settings)
