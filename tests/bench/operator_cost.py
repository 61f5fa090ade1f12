"""TARGETS row 15: what one changed Tenant costs, against the usual kopf handlers.

Both operators at work beside each other in namespaces of their own, on one API server. Rounds in
turn: a batch of tenants is edited, and the round ends when each has a status about its new
generation. CPU is that of the operator's process; writes are what the API server counted, without
the edits themselves. Then ours is started again, and left with nothing to do but to list
everything again and again.
"""

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import aiohttp

from bench.cluster import declare, module, new_namespace, requests_served, running_api
from bench.harness import Figure, Result, console, cpu_seconds, ratios, report
from kube_api import KubeApi, assets
from meshkit.kube.client import KubeClient
from meshkit.tenancy.resources import POLICIES, TENANTS
from operator_rig import OperatorProcess
from processes import Process

_WRITES = ("POST", "PUT", "PATCH", "APPLY", "DELETE")
_ROUND_SECONDS = 120
_RESYNC_SECONDS = 1


@dataclass(slots=True)
class Contender:
    """An operator at work, its namespace, and what its rounds cost for each tenant."""

    process: Process
    client: KubeClient
    names: Sequence[str]
    cpu: list[float] = field(default_factory=list)
    own_writes: list[float] = field(default_factory=list)
    all_writes: list[float] = field(default_factory=list)


async def until_said(client: KubeClient, seconds: float = _ROUND_SECONDS) -> None:
    """Wait until every Tenant has a status about its newest generation, and a policy."""
    async with asyncio.timeout(seconds):
        while True:
            tenants, _ = await client.list(TENANTS)
            policies, _ = await client.list(POLICIES)
            behind = [
                one
                for one in tenants
                if (one.get("status") or {}).get("observedGeneration")
                != one["metadata"]["generation"]
            ]
            if not behind and len(policies) == len(tenants):
                return
            await asyncio.sleep(0.25)


async def written(api: KubeApi) -> tuple[int, int]:
    """Return the writes to Tenants, and to Tenants, policies and Events, so far."""
    counts = await requests_served(api)
    per_kind = {
        kind: sum(n for (verb, what, _), n in counts.items() if what == kind and verb in _WRITES)
        for kind in ("tenants", "tenantpolicies", "events")
    }
    return per_kind["tenants"], sum(per_kind.values())


async def measure_round(api: KubeApi, one: Contender, requests: int) -> None:
    """Edit every tenant, and keep what that cost."""
    cpu, (own, every) = cpu_seconds(one.process.pid), await written(api)
    await declare(one.client, one.names, requests)
    await until_said(one.client)
    # kopf's second patch comes after the status.
    await asyncio.sleep(1.5)
    own_after, every_after = await written(api)
    tenants = len(one.names)
    one.cpu.append((cpu_seconds(one.process.pid) - cpu) / tenants * 1e3)
    one.own_writes.append((own_after - own) / tenants - 1)
    one.all_writes.append((every_after - every) / tenants - 1)


async def measure(api: KubeApi, folder: Path, tenants: int, rounds: int) -> list[Result]:
    """Measure both; return the rows."""
    ours_in, theirs_in = new_namespace(api), new_namespace(api)
    names = [f"t-{number}" for number in range(tenants)]
    process = OperatorProcess(api, ours_in, folder)
    stock = module(api, "stock_operator", "handlers", theirs_in)
    async with (
        aiohttp.ClientSession() as http,
        KubeClient(api.connection(ours_in)) as ours_client,
        KubeClient(api.connection(theirs_in)) as theirs_client,
    ):
        ours = Contender(process, ours_client, names)
        theirs = Contender(stock, theirs_client, names)
        try:
            await process.start(http)
            stock.spawn()
            for number in range(rounds + 1):
                for one in (ours, theirs):
                    await measure_round(api, one, number + 1)
                console.print(f"round {number}: {ours.cpu[-1]:.2f} and {theirs.cpu[-1]:.2f} ms")
            stock.kill()
            process.stop()
            # Another one, that lists everything all the time.
            process = OperatorProcess(api, ours_in, folder, RESYNC_SECONDS=str(_RESYNC_SECONDS))
            _, before = await written(api)
            await process.start(http)
            await asyncio.sleep(3.5 * _RESYNC_SECONDS)
            idle_writes = (await written(api))[1] - before
        finally:
            process.kill()
            stock.kill()
    cpu = ratios(ours.cpu[1:], theirs.cpu[1:])
    own = ratios(ours.own_writes[1:], theirs.own_writes[1:])
    return [
        Result(
            "15",
            "the operator's CPU for each changed Tenant, against the usual kopf handlers",
            "≤ 0.6",
            str(cpu),
            cpu.median <= 0.6,
            f"{Figure.of(ours.cpu[1:])} against {Figure.of(theirs.cpu[1:])} ms",
        ),
        Result(
            "15",
            "writes to the Tenant for each change, against the same",
            "≤ 0.5",
            str(own),
            own.median <= 0.5,
            f"{Figure.of(ours.own_writes[1:])} against {Figure.of(theirs.own_writes[1:])};"
            f" policies and Events included {Figure.of(ours.all_writes[1:])} against"
            f" {Figure.of(theirs.all_writes[1:])}",
        ),
        Result(
            "15",
            f"writes over a restart and three resyncs with {tenants} tenants",
            "0",
            str(idle_writes),
            idle_writes == 0,
        ),
    ]


def main(*, quick: bool = False) -> None:
    """Measure and report."""
    if assets() is None:
        console.print("operator_cost is left out: KUBEBUILDER_ASSETS is not set")
        return
    with running_api() as api, TemporaryDirectory() as folder:
        size = (30, 3) if quick else (500, 5)
        report(asyncio.run(measure(api, Path(folder), *size)))


if __name__ == "__main__":
    main(quick="--quick" in sys.argv)
