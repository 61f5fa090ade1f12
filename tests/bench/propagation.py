"""TARGETS row 14: from the edit of a Tenant until every replica enforces it, with 10,000 tenants.

Two operators as processes, of 100 tenants and of 10,000, each with two replicas in a process of
their own, on one API server. In turn, a batch of edits on the one and on the other; each edit waits
for the last one. From the request for the edit until both replicas have the new value, and until
the Tenant says `Enforced` about it.
"""

import asyncio
import random
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import aiohttp

from bench.cluster import (
    declare,
    module,
    new_namespace,
    running_api,
    write_limit,
)
from bench.harness import Result, console, percentile, ratios, report
from bench.replicas import REPLICAS
from builders import tenant_document
from kube_api import KubeApi, assets
from meshkit.kube.client import KubeClient
from meshkit.tenancy.resources import TENANTS
from operator_rig import OperatorProcess, condition
from processes import Process

FEW, MANY = 100, 10_000
_EDIT_SECONDS = 30
_START_SECONDS = 1800


class Side:
    """A namespace of tenants, with the operator and the replicas at work on them."""

    def __init__(self, client: KubeClient, replicas: Process, tenants: int) -> None:
        self.client = client
        self.tenants = tenants
        self.edits = 0
        self.in_replicas: list[float] = []
        self.in_status: list[float] = []
        self._replicas = replicas
        self._read = 0
        self._said: dict[str, tuple[int, float]] = {}

    async def edit(self, name: str) -> None:
        """Change a limit, and keep how long it took to be in force."""
        self.edits += 1
        wanted = 1000 + self.edits
        document = tenant_document(name, rateLimits=write_limit(wanted))
        started = time.monotonic()
        made = await self.client.apply(TENANTS, document, manager="people")
        generation = made["metadata"]["generation"]
        async with asyncio.timeout(_EDIT_SECONDS):
            while len(there := self._there(name, wanted)) < REPLICAS:
                await asyncio.sleep(0.005)
            while self._said.get(name, (0, 0.0))[0] < generation:
                await asyncio.sleep(0.005)
        self.in_replicas.append((max(there.values()) - started) * 1e3)
        self.in_status.append((self._said[name][1] - started) * 1e3)

    async def follow(self) -> None:
        """Watch what Tenants say of themselves."""
        tenants, version = await self.client.list(TENANTS)
        assert len(tenants) == self.tenants
        while True:
            async for event in self.client.watch(TENANTS, version):
                version = event.object["metadata"]["resourceVersion"]
                if event.type != "BOOKMARK":
                    said = condition(event.object, "Enforced")
                    if said.get("status") == "True":
                        generation = said["observedGeneration"]
                        name = event.object["metadata"]["name"]
                        if self._said.get(name, (0, 0.0))[0] < generation:
                            self._said[name] = generation, time.monotonic()

    def _there(self, name: str, wanted: int) -> dict[str, float]:
        """When each replica had the wanted value."""
        there = {}
        with self._replicas.log.open() as lines:
            lines.seek(self._read)
            told = lines.read()
        # The last line may be half written.
        told = told[: told.rfind("\n") + 1]
        for line in filter(None, told.splitlines()):
            number, *words = line.split()
            if words[:2] == [name, str(wanted)] and len(words) == 3:
                there[number] = float(words[2])
        if len(there) == REPLICAS:
            self._read += len(told.encode())
        return there


@asynccontextmanager
async def at_work(api: KubeApi, folder: Path, namespace: str, tenants: int) -> AsyncIterator[Side]:
    """The operator and two replicas at work on tenants that are all in force."""
    operator = OperatorProcess(api, namespace, folder)
    replicas = module(api, "replicas", namespace)
    async with aiohttp.ClientSession() as http, KubeClient(api.connection(namespace)) as client:
        try:
            replicas.spawn()
            await operator.start(http)
            started = time.monotonic()
            await declare(client, [f"t-{number}" for number in range(tenants)])
            async with asyncio.timeout(_START_SECONDS):
                while await unenforced(client):
                    await asyncio.sleep(1)
            console.print(f"{tenants} tenants in force after {time.monotonic() - started:.0f} s")
            side = Side(client, replicas, tenants)
            following = asyncio.create_task(side.follow())
            yield side
            following.cancel()
            # So that the next one does not wait for its Lease to end.
            operator.stop()
        finally:
            operator.kill()
            replicas.kill()


async def unenforced(client: KubeClient) -> int:
    """Return how many tenants are not in force everywhere."""
    found, _ = await client.list(TENANTS)
    return sum(condition(one, "Enforced").get("status") != "True" for one in found)


async def propagation(few: Side, many: Side, edits: int, rounds: int) -> list[Result]:
    """Edit on both sides in turn; return the rows."""
    rng = random.Random(14)
    for number in range(rounds + 1):
        for side in (few, many):
            for _ in range(edits // rounds):
                await side.edit(f"t-{rng.randrange(side.tenants)}")
            if number == 0:
                # A warm-up.
                side.in_replicas.clear()
                side.in_status.clear()
    rows = []
    for what, key in (
        ("both replicas enforce it", "in_replicas"),
        ("its status says so", "in_status"),
    ):
        short, long = getattr(few, key), getattr(many, key)
        p50, p99 = percentile(long, 0.5), percentile(long, 0.99)
        rows.append(
            Result(
                "14",
                f"from the edit of a Tenant until {what}, p99 of {len(long)},"
                f" {many.tenants:,} tenants, ms",
                "≤ 250 ms",
                f"{p99:.0f} (p50 {p50:.0f})",
                p99 <= 250,
            )
        )
        each = len(long) // rounds
        medians = ratios(
            [percentile(long[n * each : (n + 1) * each], 0.5) for n in range(rounds)],
            [percentile(short[n * each : (n + 1) * each], 0.5) for n in range(rounds)],
        )
        ratio = p99 / percentile(short, 0.99)
        rows.append(
            Result(
                "14",
                f"the same (until {what}) with {many.tenants:,} tenants against {few.tenants}, p99",
                "≤ 1.2",
                f"{ratio:.2f}",
                ratio <= 1.2,
                f"{what}: {few.tenants} tenants p99 {percentile(short, 0.99):.0f} ms, p50"
                f" {percentile(short, 0.5):.0f} ms; the p50 of rounds {medians}",
            )
        )
    return rows


async def measure(api: KubeApi, folder: Path, *, quick: bool) -> list[Result]:
    """Measure; return the rows."""
    few_in, many_in = new_namespace(api), new_namespace(api)
    tenants, edits, rounds = (500, 20, 2) if quick else (MANY, 1000, 10)
    async with (
        at_work(api, folder, many_in, tenants) as many,
        at_work(api, folder, few_in, FEW) as few,
    ):
        return await propagation(few, many, edits, rounds)


def main(*, quick: bool = False) -> None:
    """Measure and report."""
    if assets() is None:
        console.print("propagation is left out: KUBEBUILDER_ASSETS is not set")
        return
    with running_api() as api, TemporaryDirectory() as folder:
        report(asyncio.run(measure(api, Path(folder), quick=quick)))


if __name__ == "__main__":
    main(quick="--quick" in sys.argv)
