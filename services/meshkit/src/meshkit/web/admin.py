"""The admin port: health for the orchestrator, metrics for the monitoring; never for tenants.

`/livez` says that the process runs its loop; `/readyz` runs the service's checks and names the one
that fails, so that traffic stays away until all hold. Its details say more, and decide nothing.
"""

from collections.abc import Awaitable, Callable, Mapping

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from meshkit.errors import MeshError
from meshkit.telemetry import metrics

Check = Callable[[], Awaitable[str | None]]
"""Returns None where all is well, else what is wrong, in a few words."""


def at_start(attempt: Callable[[], Awaitable[object]]) -> Check:
    """Return a check that holds for good once `attempt` has succeeded.

    For what all replicas share: with it away, each still answers requests with a 503 that says
    what is wrong, which is better than no replica at all. But none is to be ready before it was
    there once.
    """
    succeeded = False

    async def check() -> str | None:
        nonlocal succeeded
        if not succeeded:
            try:
                await attempt()
            except MeshError as error:
                return error.detail
            succeeded = True
        return None

    return check


def create_admin_app(
    checks: Mapping[str, Check], *, details: Mapping[str, Callable[[], str]] = {}
) -> Starlette:
    """Return the application of the admin port for a service with these readiness checks.

    `details` are shown beside them, as they are when somebody asks.
    """

    async def livez(_: Request) -> Response:
        return JSONResponse({"status": "alive"})

    async def readyz(_: Request) -> Response:
        results = {name: await check() for name, check in checks.items()}
        ready = not any(results.values())
        return JSONResponse(
            {
                "status": "ready" if ready else "not-ready",
                "checks": {name: problem or "ok" for name, problem in results.items()},
                "details": {name: detail() for name, detail in details.items()},
            },
            status_code=200 if ready else 503,
        )

    async def show_metrics(_: Request) -> Response:
        body, content_type = metrics.exposition()
        return Response(body, headers={"content-type": content_type})

    return Starlette(
        routes=[Route("/livez", livez), Route("/readyz", readyz), Route("/metrics", show_metrics)]
    )


__all__ = ["Check", "at_start", "create_admin_app"]
