"""The admin port's routes that take part in the erasure of a tenant; never for tenants."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from starlette.routing import Route

from meshkit.tenancy.identity import TenantContext
from meshkit.tenancy.source import TenantSource
from meshkit.web.erasure import erasure_route
from user_service.erasing import KeyEraser


def internal_routes(eraser: KeyEraser, tenants: TenantSource) -> Sequence[Route]:
    """Return the routes: `tombstones` ends a tenant's keys (POST) or counts them (GET)."""

    async def tombstone(tenant: TenantContext) -> Mapping[str, object]:
        return asdict(await eraser.tombstone(tenant))

    async def count(tenant: TenantContext) -> Mapping[str, object]:
        return asdict(await eraser.count(tenant))

    return [erasure_route("tombstones", tenants, {"POST": tombstone, "GET": count})]
