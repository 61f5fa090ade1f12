"""TARGETS rows 1 and 2: what accepting a user costs, and what producing adds to it.

CPU of the server process per request, closed loop, the servers taking turns on one core and the
load generator on the other.
"""

import asyncio
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import uvloop

from bench.harness import (
    Figure,
    Result,
    console,
    cpu_seconds,
    percentile,
    pin,
    ratios,
    report,
)
from bench.load import closed_loop, connect, post
from processes import free_ports

CONNECTIONS = 64
BODY = b'{"name":"Alice Doe","email":"alice.doe@example.com","attributes":{"team":"billing"}}'
GO = Path(__file__).parent / "go"
GO_PROGRAM = Path(tempfile.gettempdir()) / "event-mesh-bench" / "accept"


def build_go() -> bool:
    """Build the Go yardstick where Go is installed."""
    if shutil.which("go") is None:
        console.print("[yellow]no Go here: the Go yardstick of row 1 is skipped[/yellow]")
        return False
    console.print("building the Go yardstick (a minute the first time)")
    GO_PROGRAM.parent.mkdir(exist_ok=True)
    subprocess.run(["go", "build", "-o", str(GO_PROGRAM), "."], cwd=GO, check=True)
    return True


class Server:
    """One of the compared servers, as a process."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        (self.port,) = free_ports(1)
        self.folder = Path(tempfile.mkdtemp(prefix="mesh-bench-"))
        python = [sys.executable, "-m", "bench.servers", kind, str(self.port)]
        go = [str(GO_PROGRAM), str(self.port)]
        command = [*go, str(self.folder / "go.db")] if kind == "go" else [*python, str(self.folder)]
        tests = str(Path(__file__).parents[1])
        environment = {"GOMAXPROCS": "1", "PATH": "/usr/bin:/bin", "PYTHONPATH": tests}
        self.process = subprocess.Popen(command, env=environment)
        pin(self.process.pid, 0)
        self.cpu: list[float] = []
        self.p50: list[float] = []
        self.p99: list[float] = []

    async def ready(self) -> None:
        """Wait until it accepts."""
        async with asyncio.timeout(30):
            while True:
                try:
                    connection = await connect(self.port)
                    answer = await connection.request(post("/users/create", BODY))
                    assert answer[:3] == b"202", answer
                    return
                except OSError:
                    await asyncio.sleep(0.05)

    async def round(self, requests: int, *, counted: bool) -> None:
        """Measure one round."""
        request = post("/users/create", BODY)
        before = cpu_seconds(self.process.pid)
        latencies = await closed_loop(self.port, lambda: request, CONNECTIONS, requests, b"202")
        if counted:
            self.cpu.append((cpu_seconds(self.process.pid) - before) / requests * 1e6)
            self.p50.append(percentile(latencies, 0.5) * 1e3)
            self.p99.append(percentile(latencies, 0.99) * 1e3)

    def stop(self) -> None:
        """End it and remove its data."""
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


async def measure(rounds: int, requests: int) -> list[Result]:
    """Run the rounds and return the rows."""
    kinds = ["ours", "ours-without-produce", "fastapi"] + (["go"] if build_go() else [])
    servers = {kind: Server(kind) for kind in kinds}
    pin(0, 1)
    try:
        for server in servers.values():
            await server.ready()
        for number in range(rounds + 1):
            for server in servers.values():
                await server.round(requests, counted=number > 0)
                await asyncio.sleep(0.2)
    finally:
        for server in servers.values():
            server.stop()
    for kind, server in servers.items():
        console.print(
            f"{kind:22} {Figure.of(server.cpu)} µs CPU a request, latency p50"
            f" {Figure.of(server.p50)} ms, p99 {Figure.of(server.p99)} ms"
        )
    ours = servers["ours"]
    latency = f"accept p50 {Figure.of(ours.p50)} ms, p99 {Figure.of(ours.p99)} ms at 64 connections"
    stock = ratios(ours.cpu, servers["fastapi"].cpu)
    produce = ratios(ours.cpu, servers["ours-without-produce"].cpu)
    results = [
        Result(
            "1",
            "accepting a user, CPU per request, against a stock FastAPI handler",
            "≤ 0.35",
            str(stock),
            stock.median <= 0.35,
            latency,
        )
    ]
    if "go" in servers:
        go = ratios(ours.cpu, servers["go"].cpu)
        results.append(
            Result(
                "1",
                "the same against Go net/http with the same durable append (SQLite)",
                "≤ 2",
                str(go),
                go.median <= 2,
            )
        )
    results.append(
        Result(
            "2",
            "the handler with producing against without, CPU per request",
            "≤ 1.15",
            str(produce),
            produce.median <= 1.15,
        )
    )
    return results


def main(*, quick: bool = False) -> None:
    """Measure and report."""
    started = time.monotonic()
    report(uvloop.run(measure(rounds=5, requests=5_000 if quick else 20_000)))
    console.print(f"took {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main(quick="--quick" in sys.argv)
