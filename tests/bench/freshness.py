"""TARGETS row 7, embedded: how long after its 202 a user is searchable, at half the capacity.

First the capacity: so many users in as fast as they are taken, until the last is searchable. Then
an open-loop stream at half of that, and beside it a prober for another tenant: it creates a user,
and from the 202 on asks for it with `after` until a search returns it. The yardstick is the engine
alone in the same run: one upsert and one search, with as many points in it.
"""

import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import quote

import uvloop

from ai_gateway.vector_store.edge import EdgeVectorStore
from bench.harness import Figure, Result, console, percentile, report
from bench.load import Connection, connect, get, post
from builders import DENSE, make_context, make_query, make_upsert
from mesh_process import MeshProcess, unlimited

LOAD = "tenant-a"
PROBE = "tenant-b"
BATCH = 50


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
    async def to(cls, mesh: MeshProcess) -> "Client":
        """Connect to a mesh."""
        ports = [int(url.rpartition(":")[2]) for url in (mesh.users_url, mesh.gateway_url)]
        return cls(await connect(ports[0]), await connect(ports[1]))

    async def write(self, start: int, count: int) -> str:
        """Create a batch; return its last position."""
        answer = await self._writer.request(post("/users:batch", users(start, count), LOAD))
        assert answer[:3] == b"202", answer
        position: str = json.loads(answer[3:])["results"][-1]["position"]
        return position

    async def wait(self, position: str, tenant: str = LOAD) -> None:
        """Return once the position is searchable."""
        while True:
            path = f"/ai/users/search?query=person&limit=1&after={position}"
            answer = json.loads((await self._reader.request(get(path, tenant)))[3:])
            if answer["upToDate"]:
                return

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


async def capacity(client: Client, count: int) -> float:
    """Return how many users a second go from HTTP to searchable."""
    started = time.perf_counter()
    position = ""
    for start in range(0, count, 500):
        position = await client.write(start, 500)
    await client.wait(position)
    return count / (time.perf_counter() - started)


async def stream(client: Client, rate: float) -> None:
    """Create users at a steady rate, by the clock, until cancelled."""
    started = time.perf_counter()
    sent = 0
    while True:
        delay = started + sent / rate - time.perf_counter()
        if delay > 0:
            await asyncio.sleep(delay)
        await client.write(sent % 20_000, BATCH)
        sent += BATCH


async def direct(count: int, stored: int) -> list[float]:
    """Return how long one upsert and one search take in the engine alone."""
    tenant = make_context("tenant-b")
    with tempfile.TemporaryDirectory() as folder:
        store = await EdgeVectorStore.open(
            Path(folder), embedder_name=DENSE.name, dimension=DENSE.dimension, log_id="bench"
        )
        crowd = make_context("tenant-a")
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
        await store.close()
    return times


async def measure(rounds: int, probes: int, warm: int) -> list[Result]:
    """Run the rounds and return the row."""
    with tempfile.TemporaryDirectory() as folder:
        mesh = MeshProcess(Path(folder), unlimited(LOAD), unlimited(PROBE))
        mesh.environment["MESH_LOG_LEVEL"] = "error"
        mesh.spawn()
        loader, prober = await _client(mesh), await _client(mesh)
        most = await capacity(loader, warm)
        console.print(f"capacity: {most:.0f} users a second from HTTP to searchable")
        await prober.probe(0)
        fresh, accepts, baseline = [], [], []
        numbers = iter(range(1, 1_000_000))
        for _ in range(rounds):
            load = asyncio.create_task(stream(loader, most / 2))
            await asyncio.sleep(1.0)
            measured = []
            for _ in range(probes):
                measured.append(await prober.probe(next(numbers)))
                await asyncio.sleep(0.01)
            load.cancel()
            await asyncio.gather(load, return_exceptions=True)
            loader = await _client(mesh)
            accepts.append(percentile([a for a, _ in measured], 0.99) * 1e3)
            fresh.append(percentile([f for _, f in measured], 0.99) * 1e3)
            median = percentile([f for _, f in measured], 0.5) * 1e3
            console.print(f"freshness p50 {median:.1f} ms, p99 {fresh[-1]:.1f} ms")
            baseline.append(percentile(await direct(probes, warm), 0.99) * 1e3)
        assert mesh.stop() == 0
    ratio = Figure.of([f / b for f, b in zip(fresh, baseline, strict=True)])
    figure = Figure.of(fresh)
    return [
        Result(
            "7",
            "freshness p99 at half the capacity, embedded, ms",
            "≤ 70 ms",
            str(figure),
            figure.median <= 70,
            f"capacity {most:.0f} users/s; accept p99 {Figure.of(accepts)} ms under that load",
        ),
        Result(
            "7",
            "the same against one upsert and one search in the engine alone (p99)",
            "≤ 3",
            str(ratio),
            ratio.median <= 3,
            f"engine alone: p99 {Figure.of(baseline)} ms",
        ),
    ]


async def _client(mesh: MeshProcess) -> Client:
    async with asyncio.timeout(30):
        while True:
            try:
                return await Client.to(mesh)
            except OSError:
                await asyncio.sleep(0.05)


def main(*, quick: bool = False) -> None:
    """Measure and report."""
    report(uvloop.run(measure(3 if quick else 5, 100 if quick else 300, 10_000)))


if __name__ == "__main__":
    main(quick="--quick" in sys.argv)
