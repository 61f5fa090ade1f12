"""TARGETS row 16: starting the operator on 10,000 tenants, against kopf alone.

All are in force already. Each is started in turn, until it does not use its processor any more.
kopf alone has handlers that do nothing: of the four kinds that the operator watches, and of Tenants
only.
"""

import asyncio
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import aiohttp

from bench.cluster import (
    declare,
    module,
    new_namespace,
    resident_mebibytes,
    running_api,
    until_idle,
)
from bench.harness import Figure, Result, console, ratios, report
from bench.operator_cost import until_said
from kube_api import KubeApi, assets
from meshkit.kube.client import KubeClient
from operator_rig import OperatorProcess
from processes import Process

TENANTS = 10_000
_START_SECONDS = 900


async def cold_start(
    api: KubeApi, folder: Path, namespace: str, tenants: int, rounds: int
) -> list[Result]:
    """Start each in turn on tenants that are in force; return the rows."""
    kinds = ("tenants", "tenantplans", "tenantpolicies", "leases")
    starts: dict[str, Callable[[], Process]] = {
        "ours": lambda: OperatorProcess(api, namespace, folder),
        "same": lambda: module(api, "stock_operator", "noop", namespace, *kinds),
        "tenants": lambda: module(api, "stock_operator", "noop", namespace, "tenants"),
    }
    seconds: dict[str, list[float]] = {name: [] for name in starts}
    memory: dict[str, list[float]] = {name: [] for name in starts}
    for _ in range(rounds):
        for name, start in starts.items():
            process = start()
            try:
                began = time.monotonic()
                process.spawn()
                seconds[name].append(await until_idle(process, began, 0.5 + tenants * 2e-4))
                memory[name].append(resident_mebibytes(process))
                process.stop()
            finally:
                process.kill()
            console.print(f"{name}: {seconds[name][-1]:.1f} s, {memory[name][-1]:.0f} MiB")
    rows = []
    for name, what in (("same", "the same four kinds"), ("tenants", "Tenants only")):
        time_ratio = ratios(seconds["ours"], seconds[name])
        memory_ratio = ratios(memory["ours"], memory[name])
        rows += [
            Result(
                "16",
                f"start with {tenants:,} tenants until idle, against kopf that watches {what}",
                "≤ 2",
                str(time_ratio),
                time_ratio.median <= 2,
                f"{Figure.of(seconds['ours'])} against {Figure.of(seconds[name])} s",
            ),
            Result(
                "16",
                f"memory then, against kopf that watches {what}",
                "≤ 1.5",
                str(memory_ratio),
                memory_ratio.median <= 1.5,
                f"{Figure.of(memory['ours'])} against {Figure.of(memory[name])} MiB",
            ),
        ]
    return rows


async def measure(api: KubeApi, folder: Path, *, quick: bool) -> list[Result]:
    """Bring all in force, then measure; return the rows."""
    namespace, tenants = new_namespace(api), 500 if quick else TENANTS
    operator = OperatorProcess(api, namespace, folder)
    async with aiohttp.ClientSession() as http, KubeClient(api.connection(namespace)) as client:
        try:
            await operator.start(http)
            await declare(client, [f"t-{number}" for number in range(tenants)])
            await until_said(client, _START_SECONDS)
            console.print(f"{tenants} tenants in force")
            # So that the next one does not wait for its Lease to end.
            operator.stop()
        finally:
            operator.kill()
    return await cold_start(api, folder, namespace, tenants, 1 if quick else 3)


def main(*, quick: bool = False) -> None:
    """Measure and report."""
    if assets() is None:
        console.print("operator_start is left out: KUBEBUILDER_ASSETS is not set")
        return
    with running_api() as api, TemporaryDirectory() as folder:
        report(asyncio.run(measure(api, Path(folder), quick=quick)))


if __name__ == "__main__":
    main(quick="--quick" in sys.argv)
