"""A Qdrant server for tests: the one that MESH_TEST_QDRANT_URL names."""

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from ai_gateway.embedding.hash import HashEmbedder
from ai_gateway.vector_store.qdrant import QdrantVectorStore
from ai_gateway.vector_store.qdrant_layout import QdrantLayout
from builders import DENSE
from processes import Process, clean_environment


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


def server_name() -> str:
    """What benchmarks call that server: MESH_TEST_QDRANT_NAME, where somebody has named it."""
    return os.environ.get("MESH_TEST_QDRANT_NAME", "a Qdrant server")  # noqa: TID251


def server_process(port: int, data: Path, log: Path) -> Process:
    """A server of our own, that may be killed: MESH_TEST_QDRANT_COMMAND PORT FOLDER, else the
    binary `qdrant` from the PATH. Skips the test where there is neither."""
    data.mkdir()
    given = os.environ.get("MESH_TEST_QDRANT_COMMAND")  # noqa: TID251
    if given:
        return Process([given, str(port), str(data)], clean_environment(), log)
    if binary := shutil.which("qdrant"):
        settings = {
            "QDRANT__SERVICE__HTTP_PORT": str(port),
            "QDRANT__STORAGE__STORAGE_PATH": str(data),
        }
        return Process([binary], clean_environment() | settings, log)
    pytest.skip(
        "no Qdrant server that may be killed: MESH_TEST_QDRANT_COMMAND is not set, and there is no"
        " qdrant on the PATH"
    )
