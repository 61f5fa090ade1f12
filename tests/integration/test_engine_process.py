"""The engine process: killed, orphaned, locked out, or given files that are not its own."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from ai_gateway.vector_store.edge import EdgeVectorStore
from ai_gateway.vector_store.port import StoreMismatch, StoreUnavailable
from builders import DENSE, make_context, make_query, make_upsert
from waiting import eventually

A = make_context("tenant-a")


@asynccontextmanager
async def opened(folder: Path, **other: Any) -> AsyncIterator[EdgeVectorStore]:
    given: dict[str, Any] = {
        "embedder_name": DENSE.name,
        "dimension": DENSE.dimension,
        "log_id": "log-1",
    }
    store = await EdgeVectorStore.open(folder, **(given | other))
    try:
        yield store
    finally:
        await store.close()


async def test_read_waits_out_the_death_of_the_engine(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.apply([make_upsert(A)])
        for _ in range(3):
            await eventually(lambda: store.engine_pid is not None)
            assert store.engine_pid is not None
            os.kill(store.engine_pid, signal.SIGKILL)
            (hit,) = await store.search(A, make_query("alice"), 5)
            assert hit.user.user_id == "u-1"


async def test_what_was_applied_survives_kills_in_the_middle_of_writing(tmp_path: Path) -> None:
    applied = set()
    async with opened(tmp_path) as store:
        for number in range(120):
            if number % 20 == 10 and store.engine_pid is not None:
                os.kill(store.engine_pid, signal.SIGKILL)
            names = [f"u-{number}-{n}" for n in range(20)]
            try:
                await store.apply([make_upsert(A, name, revision=number) for name in names])
            except StoreUnavailable:
                await eventually(lambda: store.engine_pid is not None)
            else:
                applied.update(names)
        assert len(applied) > 1000
        for name in applied:
            assert await store.get(A, name) is not None, name


async def test_engine_ends_with_its_parent(tmp_path: Path) -> None:
    code = (
        "import asyncio, pathlib, sys\n"
        "from ai_gateway.vector_store.edge import EdgeVectorStore\n"
        "async def main():\n"
        "    store = await EdgeVectorStore.open(pathlib.Path(sys.argv[1]), embedder_name='e',"
        " dimension=8, log_id='l')\n"
        "    print(store.engine_pid, flush=True)\n"
        "    await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        engine = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
        parent.wait()
        await eventually(lambda: not engine.is_running())


async def test_folder_in_use_is_refused_with_the_holder(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        with pytest.raises(StoreMismatch, match=rf"in use by another mesh.*{store.engine_pid}"):
            async with opened(tmp_path):
                pass


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"embedder_name": "potion-8m"}, r"embedder hash-256-v1, this process has potion-8m"),
        ({"dimension": 64}, r"dimension 256, this process has 64"),
        ({"log_id": "log-2"}, r"event log log-1, this process has log-2"),
    ],
)
async def test_points_of_another_making_are_refused_with_the_way_out(
    tmp_path: Path, other: dict[str, Any], said: str
) -> None:
    async with opened(tmp_path):
        pass
    with pytest.raises(StoreMismatch, match=said) as caught:
        async with opened(tmp_path, **other):
            pass
    assert "make them again from the event log" in str(caught.value)


async def test_broken_files_are_moved_aside_and_the_collection_is_another(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        before = store.collection_id
        await store.apply([make_upsert(A)])
    (tmp_path / "shard" / "edge_config.json").write_text("{")
    async with opened(tmp_path) as store:
        assert store.collection_id != before
        assert await store.count(A) == 0
    assert (tmp_path / "shard.broken-1").exists()


async def test_collection_half_made_is_made_again(tmp_path: Path) -> None:
    (tmp_path / "shard.new").mkdir()
    (tmp_path / "shard.new" / "half").write_text("made")
    async with opened(tmp_path) as store:
        await store.apply([make_upsert(A)])
        assert await store.count(A) == 1


async def test_search_does_not_wait_for_a_large_write(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        changes = [make_upsert(A, f"p-{n}", f"Person {n}", revision=n) for n in range(3000)]
        writing = asyncio.create_task(store.apply(changes))
        await asyncio.sleep(0)
        served = 0
        while not writing.done():
            await store.search(A, make_query("person"), 5)
            served += 1
        await writing
        assert await store.count(A) == 3000
        assert served > 3
