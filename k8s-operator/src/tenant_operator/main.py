"""Composition root of `tenant-operator`.

    leadership ──► list everything ──► kopf and `following` watch, and tell ──► reconcile

kopf runs in this process's event loop, standalone and in one namespace. Where it ends by itself (a
watch met an error that it takes for fatal), it is started again; the operator's picture stays.
"""

import asyncio
import os
import socket
from functools import partial

import aiohttp
import kopf
import structlog

from meshkit.clock import monotonic, utc_now
from meshkit.errors import StartError
from meshkit.kube.client import KubeClient
from meshkit.kube.connection import connect
from meshkit.kube.objects import KubeRefused, KubeUnavailable
from meshkit.runtime import handle_signals, run, until
from meshkit.settings import settings_of
from meshkit.web.admin import create_admin_app
from meshkit.web.server import bind, serving
from tenant_operator.cluster import KubeCluster
from tenant_operator.erasers import AdminErasers
from tenant_operator.following import following
from tenant_operator.handlers import create_registry, create_settings
from tenant_operator.leadership import Leadership
from tenant_operator.membership import Membership
from tenant_operator.operator import TenantOperator
from tenant_operator.settings import ADMIN_PORT, OperatorSettings
from tenant_operator.usage_reader import UsageReader

log = structlog.get_logger()

_RESTART_SECONDS = 1.0


async def serve(settings: OperatorSettings, stop: asyncio.Event) -> None:
    """Run the operator until `stop`. Raises StartError where there is no cluster, or where another
    operator has taken over."""
    admin = bind(settings.host, settings.admin_port or ADMIN_PORT, "MESH_ADMIN_PORT")
    connection = await connect(settings.namespace)
    async with KubeClient(connection) as client, aiohttp.ClientSession() as http:
        identity = f"{socket.gethostname()}-{os.getpid()}"
        leadership = Leadership(client, identity, settings.leadership_lease_seconds)
        membership = Membership(monotonic, utc_now)
        operator = TenantOperator(
            KubeCluster(client),
            membership,
            AdminErasers(http, membership),
            UsageReader(http, membership),
            resync_seconds=settings.resync_seconds,
        )
        checks = {"leadership": leadership.check, "tenants": operator.ready}
        app = create_admin_app(checks, alive={"watches": operator.alive})
        async with serving(app, admin):
            await until(stop, _lead(operator, leadership, client, stop))


async def _lead(
    operator: TenantOperator, leadership: Leadership, client: KubeClient, stop: asyncio.Event
) -> None:
    async with leadership.held():
        await until(leadership.lost, _work(operator, client, stop))
    raise StartError(f"{leadership.holder} has taken over; one operator works at a time")


async def _work(operator: TenantOperator, client: KubeClient, stop: asyncio.Event) -> None:
    while True:
        try:
            async with operator.running(), following(client, operator.told):
                log.info("operator_at_work", namespace=client.namespace)
                await _watch(operator, client.namespace, stop)
        except (KubeUnavailable, KubeRefused) as error:
            log.warning("operator_waits", reason=str(error), retry_in_seconds=_RESTART_SECONDS)
        await asyncio.sleep(_RESTART_SECONDS)


async def _watch(operator: TenantOperator, namespace: str, stop: asyncio.Event) -> None:
    """Let kopf watch for as long as it does."""
    ours = asyncio.all_tasks()
    tasks = await kopf.spawn_tasks(
        registry=create_registry(operator.told),
        settings=create_settings(),
        standalone=True,
        namespaces=[namespace],
    )
    # kopf has taken the signals for itself; a stop is to be ours, in our order.
    handle_signals(stop)
    try:
        await kopf.run_tasks(tasks, ignored=ours)
    except Exception:
        # Whatever it was, listing and watching anew is safe.
        log.exception("watches_ended")


def main() -> None:
    """Entry point of the `tenant-operator` command."""
    run(serve, partial(settings_of, OperatorSettings))
