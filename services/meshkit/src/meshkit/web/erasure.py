"""Routes of the admin port that take part in the erasure of a tenant.

The admin port knows no caller. So it is not the caller who says that a tenant may be erased: each
process asks its own tenant source, which is fed by the API server or a folder, and acts only on a
uid that this holds to be Terminating. Whoever can reach the port can erase nothing that is not
being erased anyway.

    <method> /internal/tenants/{tenantUid}/<what>

    200  {"tenantUid", …}         409  the uid is not that of a tenant being deleted
    422  no uid                   503  log or store away: the same call may work later
    500  the store refuses, or a fault of ours
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

import structlog
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from meshkit.entropy import random_block
from meshkit.errors import InternalError, MeshError
from meshkit.tenancy.identity import TenantContext
from meshkit.tenancy.source import TenantSource
from meshkit.tenancy.terminating import TerminatingTenants
from meshkit.web.problem import problem_reply

log = structlog.get_logger()

Act = Callable[[TenantContext], Awaitable[Mapping[str, object]]]
"""Does something about a tenant that is being deleted; returns what the answer says beside the uid.

May raise any MeshError."""


@dataclass(frozen=True, slots=True)
class ErasurePart:
    """What a service has to do with erasures: routes of its own, and what tells whether anything of
    a tenant is still under way in it."""

    routes: Sequence[Route] = ()
    busy_with: Sequence[Callable[[str], bool]] = ()


def erasure_routes(tenants: TenantSource, *parts: ErasurePart) -> list[Route]:
    """Return the routes of an admin port for all services of its process together: whichever port
    somebody asks, the answer is about the process."""
    busy_with = [busy for part in parts for busy in part.busy_with]
    routes = [route for part in parts for route in part.routes]
    return [*routes, _draining_route(tenants, busy_with)]


def erasure_route(what: str, tenants: TenantSource, acts: Mapping[str, Act]) -> Route:
    """Return the route `/internal/tenants/{tenantUid}/<what>` with an act for each HTTP method."""
    terminating = TerminatingTenants(tenants)

    async def endpoint(request: Request) -> Response:
        act = acts["GET" if request.method == "HEAD" else request.method]
        try:
            tenant = terminating.require(request.path_params["tenant_uid"])
            said = await act(tenant)
        except MeshError as error:
            return _problem(error)
        except Exception:
            # Whoever asked gets an answer that says so, as on the public port.
            log.exception("erasure_request_failed", route=what)
            return _problem(InternalError("the fault has been logged"))
        return JSONResponse({"tenantUid": tenant.tenant_uid, **said})

    # `path`: whatever stands in the uid's place, slashes too, is held against the uid's grammar.
    path = f"/internal/tenants/{{tenant_uid:path}}/{what}"
    return Route(path, endpoint, methods=list(acts))


def _draining_route(tenants: TenantSource, busy_with: Sequence[Callable[[str], bool]]) -> Route:
    """Return the route `draining`: whether anything of a tenant is still under way that began
    before its policy said that it is leaving."""

    async def draining(tenant: TenantContext) -> Mapping[str, object]:
        return {"busy": any(busy(tenant.tenant_uid) for busy in busy_with)}

    return erasure_route("draining", tenants, {"GET": draining})


def _problem(error: MeshError) -> Response:
    reply = problem_reply(error, random_block()[:8].hex())
    headers = {name.decode(): value.decode() for name, value in reply.headers}
    return Response(reply.body, reply.status, headers, reply.content_type.decode())


__all__ = ["Act", "ErasurePart", "erasure_route", "erasure_routes"]
