"""What the parts of a mesh use, for docs/operations.md: CPU for each user and search, and memory
and disk with so many users in it. For planning, so there is no target.

The separate processes over Kafka and a Qdrant endpoint. One core does a second's worth of what one
takes of it. CPU and memory are those of whole process trees, CPU without what they use at rest.
"""

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import cycle
from pathlib import Path

import aiohttp
import psutil
import uvloop

from bench.engines import lacking
from bench.freshness import BATCH, LOAD, Client, users
from bench.harness import Result, console, cpu_seconds, report
from bench.load import closed_loop, get, post
from engine_mesh import EngineMesh

CONNECTIONS = 16
SMALL = "tenant-b"
SMALL_USERS = 1_000
_IDLE_SECONDS = 10.0


class Parts:
    """The processes of a mesh, with what each uses when nothing is asked of it."""

    def __init__(self, mesh: EngineMesh) -> None:
        self._pids = {name: process.pid for name, process in mesh.services.items()}
        self._pids["store"] = mesh.store.pid
        self.idle = dict.fromkeys(self._pids, 0.0)
        """CPU seconds a second."""

    async def rest(self) -> None:
        """Look for a while at what they use at rest."""
        with self.cpu() as used:
            await asyncio.sleep(_IDLE_SECONDS)
        self.idle = {name: seconds / _IDLE_SECONDS for name, seconds in used.items()}

    @contextmanager
    def cpu(self) -> Iterator[dict[str, float]]:
        """Give the CPU seconds that each used in the block, over what it uses at rest, when the
        block has ended."""
        used: dict[str, float] = {}
        started = time.monotonic()
        before = {name: cpu_seconds(pid) for name, pid in self._pids.items()}
        yield used
        took = time.monotonic() - started
        for name, pid in self._pids.items():
            used[name] = max(cpu_seconds(pid) - before[name] - self.idle[name] * took, 0.0)

    def memory(self) -> dict[str, float]:
        """Return the resident memory of each process tree, in MiB."""
        return {name: _resident(psutil.Process(pid)) / 2**20 for name, pid in self._pids.items()}


def _resident(process: psutil.Process) -> int:
    tree = [process, *process.children(recursive=True)]
    return sum(int(one.memory_info().rss) for one in tree)


def folder_bytes(folder: Path) -> int:
    """Return how much disk the files of a folder take."""
    return sum(file.stat().st_blocks * 512 for file in folder.rglob("*") if file.is_file())


def one_user(number: int) -> bytes:
    """Return a request that creates one user."""
    (user,) = json.loads(users(number, 1))
    return post("/users/create", json.dumps(user).encode(), LOAD)


def one_search(tenant: str, numbers: Iterator[int]) -> bytes:
    """Return a request that searches for the next user."""
    return get(f"/ai/users/search?query=person.{next(numbers)}%40example.com&limit=10", tenant)


async def measure(folder: Path, count: int, singles: int) -> list[Result]:
    """Fill a mesh with `count` users, and return what that and `singles` requests took."""
    mesh = EngineMesh(folder, indexers=1)
    try:
        async with aiohttp.ClientSession() as http:
            await mesh.start(http)
        client = await Client.to(mesh)
        parts = Parts(mesh)
        await parts.rest()
        empty = parts.memory()
        disk = {name: folder_bytes(folder / name) for name in ("kafka", "qdrant")}

        await client.wait(await client.write(0, SMALL_USERS, SMALL), SMALL)
        with parts.cpu() as filling:
            last: list[str] = []
            for start in range(0, count, BATCH):
                last = await client.write(start, BATCH)
            await client.wait(last)
        full = parts.memory()
        grown = {name: folder_bytes(folder / name) - size for name, size in disk.items()}

        users_port, gateway_port = (
            int(url.rpartition(":")[2]) for url in (mesh.users_url, mesh.gateway_url)
        )
        numbers = iter(range(singles))
        with parts.cpu() as creating:
            await closed_loop(
                users_port, lambda: one_user(next(numbers)), CONNECTIONS, singles, b"202"
            )
        searching = {}
        for tenant, stored in ((SMALL, SMALL_USERS), (LOAD, count)):
            query = partial(one_search, tenant, cycle(range(SMALL_USERS)))
            with parts.cpu() as searching[stored]:
                await closed_loop(gateway_port, query, 4, singles // 4, b"200")
        await mesh.stop()
    finally:
        mesh.abandon()

    def each(what: str, seconds: float, items: int) -> Result:
        micros = seconds / items * 1e6
        return _row(f"{what}, µs of CPU", f"{micros:.0f}", f"a core does {1e6 / micros:,.0f}/s")

    def memory(name: str, what: str) -> Result:
        detail = f"{full[name]:.0f} with {count:,} users; {parts.idle[name] * 100:.1f} % of a core"
        return _row(f"memory of {what} at rest, MiB", f"{empty[name]:.0f}", detail)

    rows = [
        each("user-service, for a user created alone", creating["user-service"], singles),
        each(f"user-service, for a user in a batch of {BATCH}", filling["user-service"], count),
        each("indexer, for a user", filling["indexer-0"], count),
        each("Qdrant (stand-in), for a user indexed", filling["store"], count),
        memory("user-service", "user-service"),
        memory("ai-gateway", "ai-gateway"),
        memory("indexer-0", "an indexer"),
        memory("store", "Qdrant (stand-in)"),
        _row("disk of Qdrant for a user, bytes", f"{grown['qdrant'] / count:.0f}", ""),
        _row("disk of the log for an event, bytes", f"{grown['kafka'] / count:.0f}", ""),
    ]
    for stored, used in searching.items():
        rows += [
            each(f"ai-gateway, for a search among {stored:,}", used["ai-gateway"], singles // 4),
            each(f"Qdrant (stand-in), for a search among {stored:,}", used["store"], singles // 4),
        ]
    return rows


def _row(what: str, measured: str, detail: str) -> Result:
    return Result("sizing", what, "for planning", measured, True, detail)


def main(*, quick: bool = False) -> None:
    """Measure and report."""
    if lack := lacking():
        console.print(f"sizing is left out: {lack}")
        return
    with tempfile.TemporaryDirectory() as folder:
        sizes = (5_000, 1_000) if quick else (100_000, 10_000)
        report(uvloop.run(measure(Path(folder), *sizes)))


if __name__ == "__main__":
    main(quick="--quick" in sys.argv)
