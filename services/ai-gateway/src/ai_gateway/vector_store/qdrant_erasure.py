"""Erasing a tenant from a Qdrant server: from every collection of ours, not only the one in use.

`mesh reindex` leaves the collection that it replaces, and has another one half full while it runs:
both hold the tenant's users. Which ones there are is asked of the server each time.
"""

import orjson

from ai_gateway.vector_store import qdrant_wire as wire
from ai_gateway.vector_store.qdrant_counting import count_points
from ai_gateway.vector_store.qdrant_http import QdrantHttp
from ai_gateway.vector_store.qdrant_layout import QdrantLayout
from meshkit.tenancy.identity import TenantContext


async def footprint(http: QdrantHttp, layout: QdrantLayout, tenant: TenantContext) -> int:
    """Return how many points hold anything of the tenant. Raises StoreUnavailable."""
    mine = wire.tenant_filter(tenant)
    return sum([await count_points(http, name, mine) for name in await _collections(layout)])


async def delete_tenant(http: QdrantHttp, layout: QdrantLayout, tenant: TenantContext) -> None:
    """Remove every point and marker of the tenant. Raises StoreUnavailable."""
    body = orjson.dumps({"filter": wire.tenant_filter(tenant)})
    for name in await _collections(layout):
        await http.call("POST", f"/collections/{name}/points/delete?wait=true", body)


async def _collections(layout: QdrantLayout) -> list[str]:
    """Return the collections of this alias, and what it leads to where that has another name."""
    names = {layout.name(number) for number in await layout.numbers()}
    current = await layout.current_name()
    return sorted(names | {current} if current is not None else names)
