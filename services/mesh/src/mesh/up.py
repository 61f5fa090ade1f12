"""`mesh up`: the whole mesh in one process, for one machine.

Both services, the indexer and the tenant watch share one event loop and one set of buckets; the
vector engine runs in a child process, because it holds the interpreter in every call. Where the
settings name a Kafka or a Qdrant server, these take the place of the embedded engines. Stopping
goes the other way round: ports first, then the indexer commits, then log and engine close.
"""

import asyncio
import contextlib
import socket
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from ai_gateway.app import ADMIN_PORT as GATEWAY_ADMIN_PORT
from ai_gateway.app import running_gateway
from meshkit.backends import kafka_connection, opened_event_log, position_sealer
from meshkit.errors import LogUnavailable, StartError
from meshkit.membership.composition import joining
from meshkit.runtime import until
from meshkit.settings import MeshSettings
from meshkit.tenancy.source import TenantSource
from meshkit.usage.composition import keeping_accounts
from meshkit.web.overload import InFlight
from meshkit.web.server import bind, serving
from user_service.app import ADMIN_PORT as USERS_ADMIN_PORT
from user_service.app import create_admin, create_app, erasure_part


async def serve(settings: MeshSettings, stop: asyncio.Event) -> None:
    """Run everything until `stop`. Raises StartError where something is in the way."""
    host = settings.host
    # Ports are taken before anything is opened: the likeliest problem shows at once.
    users_port = bind(host, settings.user_service_port, "MESH_USER_SERVICE_PORT")
    gateway_port = bind(host, settings.ai_gateway_port, "MESH_AI_GATEWAY_PORT")
    # Two services in one process have two admin ports, as far apart as they are by default.
    first = settings.admin_port or USERS_ADMIN_PORT
    users_admin = bind(host, first, "MESH_ADMIN_PORT")
    gateway_admin = bind(host, first + GATEWAY_ADMIN_PORT - USERS_ADMIN_PORT, "MESH_ADMIN_PORT")
    ports = (users_admin, gateway_admin, users_port, gateway_port)
    await until(stop, _run(settings, ports))


async def _run(settings: MeshSettings, ports: Sequence[socket.socket]) -> None:
    sealer = position_sealer(settings)
    await _ensure_topics(settings)
    async with contextlib.AsyncExitStack() as stack:
        log = await stack.enter_async_context(opened_event_log(settings))
        # One process is one member, whatever it serves.
        replica = await stack.enter_async_context(joining(settings, "mesh", ports[0]))
        tenants, limiter = replica.tenants, replica.limiter
        accounts = await stack.enter_async_context(
            keeping_accounts(settings, "mesh", ports[0], log, tenants)
        )
        users = create_app(
            log=log,
            tenants=tenants,
            sealer=sealer,
            limiter=limiter,
            accounts=accounts,
            in_flight=InFlight(settings.requests_most),
        )
        keys = erasure_part(users, log, tenants, accounts)
        gateway = await stack.enter_async_context(
            running_gateway(
                settings,
                log=log,
                tenants=tenants,
                limiter=limiter,
                accounts=accounts,
                beside=[keys],
                more=replica.admin,
            )
        )
        # Being one member, either admin port answers for the whole process.
        users_admin = create_admin(
            log, tenants, accounts, keys, gateway.erasure, more=replica.admin
        )
        # The admin ports first: whoever finds a service answering can ask how it is.
        apps = (users_admin, gateway.admin, users, gateway.public)
        for app, listener in zip(apps, ports, strict=True):
            await stack.enter_async_context(serving(app, listener))
        _welcome(settings, tenants)
        await asyncio.Event().wait()


async def _ensure_topics(settings: MeshSettings) -> None:
    """Make the topics where the log is in Kafka. Raises StartError where one would lose events."""
    connection = kafka_connection(settings)
    if connection is None:
        return
    from meshkit.events.kafka_topics import ensure_topics

    try:
        states = await ensure_topics(connection)
    except LogUnavailable as error:
        raise StartError(
            f"the event log is not there: {error.detail} (MESH_KAFKA_BOOTSTRAP_SERVERS)"
        ) from None
    for state in states:
        if state.refuses:
            raise StartError(
                f"the topic {state.name} {'; '.join(state.differs)}: `mesh topics ensure` says what"
                " to do; or choose other names with MESH_KAFKA_PREFIX"
            )


def _welcome(settings: MeshSettings, tenants: TenantSource) -> None:
    """Say what runs where, and the two commands to try first."""
    console = Console(stderr=True)
    if not console.is_terminal:
        return
    table = Table.grid(padding=(0, 2))
    table.add_row("user-service", f"http://{settings.host}:{settings.user_service_port}")
    table.add_row("ai-gateway", f"http://{settings.host}:{settings.ai_gateway_port}")
    table.add_row("tenants", f"{len(tenants.policies())} from {settings.tenants}/, watched")
    table.add_row("events", settings.kafka_bootstrap_servers or f"{settings.data_dir}/events.db")
    table.add_row("vectors", settings.qdrant_url or f"{settings.data_dir}/vectors/")
    console.print("\n[bold]The mesh is up.[/bold] Ctrl-C stops it; the data stays.\n")
    console.print(table)
    console.print("\nTry [bold]mesh demo[/bold] in another terminal.\n")
