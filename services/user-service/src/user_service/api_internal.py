"""The admin port's routes that take part in the erasure of a tenant; never for tenants."""

from collections.abc import Mapping
from dataclasses import asdict

from starlette.routing import Route

from meshkit.tenancy.identity import TenantContext
from meshkit.tenancy.source import TenantSource
from meshkit.web.erasure import erasure_route
from user_service.erasing import KeyEraser


def tombstones_route(eraser: KeyEraser, tenants: TenantSource) -> Route:
    """Return the route `tombstones`: how many keys a tenant has in the log, and their end."""

    async def tombstone(tenant: TenantContext) -> Mapping[str, object]:
        return asdict(await eraser.tombstone(tenant))

    async def count(tenant: TenantContext) -> Mapping[str, object]:
        return asdict(await eraser.count(tenant))

    return erasure_route("tombstones", tenants, {"POST": tombstone, "GET": count})
