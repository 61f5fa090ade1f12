"""The index made again from the log: searches go on, an interruption costs nothing."""

import asyncio
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from ai_gateway.embedding.features import FeatureExtractor
from ai_gateway.embedding.hash import HashEmbedder
from ai_gateway.embedding.lexical import LexicalEncoder
from ai_gateway.embedding.vectorizer import Vectorizer
from ai_gateway.indexer import Indexer
from ai_gateway.indexing import indexing
from ai_gateway.reindexing import reindex
from ai_gateway.vector_store.edge import EdgeVectorStore
from ai_gateway.vector_store.edge_rebuild import EdgeRebuild
from ai_gateway.vector_store.edge_takeover import next_folder, take_over
from ai_gateway.vector_store.port import Rebuild, VectorStore
from ai_gateway.vector_store.qdrant_rebuild import QdrantRebuild
from ai_gateway.vectors import Query
from builders import DENSE, make_context, make_query
from mesh_process import MeshProcess, unlimited
from meshkit.events.envelope import EventType, UserData, UserEvent, to_record
from meshkit.events.log import USER_EVENTS, NewRecord
from meshkit.events.memory_log import MemoryEventLog
from qdrant_server import open_store, own_alias, qdrant_url

A = make_context("tenant-a")
USERS, DELETED = 1500, 10
SMALLER = HashEmbedder(FeatureExtractor(), dimension=128)


def created(number: int) -> NewRecord:
    user_id = f"u{number}"
    data = UserData("tenant-a", user_id, f"{user_id}@example.com", f"Person {user_id}")
    return to_record(UserEvent(f"e{number}", EventType.CREATED, A, user_id, "", data))


def deleted(number: int) -> NewRecord:
    return to_record(UserEvent(f"d{number}", EventType.DELETED, A, f"u{number}", "", None))


def vectorizer(embedder: HashEmbedder | None = None) -> Vectorizer:
    extractor = FeatureExtractor()
    return Vectorizer(embedder or HashEmbedder(extractor), LexicalEncoder(extractor))


@pytest.fixture
async def log() -> MemoryEventLog:
    log = MemoryEventLog()
    await log.publish_many(USER_EVENTS, [created(n) for n in range(USERS)])
    await log.publish_many(USER_EVENTS, [deleted(n) for n in range(DELETED)])
    return log


@asynccontextmanager
async def next_collection(alias: str, embedder: HashEmbedder) -> AsyncIterator[QdrantRebuild]:
    rebuild = await QdrantRebuild.open(
        qdrant_url(),
        api_key=None,
        alias=alias,
        embedder_name=embedder.name,
        dimension=embedder.dimension,
        log_id="log-1",
    )
    try:
        yield rebuild
    finally:
        await rebuild.close()


async def run(
    log: MemoryEventLog, rebuild: Rebuild, embedder: HashEmbedder, seen: list[int] | None = None
) -> str:
    def on_progress(done: int, total: int) -> None:
        assert 0 <= done <= total
        if seen is not None:
            seen.append(done)

    return await reindex(log, rebuild, vectorizer(embedder), lambda _: None, on_progress)


class Interrupted(Exception):
    """Somebody ends the command."""


def interrupt(done: int, total: int) -> None:
    """End a run as soon as something is done: also where that is all, it is before the switch."""
    if done > 0:
        raise Interrupted


def searches(store: VectorStore) -> Callable[[], Awaitable[set[str]]]:
    async def search() -> set[str]:
        return {hit.user.user_id for hit in await store.search(A, make_query("person u77"), 3)}

    return search


async def fill(store: VectorStore, log: MemoryEventLog) -> None:
    async with indexing(lambda: Indexer(log, store, vectorizer(), lambda _: A)):
        async with asyncio.timeout(20):
            while await store.count(A) < USERS - DELETED:
                await asyncio.sleep(0.02)


@pytest.mark.timeout(60)
async def test_searches_go_on_while_another_embedder_takes_over(log: MemoryEventLog) -> None:
    async with own_alias() as alias:
        old = await open_store(alias)
        await fill(old, log)
        answered = 0

        async def keep_searching() -> None:
            nonlocal answered
            while True:
                assert "u77" in await searches(old)()
                answered += 1
                await asyncio.sleep(0.005)

        searching = asyncio.create_task(keep_searching())
        progress: list[int] = []
        async with next_collection(alias, SMALLER) as rebuild:
            assert f"{alias}_2" in await run(log, rebuild, SMALLER, progress)
            assert await rebuild.store.count(A) == USERS - DELETED
            assert not searching.done()
            searching.cancel()
            await rebuild.drop_old()
        assert progress == sorted(progress)
        assert progress[-1] == USERS + DELETED
        assert answered > 20
        await old.close()
        again = await open_store(alias, SMALLER)
        query = Query(SMALLER.vectors(["person u77"])[0], make_query("u77").lexical)
        assert (await again.search(A, query, 3))[0].user.user_id == "u77"
        await again.close()


@pytest.mark.timeout(60)
async def test_interrupted_run_goes_on_with_the_same_collection(log: MemoryEventLog) -> None:
    async with own_alias() as alias:
        old = await open_store(alias)
        async with next_collection(alias, SMALLER) as rebuild:
            begun = rebuild.store.collection_id
            with pytest.raises(Interrupted):
                await reindex(log, rebuild, vectorizer(SMALLER), lambda _: None, interrupt)
        assert old.collection_id != begun
        second: list[int] = []
        async with next_collection(alias, SMALLER) as rebuild:
            assert rebuild.store.collection_id == begun
            await run(log, rebuild, SMALLER, second)
            assert await rebuild.store.count(A) == USERS - DELETED
        assert second[0] > 0
        await old.close()


async def test_run_begun_for_another_embedder_is_not_gone_on_with() -> None:
    async with own_alias() as alias:
        await (await open_store(alias)).close()
        async with next_collection(alias, SMALLER) as rebuild:
            begun = rebuild.store.collection_id
        async with next_collection(alias, DENSE) as rebuild:
            assert rebuild.store.collection_id != begun


async def open_edge(folder: Path, embedder: HashEmbedder = DENSE) -> EdgeVectorStore:
    return await EdgeVectorStore.open(
        folder, embedder_name=embedder.name, dimension=embedder.dimension, log_id="log-1"
    )


@asynccontextmanager
async def next_folder_of(
    folder: Path, embedder: HashEmbedder = DENSE
) -> AsyncIterator[EdgeRebuild]:
    rebuild = await EdgeRebuild.open(
        folder, embedder_name=embedder.name, dimension=embedder.dimension, log_id="log-1"
    )
    try:
        yield rebuild
    finally:
        await rebuild.close()


@pytest.mark.timeout(60)
async def test_embedded_collection_is_replaced_at_the_next_opening(
    log: MemoryEventLog, tmp_path: Path
) -> None:
    folder = tmp_path / "vectors"
    old = await open_edge(folder)
    await fill(old, log)
    async with next_folder_of(folder, SMALLER) as rebuild:
        made = rebuild.store.collection_id
        assert "next start" in await run(log, rebuild, SMALLER)
        assert "u77" in await searches(old)()
    await old.close()
    again = await open_edge(folder, SMALLER)
    assert again.collection_id == made
    assert await again.count(A) == USERS - DELETED
    await again.close()
    assert not next_folder(folder).exists()


async def test_embedded_collection_that_is_not_complete_takes_nothing_over(tmp_path: Path) -> None:
    folder = tmp_path / "vectors"
    async with next_folder_of(folder) as rebuild:
        begun = rebuild.store.collection_id
    store = await open_edge(folder)
    assert store.collection_id != begun
    await store.close()
    async with next_folder_of(folder) as rebuild:
        assert rebuild.store.collection_id == begun
    # For another embedder, and after a week, it begins anew.
    async with next_folder_of(folder, SMALLER) as rebuild:
        assert rebuild.store.collection_id != begun
        begun = rebuild.store.collection_id
    os.utime(next_folder(folder) / "lock", (1, 1))
    async with next_folder_of(folder, SMALLER) as rebuild:
        assert rebuild.store.collection_id != begun


async def test_take_over_may_be_interrupted_at_any_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "vectors"
    await (await open_edge(folder)).close()
    async with next_folder_of(folder, SMALLER) as rebuild:
        made = rebuild.store.collection_id
        await rebuild.switch()
    steps = 0
    for method in ("rename", "replace"):
        original = getattr(Path, method)

        def step(path: Path, target: Path, original: Any = original) -> Any:
            nonlocal steps
            steps += 1
            if steps == stop_at:
                raise KeyboardInterrupt
            return original(path, target)

        monkeypatch.setattr(Path, method, step)
    whole = tmp_path / "whole"
    shutil.copytree(tmp_path, whole, ignore=shutil.ignore_patterns("whole"))
    for stop_at in (1, 2, 3, 4):
        copy = tmp_path / f"copy-{stop_at}" / "vectors"
        shutil.copytree(whole, copy.parent)
        steps = 0
        with suppress(KeyboardInterrupt):
            take_over(copy)
        steps = 100
        take_over(copy)
        store = await open_edge(copy, SMALLER)
        assert store.collection_id == made
        await store.close()
        assert not next_folder(copy).exists()


@pytest.mark.timeout(90)
async def test_command_beside_a_running_mesh(tmp_path: Path) -> None:
    mesh = MeshProcess(tmp_path, unlimited("tenant-a"))
    command = [mesh.command[0], "reindex"]
    async with aiohttp.ClientSession() as http:
        await mesh.start(http)
        header = {"X-Tenant-Id": "tenant-a"}
        users = [{"name": f"Person {n}", "email": f"p{n}@example.com"} for n in range(500)]
        async with http.post(f"{mesh.users_url}/users:batch", headers=header, json=users) as answer:
            assert answer.status == 202
        before = (tmp_path / "data/vectors/meta.json").read_text()
        done = await asyncio.to_thread(
            subprocess.run, command, env=mesh.environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        assert "next start" in done.stdout
        assert mesh.stop() == 0
        await mesh.start(http)
        assert (tmp_path / "data/vectors/meta.json").read_text() != before
        query = {"tenant_id": "tenant-a", "query": "person 77"}
        async with http.get(f"{mesh.gateway_url}/ai/users/search", params=query) as answer:
            results = (await answer.json())["results"]
        assert results[0]["email"] == "p77@example.com"
        assert mesh.stop() == 0
