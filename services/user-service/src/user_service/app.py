"""Composition root of user-service."""

import asyncio
import socket
from collections.abc import Mapping
from importlib.metadata import version

from starlette.applications import Starlette

from meshkit.backends import opened_event_log, position_sealer
from meshkit.events.log import EventLog
from meshkit.events.position import PositionSealer
from meshkit.limits.gcra import RateLimiter
from meshkit.membership.composition import watching_as_member
from meshkit.runtime import run, until
from meshkit.settings import MeshSettings, load_settings
from meshkit.tenancy.identity import TenantContext
from meshkit.tenancy.source import TenantSource
from meshkit.web.admin import at_start, create_admin_app
from meshkit.web.application import Application
from meshkit.web.authentication import Authenticator, HeaderAuthenticator
from meshkit.web.common import with_common_operations
from meshkit.web.erasure import ErasurePart, erasure_routes
from meshkit.web.rate_limits import RateLimits
from meshkit.web.server import bind, serving
from user_service.api import user_operations
from user_service.api_internal import tombstones_route
from user_service.erasing import KeyEraser
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
    limiter: RateLimiter,
    authenticator: Authenticator | None = None,
) -> Application:
    """Return the public application over these adapters."""
    limits = RateLimits(limiter)
    operations = with_common_operations(
        user_operations(UserService(log, sealer), limits),
        service="user-service",
        description=_DESCRIPTION,
        version=version("user-service"),
        limits=limits,
        usage=_usage,
    )
    return Application(
        operations,
        authenticator=authenticator or HeaderAuthenticator(),
        tenants=tenants,
        limits=limits,
    )


def erasure_part(public: Application, log: EventLog, tenants: TenantSource) -> ErasurePart:
    """Return what this service has to do with the erasure of a tenant."""
    return ErasurePart([tombstones_route(KeyEraser(log), tenants)], [public.busy_with])


def create_admin(log: EventLog, tenants: TenantSource, *parts: ErasurePart) -> Starlette:
    """Return the application of the admin port, with the parts of all services of the process."""
    checks = {"event-log": at_start(log.log_id), "tenants": tenants.check}
    details = {"policies": tenants.freshness}
    return create_admin_app(checks, details=details, routes=erasure_routes(tenants, *parts))


async def _usage(_: TenantContext) -> Mapping[str, int]:
    # What is stored is ai-gateway's knowledge; asking it from here would couple the services.
    return {}


async def serve(settings: MeshSettings, stop: asyncio.Event) -> None:
    """Run user-service alone until `stop`."""
    public = bind(settings.host, settings.user_service_port, "MESH_USER_SERVICE_PORT")
    admin = bind(settings.host, settings.admin_port or ADMIN_PORT, "MESH_ADMIN_PORT")
    await until(stop, _run(settings, public, admin))


async def _run(settings: MeshSettings, public: socket.socket, admin: socket.socket) -> None:
    sealer = position_sealer(settings)
    async with (
        opened_event_log(settings) as log,
        watching_as_member(settings, "user-service", admin) as tenants,
    ):
        app = create_app(log=log, tenants=tenants, sealer=sealer, limiter=RateLimiter())
        health = create_admin(log, tenants, erasure_part(app, log, tenants))
        drain = settings.drain_seconds
        async with serving(health, admin), serving(app, public, drain_seconds=drain):
            await asyncio.Event().wait()


def main() -> None:
    """Entry point of the `user-service` command."""
    run(serve, load_settings)
