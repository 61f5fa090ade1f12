"""Composition root of `ai-gateway-indexer`, the indexer as a process of its own.

As many as wanted may run over Kafka: they share its partitions. The embedded engine belongs to one
process, so there the gateway indexes itself and this command says so instead of doing half of it.
"""

import asyncio
import socket
from contextlib import AsyncExitStack

from ai_gateway.counting import StoredUsers
from ai_gateway.indexer import Indexer
from ai_gateway.indexing import IndexingHealth, create_indexer, indexing
from ai_gateway.stores import create_vectorizer, opened_store
from meshkit.backends import opened_event_log
from meshkit.errors import StartError
from meshkit.events.log import USAGE, USER_EVENTS, USER_EVENTS_DLQ, EventLog
from meshkit.membership.composition import watching_as_member
from meshkit.runtime import run, until
from meshkit.settings import MeshSettings, load_settings
from meshkit.tenancy.source import TenantSource
from meshkit.usage.composition import keeping_accounts
from meshkit.web.admin import create_admin_app, topics_detail
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
    topics = _Topics()
    async with watching_as_member(settings, "ai-gateway-indexer", admin) as tenants:
        app = create_admin_app(
            {
                "event-log": topics.check,
                "indexer": health.check,
                "counting": health.check_counting,
            },
            details={"policies": tenants.freshness, "topics": topics.remarks},
            routes=erasure_routes(tenants, ErasurePart(busy_with=[health.busy_with])),
        )
        async with serving(app, admin):
            await _index(settings, health, topics, tenants, admin)


class _Topics:
    """The state of the topics, for `/readyz`, from before the log is open."""

    def __init__(self) -> None:
        self.log: EventLog | None = None

    async def check(self) -> str | None:
        """Return why the topics cannot be used, None while they can."""
        if self.log is None:
            return "the event log is not open yet"
        return await self.log.check((USER_EVENTS, USER_EVENTS_DLQ, USAGE))

    def remarks(self) -> str:
        """Return how the topics differ from what they have to be."""
        return "not known yet" if self.log is None else topics_detail(self.log)()


async def _index(
    settings: MeshSettings,
    health: IndexingHealth,
    topics: _Topics,
    tenants: TenantSource,
    admin: socket.socket,
) -> None:
    vectorizer = create_vectorizer()
    async with AsyncExitStack() as stack:
        log = topics.log = await stack.enter_async_context(opened_event_log(settings))
        store = await stack.enter_async_context(opened_store(settings, vectorizer, log))
        accounts = await stack.enter_async_context(
            keeping_accounts(settings, "ai-gateway-indexer", admin, log, tenants)
        )
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
