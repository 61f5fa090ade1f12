"""Composition root of ai-gateway: the public application, and the embedded whole around it."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version

from ai_gateway.api_users import user_operations
from ai_gateway.embedding.hash import HashEmbedder
from ai_gateway.embedding.lexical import LexicalEncoder
from ai_gateway.embedding.vectorizer import Vectorizer
from ai_gateway.indexer import Indexer
from ai_gateway.progress import IndexProgress
from ai_gateway.search import UserSearch
from ai_gateway.vector_store.edge import EdgeVectorStore
from meshkit.embedded import EmbeddedData
from meshkit.events.position import PositionSealer
from meshkit.events.sqlite_log import SqliteEventLog
from meshkit.limits.gcra import RateLimiter
from meshkit.runtime import run
from meshkit.settings import MeshSettings
from meshkit.tenancy.directory import DirectoryTenantSource
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
