"""The admin port: health for the orchestrator, metrics for the monitoring; never for tenants.

`/livez` says that the process runs its loop and, where it has reasons of its own to be restarted,
that none of them holds; `/readyz` runs the service's checks and names the one that fails, so that
traffic stays away until all hold. Its details say more, and decide nothing. Routes under
`/internal/` are for the other parts of the mesh.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from meshkit.errors import MeshError
from meshkit.events.log import EventLog
from meshkit.telemetry import metrics

Check = Callable[[], Awaitable[str | None]]
"""Returns None where all is well, else what is wrong, in a few words."""

Detail = Callable[[], str]
"""Returns something worth knowing, in a few words."""

_NO_CHECKS: Mapping[str, Check] = MappingProxyType({})
_NO_DETAILS: Mapping[str, Detail] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class AdminPart:
    """What a part of a process adds to its admin port."""

    checks: Mapping[str, Check] = field(default_factory=dict)
    details: Mapping[str, Detail] = field(default_factory=dict)
    routes: Sequence[BaseRoute] = ()


NO_PART = AdminPart()


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


def event_log_check(event_log: EventLog, topics: Collection[str]) -> Check:
    """Return a check that holds once the log was there, and for as long as it takes events into
    these topics.

    Not `at_start` for the topics: one that is missing, or would lose what is accepted, does not
    come right by itself, and has to be seen.
    """
    was_there = at_start(event_log.log_id)

    async def check() -> str | None:
        return await event_log.check(topics) or await was_there()

    return check


def topics_detail(event_log: EventLog) -> Detail:
    """Return a detail that says how the topics differ from what they have to be."""
    return lambda: event_log.remarks() or "as they have to be"


def create_admin_app(
    checks: Mapping[str, Check],
    *,
    alive: Mapping[str, Check] = _NO_CHECKS,
    details: Mapping[str, Detail] = _NO_DETAILS,
    routes: Sequence[BaseRoute] = (),
) -> Starlette:
    """Return the application of the admin port for a service with these readiness checks.

    A failing check among `alive` asks for a restart of the process. `details` are shown beside the
    checks, as they are when somebody asks. `routes` are further ones, for the other parts of the
    mesh.
    """

    async def livez(_: Request) -> Response:
        results = await _results(alive)
        if any(results.values()):
            return JSONResponse(_report("not-alive", results), status_code=503)
        return JSONResponse({"status": "alive"})

    async def readyz(_: Request) -> Response:
        results = await _results(checks)
        ready = not any(results.values())
        report = _report("ready" if ready else "not-ready", results)
        report["details"] = {name: detail() for name, detail in details.items()}
        return JSONResponse(report, status_code=200 if ready else 503)

    async def show_metrics(_: Request) -> Response:
        body, content_type = metrics.exposition()
        return Response(body, headers={"content-type": content_type})

    health = [Route("/livez", livez), Route("/readyz", readyz), Route("/metrics", show_metrics)]
    return Starlette(routes=[*health, *routes])


async def _results(checks: Mapping[str, Check]) -> dict[str, str | None]:
    return {name: await check() for name, check in checks.items()}


def _report(status: str, results: Mapping[str, str | None]) -> dict[str, object]:
    return {
        "status": status,
        "checks": {name: problem or "ok" for name, problem in results.items()},
    }


__all__ = [
    "NO_PART",
    "AdminPart",
    "Check",
    "Detail",
    "at_start",
    "create_admin_app",
    "event_log_check",
    "topics_detail",
]
