"""Composition root of `ai-gateway-indexer`, the indexer as a process of its own.

As many as wanted may run over Kafka: they share its partitions. The embedded engine belongs to one
process, so there the gateway indexes itself and this command says so instead of doing half of it.
"""

import asyncio
import socket

from ai_gateway.counting import StoredUsers
from ai_gateway.indexer import Indexer
from ai_gateway.indexing import IndexingHealth, create_indexer, indexing
from ai_gateway.stores import create_vectorizer, opened_store
from meshkit.backends import opened_event_log
from meshkit.errors import StartError
from meshkit.membership.composition import watching_as_member
from meshkit.runtime import run, until
from meshkit.settings import MeshSettings, load_settings
from meshkit.tenancy.source import TenantSource
from meshkit.usage.composition import keeping_accounts
from meshkit.web.admin import create_admin_app
from meshkit.web.erasure import ErasurePart, erasure_routes
from meshkit.web.server import bind, serving

ADMIN_PORT = 9092


async def serve(settings: MeshSettings, stop: asyncio.Event) -> None:
    """Run the indexer until `stop`. Raises StartError on the embedded engine."""
    if settings.qdrant_url is None:
        raise StartError(
            f"the embedded engine in {settings.data_dir} belongs to one process: `ai-gateway` (or"
            " `mesh up`) indexes by itself, and needs no separate indexer. Beside a Qdrant server"
            " (MESH_QDRANT_URL) there is one."
        )
    admin = bind(settings.host, settings.admin_port or ADMIN_PORT, "MESH_ADMIN_PORT")
    await until(stop, _run(settings, admin))


async def _run(settings: MeshSettings, admin: socket.socket) -> None:
    health = IndexingHealth()
    async with watching_as_member(settings, "ai-gateway-indexer", admin) as tenants:
        app = create_admin_app(
            {"indexer": health.check, "counting": health.check_counting},
            details={"policies": tenants.freshness},
            routes=erasure_routes(tenants, ErasurePart(busy_with=[health.busy_with])),
        )
        async with serving(app, admin):
            await _index(settings, health, tenants, admin)


async def _index(
    settings: MeshSettings, health: IndexingHealth, tenants: TenantSource, admin: socket.socket
) -> None:
    vectorizer = create_vectorizer()
    async with (
        opened_event_log(settings) as log,
        opened_store(settings, vectorizer, log) as store,
        keeping_accounts(settings, "ai-gateway-indexer", admin, log, tenants) as accounts,
    ):
        # An event of a tenant that is only not known yet is no dead letter.
        await tenants.loaded()
        count = StoredUsers(log, store, accounts.topic, tenants)
        health.counting_problem = lambda: count.problem

        def make_indexer() -> Indexer:
            return create_indexer(log, store, vectorizer, tenants, count.stored)

        async with count.counting(), indexing(make_indexer, health):
            await asyncio.Event().wait()


def main() -> None:
    """Entry point of the `ai-gateway-indexer` command."""
    run(serve, load_settings)
