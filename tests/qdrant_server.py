"""A Qdrant server for tests: the one that MESH_TEST_QDRANT_URL names."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest

from ai_gateway.embedding.hash import HashEmbedder
from ai_gateway.vector_store.qdrant import QdrantVectorStore
from ai_gateway.vector_store.qdrant_layout import QdrantLayout
from builders import DENSE


def qdrant_url() -> str:
    """The server's address; skips the test where none is named."""
    url = os.environ.get("MESH_TEST_QDRANT_URL")  # noqa: TID251
    if not url:
        pytest.skip("no Qdrant server: MESH_TEST_QDRANT_URL is not set")
    return url


@asynccontextmanager
async def own_alias() -> AsyncIterator[str]:
    """An alias that nobody else uses; its collections are removed at the end."""
    url, alias = qdrant_url(), f"test_{uuid4().hex}"
    try:
        yield alias
    finally:
        layout = QdrantLayout(url, None, alias)
        for number in await layout.numbers():
            await layout.drop(f"{alias}_{number}")
        await layout.close()


async def open_store(alias: str, embedder: HashEmbedder = DENSE, **more: str) -> QdrantVectorStore:
    """The store behind an alias, opened to be filled."""
    given = {"embedder_name": embedder.name, "log_id": "log-1"} | more
    return await QdrantVectorStore.open(
        qdrant_url(), alias=alias, dimension=embedder.dimension, **given
    )


@asynccontextmanager
async def own_collection() -> AsyncIterator[QdrantVectorStore]:
    """A store with a collection of its own."""
    async with own_alias() as alias:
        store = await open_store(alias)
        try:
            yield store
        finally:
            await store.close()
