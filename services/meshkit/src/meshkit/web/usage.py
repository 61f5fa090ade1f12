"""Routes of the admin port about usage: for the operator, never for tenants.

GET            /internal/usage                      what all tenants have used, by uid
GET, DELETE    /internal/tenants/{tenantUid}/usage  the counters of one that is being deleted
"""

from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from meshkit.tenancy.identity import TenantContext
from meshkit.tenancy.source import TenantSource
from meshkit.usage.accounts import Accounts
from meshkit.web.erasure import erasure_route


def usage_route(accounts: Accounts) -> Route:
    """Return the route that tells what tenants have used: those that have a number at all."""

    async def usage(_: Request) -> Response:
        if (problem := await accounts.topic.check()) is not None:
            return JSONResponse({"problem": problem}, status_code=503)
        uids = sorted(accounts.topic.counters.tenants())
        return JSONResponse({"usage": {uid: dict(accounts.used(uid)) for uid in uids}})

    return Route("/internal/usage", usage)


def counters_route(accounts: Accounts, tenants: TenantSource) -> Route:
    """Return the route `usage`: how many counters a tenant has, and their end."""

    async def count(tenant: TenantContext) -> Mapping[str, object]:
        return {"counters": await accounts.left_of(tenant.tenant_uid)}

    async def forget(tenant: TenantContext) -> Mapping[str, object]:
        await accounts.forget(tenant.tenant_uid)
        return await count(tenant)

    return erasure_route("usage", tenants, {"GET": count, "DELETE": forget})


__all__ = ["counters_route", "usage_route"]
