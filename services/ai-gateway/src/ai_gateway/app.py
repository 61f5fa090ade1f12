"""Composition root of ai-gateway: the public application, and the embedded whole around it."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version

from starlette.applications import Starlette

from ai_gateway.api_users import user_operations
from ai_gateway.embedding.features import FeatureExtractor
from ai_gateway.embedding.hash import HashEmbedder
from ai_gateway.embedding.lexical import LexicalEncoder
from ai_gateway.embedding.vectorizer import Vectorizer
from ai_gateway.indexer import Indexer
from ai_gateway.indexing import indexing
from ai_gateway.progress import IndexProgress
from ai_gateway.search import UserSearch
from ai_gateway.vector_store.edge import EdgeVectorStore
from meshkit.embedded import EmbeddedData
from meshkit.events.position import PositionSealer
from meshkit.events.sqlite_log import SqliteEventLog
from meshkit.limits.gcra import RateLimiter
from meshkit.runtime import run
from meshkit.settings import MeshSettings
from meshkit.tenancy.directory import watching
from meshkit.tenancy.identity import TenantContext, TenantId
from meshkit.tenancy.source import TenantSource
from meshkit.web.admin import create_admin_app
from meshkit.web.application import Application
from meshkit.web.authentication import Authenticator, HeaderAuthenticator
from meshkit.web.common import with_common_operations
from meshkit.web.rate_limits import RateLimits
from meshkit.web.server import bind, serving

ADMIN_PORT = 9091
_DESCRIPTION = (
    "Finds the users of one tenant. Pass the `position` of an accepted write as `after` to see it."
)


def create_app(
    *,
    search: UserSearch,
    tenants: TenantSource,
    sealer: PositionSealer,
    limiter: RateLimiter,
    authenticator: Authenticator | None = None,
) -> Application:
    """Return the public application over these adapters."""

    async def usage(tenant: TenantContext) -> Mapping[str, int]:
        return {"storedUsers": await search.stored_users(tenant)}

    limits = RateLimits(limiter)
    operations = with_common_operations(
        user_operations(search, sealer),
        service="ai-gateway",
        description=_DESCRIPTION,
        version=version("ai-gateway"),
        limits=limits,
        usage=usage,
    )
    return Application(
        operations,
        authenticator=authenticator or HeaderAuthenticator(),
        tenants=tenants,
        limits=limits,
    )


@dataclass(frozen=True, slots=True)
class Gateway:
    """A running ai-gateway: its public application and its admin application."""

    public: Application
    admin: Starlette


@asynccontextmanager
async def embedded_gateway(
    settings: MeshSettings,
    *,
    data: EmbeddedData,
    log: SqliteEventLog,
    tenants: TenantSource,
    limiter: RateLimiter,
) -> AsyncIterator[Gateway]:
    """Run the whole of ai-gateway on the embedded engine: store, indexer and searches."""
    extractor = FeatureExtractor()
    embedder = HashEmbedder(extractor)
    vectorizer = Vectorizer(embedder, LexicalEncoder(extractor))
    progress = IndexProgress()
    sealer = data.position_sealer()
    store = await EdgeVectorStore.open(
        data.vectors,
        embedder_name=embedder.name,
        dimension=embedder.dimension,
        log_id=log.log_id,
    )

    def resolve_tenant(tenant_id: TenantId) -> TenantContext | None:
        policy = tenants.get(tenant_id)
        return policy.context if policy is not None else None

    try:
        async with indexing(
            lambda: Indexer(log, store, vectorizer, progress, resolve_tenant)
        ) as health:
            search = UserSearch(
                store, vectorizer, progress, after_timeout=settings.after_timeout_seconds
            )
            public = create_app(search=search, tenants=tenants, sealer=sealer, limiter=limiter)
            yield Gateway(public, create_admin_app({"indexer": health.check}))
    finally:
        await store.close()


async def serve(settings: MeshSettings, stop: asyncio.Event) -> None:
    """Run ai-gateway alone on the embedded data until `stop`."""
    public = bind(settings.host, settings.ai_gateway_port, "MESH_AI_GATEWAY_PORT")
    admin = bind(settings.host, settings.admin_port or ADMIN_PORT, "MESH_ADMIN_PORT")
    data = EmbeddedData(settings.data_dir)
    async with (
        data.event_log() as log,
        watching(settings.tenants) as tenants,
        embedded_gateway(
            settings, data=data, log=log, tenants=tenants, limiter=RateLimiter()
        ) as gateway,
        serving(gateway.admin, admin),
        serving(gateway.public, public),
    ):
        await stop.wait()


def main() -> None:
    """Entry point of the `ai-gateway` command."""
    run(serve)
