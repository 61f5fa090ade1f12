"""A real API server for benchmarks, with as many tenants as they like, and who works on them."""

import asyncio
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import psutil

from bench.harness import cpu_seconds
from builders import tenant_document
from kube_api import KubeApi
from meshkit.kube.client import KubeClient
from meshkit.tenancy.resources import TENANTS
from operator_rig import own_namespaces
from processes import Process, clean_environment

_AT_ONCE = 16
_QUIET_SECONDS = 3.0
_QUIET_SHARE = 0.04


@contextmanager
def running_api() -> Iterator[KubeApi]:
    """An API server that knows our kinds."""
    with tempfile.TemporaryDirectory() as folder:
        api = KubeApi(Path(folder))
        try:
            api.start()
            api.install_crds()
            yield api
        finally:
            api.stop()


def new_namespace(api: KubeApi) -> str:
    """A namespace of one's own; it goes with the server."""
    (name,) = own_namespaces(api, 1)
    return name


def write_limit(requests: int) -> list[dict[str, Any]]:
    """What edits change."""
    return [{"name": "users.write", "requests": requests, "windowSeconds": 1}]


async def declare(client: KubeClient, names: Sequence[str], requests: int = 1) -> None:
    """Make these tenants, or edit them; some at a time."""
    left = list(names)

    async def work() -> None:
        while left:
            document = tenant_document(left.pop(), rateLimits=write_limit(requests))
            await client.apply(TENANTS, document, manager="people")

    await asyncio.gather(*(work() for _ in range(_AT_ONCE)))


async def until_idle(process: Process, since: float, least: float) -> float:
    """Return how many seconds after `since` (monotonic) a process had nothing to do any more: when
    the first stretch of time began in which it hardly used a processor. `least` seconds of it are
    used before that: who waits for a list is not done."""
    samples = [(time.monotonic(), cpu_seconds(process.pid))]
    while True:
        await asyncio.sleep(0.1)
        assert process.running, process.log.read_text()[-3000:]
        samples.append((time.monotonic(), cpu_seconds(process.pid)))
        now, used = samples[-1]
        began, before = (
            next(s for s in reversed(samples) if now - s[0] >= _QUIET_SECONDS)
            if (now - samples[0][0] >= _QUIET_SECONDS)
            else (now, 0.0)
        )
        if used > least and began < now and used - before < _QUIET_SHARE * (now - began):
            return began - since


def resident_mebibytes(process: Process) -> float:
    """Return the memory that a process has now."""
    return float(psutil.Process(process.pid).memory_info().rss / 2**20)


def module(api: KubeApi, name: str, *arguments: str) -> Process:
    """A module of the benchmarks as a process."""
    environment = clean_environment() | {
        "KUBECONFIG": str(api.kubeconfig),
        "PYTHONPATH": str(Path(__file__).parents[1]),
    }
    log = api.kubeconfig.parent / f"{name}-{uuid4().hex[:6]}.log"
    return Process([sys.executable, "-m", f"bench.{name}", *arguments], environment, log)


async def requests_served(api: KubeApi) -> dict[tuple[str, str, str], int]:
    """Return how many requests the API server has answered, by verb, resource and subresource."""
    headers = {"authorization": f"Bearer {await api.connection().token()}"}
    url = f"{api.url}/metrics"
    async with aiohttp.ClientSession() as http, http.get(url, headers=headers, ssl=False) as answer:
        text = await answer.text()
    counts: dict[tuple[str, str, str], int] = {}
    for line in text.splitlines():
        if not line.startswith("apiserver_request_total{"):
            continue
        labels, _, value = line.partition("{")[2].rpartition("} ")
        found = dict(part.split("=", 1) for part in labels.split(",") if "=" in part)
        key = tuple(found.get(one, '""').strip('"') for one in ("verb", "resource", "subresource"))
        counts[key[0], key[1], key[2]] = counts.get((key[0], key[1], key[2]), 0) + int(float(value))
    return counts
