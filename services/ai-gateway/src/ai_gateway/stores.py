"""Which vector store and which embedder a process uses: what its settings say."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

from ai_gateway.embedding.features import FeatureExtractor
from ai_gateway.embedding.hash import HashEmbedder
from ai_gateway.embedding.lexical import LexicalEncoder
from ai_gateway.embedding.vectorizer import Vectorizer
from ai_gateway.vector_store.edge import EdgeVectorStore
from ai_gateway.vector_store.edge_rebuild import EdgeRebuild
from ai_gateway.vector_store.port import Rebuild, StoreUnavailable, VectorStore
from meshkit.embedded import EmbeddedData
from meshkit.errors import LogUnavailable
from meshkit.events.log import EventLog
from meshkit.settings import MeshSettings

log = structlog.get_logger()

_RETRY_SECONDS = 1.0


def create_vectorizer() -> Vectorizer:
    """Return the embedder and the lexical encoder beside it."""
    extractor = FeatureExtractor()
    return Vectorizer(HashEmbedder(extractor), LexicalEncoder(extractor))


@asynccontextmanager
async def opened_store(
    settings: MeshSettings, vectorizer: Vectorizer, event_log: EventLog | None
) -> AsyncIterator[VectorStore]:
    """Open the store for as long as the block lasts, to be filled from `event_log` where given.

    Who fills it waits for the log and the server to be there. Raises StoreMismatch.
    """
    store = await _open(settings, vectorizer, event_log)
    try:
        yield store
    finally:
        await store.close()


async def _open(
    settings: MeshSettings, vectorizer: Vectorizer, event_log: EventLog | None
) -> VectorStore:
    while True:
        try:
            log_id = await event_log.log_id() if event_log is not None else None
            if settings.qdrant_url is not None:
                return await _open_server(settings, vectorizer, log_id)
            return await EdgeVectorStore.open(
                EmbeddedData(settings.data_dir).vectors,
                embedder_name=vectorizer.name,
                dimension=vectorizer.dimension,
                log_id=log_id or "",
            )
        except (StoreUnavailable, LogUnavailable) as error:
            log.warning("store_waits", reason=str(error), retry_in_seconds=_RETRY_SECONDS)
            await asyncio.sleep(_RETRY_SECONDS)


@asynccontextmanager
async def opened_rebuild(
    settings: MeshSettings, vectorizer: Vectorizer, event_log: EventLog
) -> AsyncIterator[Rebuild]:
    """Open the collection that is to follow the one in use, for as long as the block lasts.

    Raises StoreMismatch, StoreUnavailable, LogUnavailable.
    """
    wanted = (vectorizer.name, vectorizer.dimension, await event_log.log_id())
    rebuild = await _begin_rebuild(settings, *wanted)
    try:
        yield rebuild
    finally:
        await rebuild.close()


async def _begin_rebuild(
    settings: MeshSettings, embedder: str, dimension: int, log_id: str
) -> Rebuild:
    if settings.qdrant_url is None:
        return await EdgeRebuild.open(
            EmbeddedData(settings.data_dir).vectors,
            embedder_name=embedder,
            dimension=dimension,
            log_id=log_id,
        )
    from ai_gateway.vector_store.qdrant_rebuild import QdrantRebuild

    return await QdrantRebuild.open(
        settings.qdrant_url,
        api_key=_api_key(settings),
        alias=settings.qdrant_collection,
        embedder_name=embedder,
        dimension=dimension,
        log_id=log_id,
    )


async def _open_server(
    settings: MeshSettings, vectorizer: Vectorizer, log_id: str | None
) -> VectorStore:
    # The client library takes most of a second to load: only who needs it waits for it.
    from ai_gateway.vector_store.qdrant import QdrantVectorStore

    return await QdrantVectorStore.open(
        settings.qdrant_url or "",
        api_key=_api_key(settings),
        alias=settings.qdrant_collection,
        embedder_name=vectorizer.name,
        dimension=vectorizer.dimension,
        log_id=log_id,
    )


def _api_key(settings: MeshSettings) -> str | None:
    key = settings.qdrant_api_key
    return key.get_secret_value() if key is not None else None
