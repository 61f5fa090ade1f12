"""TARGETS rows 7 and 8: how long after its 202 a user is searchable, at half the capacity, and what
that load does to searches. Once embedded, once over Kafka and a Qdrant endpoint.

First the capacity: users in as fast as they are taken, for some seconds, until the last of them are
searchable. Then an open-loop stream of the same at half of that, and beside it a prober for another
tenant: it creates a user, and from the 202 on asks for it with `after` until a search returns it.
The yardstick is the engine alone in the same run: one upsert and one search, with as many points.
"""

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from urllib.parse import quote

import aiohttp
import uvloop

from ai_gateway.vector_store.edge import EdgeVectorStore
from ai_gateway.vector_store.port import VectorStore
from ai_gateway.vector_store.qdrant import QdrantVectorStore
from bench.engines import lacking
from bench.harness import Figure, Result, console, percentile, ratios, report
from bench.load import Connection, connect, get, post
from builders import DENSE, make_context, make_query, make_upsert
from engine_mesh import EngineMesh
from mesh_process import MeshProcess, unlimited

LOAD = "tenant-a"
PROBE = "tenant-b"
BATCH = 50
USERS = 20_000
_LARGE_BATCH = 500


def users(start: int, count: int) -> bytes:
    """Return the body of a batch of users."""
    return json.dumps(
        [
            {
                "name": f"Person Number {n}",
                "email": f"person.{n}@example.com",
                "userId": f"p{n}",
                "attributes": {"city": "Springfield", "job": "Engineer"},
            }
            for n in range(start, start + count)
        ]
    ).encode()


class Client:
    """Speaks to both services."""

    def __init__(self, writer: Connection, reader: Connection) -> None:
        self._writer = writer
        self._reader = reader

    @classmethod
    async def to(cls, mesh: MeshProcess | EngineMesh) -> "Client":
        """Connect to a mesh."""
        ports = [int(url.rpartition(":")[2]) for url in (mesh.users_url, mesh.gateway_url)]
        return cls(await connect(ports[0]), await connect(ports[1]))

    async def write(self, start: int, count: int, tenant: str = LOAD) -> list[str]:
        """Create a batch; return its positions."""
        answer = await self._writer.request(post("/users:batch", users(start, count), tenant))
        assert answer[:3] == b"202", answer
        return [one["position"] for one in json.loads(answer[3:])["results"]]

    async def wait(self, positions: Iterable[str], tenant: str = LOAD) -> None:
        """Return once these positions are searchable."""
        for position in positions:
            path = f"/ai/users/search?query=person&limit=1&after={position}"
            while not json.loads((await self._reader.request(get(path, tenant)))[3:])["upToDate"]:
                pass

    async def probe(self, number: int) -> tuple[float, float]:
        """Create a user; return how long the 202 took, and from then on until it was found."""
        token = f"probe{number:06d}"
        body = json.dumps({"name": token, "email": f"{token}@example.com"}).encode()
        started = time.perf_counter()
        answer = await self._writer.request(post("/users/create", body, PROBE))
        accepted = time.perf_counter()
        assert answer[:3] == b"202", answer
        position = json.loads(answer[3:])["position"]
        path = f"/ai/users/search?query={quote(token)}&limit=1&after={position}"
        while True:
            found = json.loads((await self._reader.request(get(path, PROBE)))[3:])
            if found["results"] and found["results"][0]["name"] == token:
                return accepted - started, time.perf_counter() - accepted

    async def search(self, number: int) -> float:
        """Search for a user that is there; return how long that took."""
        path = f"/ai/users/search?query=person.{number}%40example.com&limit=5"
        started = time.perf_counter()
        answer = await self._reader.request(get(path, LOAD))
        took = time.perf_counter() - started
        assert any(one["userId"] == f"p{number}" for one in json.loads(answer[3:])["results"])
        return took


async def capacity(client: Client, count: int) -> float:
    """Return how many users a second go from HTTP to searchable, as they do in the stream later:
    the same users again and again, from the second time on each an update."""
    started = time.perf_counter()
    last: list[str] = []
    for start in range(0, count, _LARGE_BATCH):
        last = await client.write(start % USERS, _LARGE_BATCH)
    # In each partition there are some of them, and one partition may be far ahead of the others.
    await client.wait(last[:: _LARGE_BATCH // 50])
    return count / (time.perf_counter() - started)


async def stream(client: Client, rate: float) -> None:
    """Create users at a steady rate, by the clock, until cancelled."""
    started = time.perf_counter()
    sent = 0
    while True:
        delay = started + sent / rate - time.perf_counter()
        if delay > 0:
            await asyncio.sleep(delay)
        await client.write(sent % USERS, BATCH)
        sent += BATCH


async def direct(count: int, stored: int) -> list[float]:
    """Return how long one upsert and one search take in the embedded engine alone."""
    with tempfile.TemporaryDirectory() as folder:
        store = await EdgeVectorStore.open(
            Path(folder), embedder_name=DENSE.name, dimension=DENSE.dimension, log_id="bench"
        )
        times = await direct_in(store, count, stored)
        await store.close()
    return times


async def direct_in(store: VectorStore, count: int, stored: int) -> list[float]:
    """Return how long one upsert and one search take in a store with so many points."""
    tenant, crowd = make_context("tenant-b"), make_context("tenant-a")
    if await store.count(crowd) < stored:
        for start in range(0, stored, 500):
            await store.apply(
                [make_upsert(crowd, f"p{n}", f"Person {n}") for n in range(start, start + 500)]
            )
    times = []
    for number in range(count):
        token = f"probe{number:06d}"
        started = time.perf_counter()
        await store.apply([make_upsert(tenant, token, token)])
        assert await store.search(tenant, make_query(token), 50)
        times.append(time.perf_counter() - started)
    return times


async def embedded(rounds: int, probes: int, load: int) -> list[Result]:
    """Return the rows of `mesh up` on the embedded engines."""
    with tempfile.TemporaryDirectory() as folder:
        mesh = MeshProcess(Path(folder), unlimited(LOAD), unlimited(PROBE), LOG_LEVEL="error")
        mesh.spawn()

        def alone() -> Awaitable[list[float]]:
            return direct(probes, USERS)

        try:
            return await measure(mesh, alone, "embedded", rounds, probes, load)
        finally:
            mesh.stop()


async def over_engines(rounds: int, probes: int, load: int) -> list[Result]:
    """Return the rows of the separate processes over Kafka and a Qdrant endpoint."""
    with tempfile.TemporaryDirectory() as folder:
        mesh = EngineMesh(Path(folder), indexers=1)
        async with aiohttp.ClientSession() as http:
            await mesh.start(http)
        try:
            store = await QdrantVectorStore.open(
                mesh.store_url,
                alias="bench_direct",
                embedder_name=DENSE.name,
                dimension=DENSE.dimension,
                log_id="bench",
            )

            def alone() -> Awaitable[list[float]]:
                return direct_in(store, probes, USERS)

            results = await measure(mesh, alone, "Kafka and Qdrant", rounds, probes, load)
            await store.close()
            await mesh.stop()
            return results
        finally:
            mesh.abandon()


async def measure(
    mesh: MeshProcess | EngineMesh,
    alone: Callable[[], Awaitable[list[float]]],
    where: str,
    rounds: int,
    probes: int,
    load: int,
) -> list[Result]:
    """Run the rounds and return the rows."""
    loader, prober = await _client(mesh), await _client(mesh)
    await capacity(loader, USERS)
    most = await capacity(loader, load)
    console.print(f"capacity: {most:.0f} users a second from HTTP to searchable")
    await prober.probe(0)
    fresh, accepts, baseline, idle, busy = [], [], [], [], []
    numbers = iter(range(1, 1_000_000))
    for _ in range(rounds):
        searches = [await prober.search(n % USERS) for n in range(probes)]
        idle.append(percentile(searches, 0.99) * 1e3)
        streaming = asyncio.create_task(stream(loader, most / 2))
        await asyncio.sleep(1.0)
        measured = []
        for _ in range(probes):
            measured.append(await prober.probe(next(numbers)))
            await asyncio.sleep(0.01)
        searches = []
        for number in range(probes):
            searches.append(await prober.search(number % USERS))
            await asyncio.sleep(0.005)
        busy.append(percentile(searches, 0.99) * 1e3)
        streaming.cancel()
        await asyncio.gather(streaming, return_exceptions=True)
        loader = await _client(mesh)
        accepts.append(percentile([a for a, _ in measured], 0.99) * 1e3)
        fresh.append(percentile([f for _, f in measured], 0.99) * 1e3)
        median = percentile([f for _, f in measured], 0.5) * 1e3
        console.print(f"freshness p50 {median:.1f} ms, p99 {fresh[-1]:.1f} ms")
        console.print(f"searches p99 idle {idle[-1]:.1f} ms, under load {busy[-1]:.1f} ms")
        baseline.append(percentile(await alone(), 0.99) * 1e3)
    ratio = Figure.of([f / b for f, b in zip(fresh, baseline, strict=True)])
    figure = Figure.of(fresh)
    return [
        Result(
            "7",
            f"freshness p99 at half the capacity, {where}, ms",
            "≤ 70 ms",
            str(figure),
            figure.median <= 70,
            f"capacity {most:.0f} users/s; accept p99 {Figure.of(accepts)} ms under that load",
        ),
        Result(
            "7",
            f"the same against one upsert and one search in the engine alone (p99), {where}",
            "≤ 3",
            str(ratio),
            ratio.median <= 3,
            f"engine alone: p99 {Figure.of(baseline)} ms",
        ),
        Result(
            "8",
            f"search p99 while indexing at half the capacity, against idle, {where}",
            "≤ 1.5, nobody missing",
            str(ratios(busy, idle)),
            ratios(busy, idle).median <= 1.5,
            f"idle {Figure.of(idle)} ms",
        ),
    ]


async def _client(mesh: MeshProcess | EngineMesh) -> Client:
    async with asyncio.timeout(30):
        while True:
            try:
                return await Client.to(mesh)
            except OSError:
                await asyncio.sleep(0.05)


def main(*, quick: bool = False) -> None:
    """Measure and report."""
    sizes = (2 if quick else 5, 100 if quick else 500, 10_000 if quick else 80_000)
    report(uvloop.run(embedded(*sizes)))
    if lack := lacking():
        console.print(f"freshness over engines is left out: {lack}")
        return
    report(uvloop.run(over_engines(*sizes)))


if __name__ == "__main__":
    main(quick="--quick" in sys.argv)
