"""The admin port's routes that take part in the erasure of a tenant; never for tenants."""

from collections.abc import Mapping

import structlog
from starlette.routing import Route

from ai_gateway.vector_store.port import StoreRefused, StoreUnavailable, VectorStore
from meshkit.errors import InternalError, MeshError, SearchUnavailable
from meshkit.tenancy.identity import TenantContext
from meshkit.tenancy.source import TenantSource
from meshkit.web.erasure import erasure_route

log = structlog.get_logger()

_RETRY_AFTER_SECONDS = 1.0


def points_route(store: VectorStore, tenants: TenantSource) -> Route:
    """Return the route `points`: how much of a tenant the store holds, and its removal."""

    async def count(tenant: TenantContext) -> Mapping[str, object]:
        try:
            return {"points": await store.footprint(tenant)}
        except (StoreUnavailable, StoreRefused) as error:
            raise _refusal(error) from None

    async def delete(tenant: TenantContext) -> Mapping[str, object]:
        try:
            await store.delete_tenant(tenant)
            # What was reported as erased must not come back with the machine.
            await store.flush()
        except (StoreUnavailable, StoreRefused) as error:
            raise _refusal(error) from None
        log.info("tenant_points_deleted", tenant=tenant.tenant_id)
        return await count(tenant)

    return erasure_route("points", tenants, {"GET": count, "DELETE": delete})


def _refusal(error: StoreUnavailable | StoreRefused) -> MeshError:
    if isinstance(error, StoreRefused):
        log.error("store_refuses", reason=str(error))
        return InternalError(str(error))
    return SearchUnavailable(str(error), retry_after=_RETRY_AFTER_SECONDS)
