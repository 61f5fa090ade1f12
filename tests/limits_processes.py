"""Replicas of user-service as real processes that share limits, under a load that is counted."""

import asyncio
import base64
import random
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp

from kube_api import KubeApi
from limits_rig import Tally
from meshkit.kube.client import KubeClient
from meshkit.limits.peers import Peers
from meshkit.tenancy.resources import POLICIES
from policy_objects import policy
from replica_process import Replica

TENANT = "tenant-a"
START_SECONDS = 60
KEY = base64.b64encode(bytes(range(32))).decode()
_LEASES = re.compile(r'^mesh_rate_limit_lease_seconds_bucket{le="([^"]+)"} (\S+)$', re.MULTILINE)
HEADERS = {"x-tenant-id": TENANT, "content-type": "application/json"}


class LimitedReplicas:
    """So many user-services in one namespace, and the tally of what they admit.

    A request has a body that is refused after the limit has been charged: a status of 429 is a
    refusal by the limit, any other that of a request that it let pass.
    """

    def __init__(self, api: KubeApi, namespace: str, folder: Path, **settings: str) -> None:
        self.folder = folder
        self.http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=5)
        )
        self.tally = Tally()
        self.failed = 0
        self.waited: list[float] = []
        self.uid = ""
        self._api, self._namespace = api, namespace
        self._settings = {"PEER_KEY": KEY} | settings
        self.all: list[Replica] = []
        self._sending: set[asyncio.Task[None]] = set()

    @property
    def running(self) -> list[Replica]:
        """Those that were neither stopped nor killed."""
        return [replica for replica in self.all if replica.running]

    async def start(self, count: int, *, group: int | None = None) -> list[Replica]:
        """Start so many more, of one group of the system, and wait until all that run share
        limits."""
        started = [
            Replica(
                self._api,
                self._namespace,
                self.folder / f"replica-{uuid4().hex[:8]}",
                "user-service",
                **self._settings,
            )
            for _ in range(count)
        ]
        self.all += started
        for replica in started:
            replica.group = group
            replica.spawn()
        await self.share()
        return started

    async def share(self) -> None:
        """Wait until all that run know each other."""
        expected = f"shared by {len(self.running)} replicas"
        if len(self.running) == 1:
            expected = "one replica"
        async with asyncio.timeout(START_SECONDS):
            for replica in self.running:
                while await self.limits_of(replica) != expected:
                    assert replica.running, replica.log.read_text()[-2000:]
                    await asyncio.sleep(0.1)

    async def limits_of(self, replica: Replica) -> str:
        """How a replica says that its limits hold, empty where it is not ready."""
        try:
            async with self.http.get(f"http://127.0.0.1:{replica.admin_port}/readyz") as answer:
                if answer.status != 200:
                    return ""
                limits: str = (await answer.json())["details"]["limits"]
                return limits
        except (aiohttp.ClientError, TimeoutError):
            return ""

    async def begin(self, burst: int) -> None:
        """Wait until every replica says that nothing of the limit is used; count from now on."""
        async with asyncio.timeout(START_SECONDS):
            for replica in self.running:
                while await self.remaining(replica) != burst:
                    await asyncio.sleep(0.1)
        self.tally, self.failed, self.waited = Tally(), 0, []

    async def lease_p99(self) -> float:
        """Within how many seconds 99 of 100 requests for tokens were answered, as the buckets of
        the metric tell it; 0 where there were none."""
        counts: dict[float, float] = {}
        for replica in self.running:
            async with self.http.get(f"http://127.0.0.1:{replica.admin_port}/metrics") as answer:
                text = await answer.text()
            for bound, count in _LEASES.findall(text):
                counts[float(bound)] = counts.get(float(bound), 0.0) + float(count)
        most = max(counts.values())
        return min(bound for bound, count in counts.items() if count >= 0.99 * most) if most else 0

    async def remaining(self, replica: Replica) -> int:
        """What is left of users.write, as one replica says."""
        async with self.http.get(f"{replica.users_url}/tenants/self", headers=HEADERS) as answer:
            states = (await answer.json()).get("rateLimits", [])
        return next((s["remaining"] for s in states if s["name"] == "users.write"), -1)

    def owner(self) -> Replica:
        """Who runs the tenant's bucket."""
        identities = {replica.identity: replica for replica in self.running}
        peers = Peers(next(iter(identities)))
        peers.listed(dict.fromkeys(identities, ""), 0.0)
        return identities[peers.owner((self.uid, "users.write"))]

    async def traffic(
        self, seconds: float, rate: float, shares: Sequence[tuple[Replica, float]]
    ) -> None:
        """Send requests at random times for so long; wait for the answers."""
        loop = asyncio.get_running_loop()
        replicas, weights = [r for r, _ in shares], [weight for _, weight in shares]
        due, end = loop.time(), loop.time() + seconds
        while (due := due + random.expovariate(rate)) < end:
            await asyncio.sleep(max(due - loop.time(), 0))
            task = asyncio.create_task(self.request(random.choices(replicas, weights)[0]))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)
        await asyncio.gather(*self._sending)

    async def request(self, replica: Replica) -> None:
        """One request, counted where it is answered."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        url = f"{replica.users_url}/users/create"
        try:
            async with self.http.post(url, data=b"{}", headers=HEADERS) as answer:
                await answer.read()
        except (aiohttp.ClientError, TimeoutError):
            self.failed += 1
            return
        assert answer.status in (422, 429), answer.status
        self.tally.fallbacks += "fallback=" in answer.headers.get("ratelimit", "")
        self.tally.add(loop.time(), 1, int(answer.status != 429))
        self.waited.append(loop.time() - began)


@asynccontextmanager
async def limited_replicas(
    api: KubeApi, folder: Path, *, requests: int, burst: int, **settings: str
) -> AsyncIterator[LimitedReplicas]:
    """A namespace with one tenant under this limit, and no replica yet."""
    namespace = f"n{uuid4().hex}"
    assert api.kubectl("create", "namespace", namespace).returncode == 0
    replicas = LimitedReplicas(api, namespace, folder, **settings)
    async with KubeClient(api.connection(namespace)) as client:
        document: dict[str, Any] = policy(TENANT, 1)
        for limit in document["spec"]["rateLimits"]:
            if limit["name"] == "users.write":
                limit.update(requests=requests, windowSeconds=1, burst=burst, unlimited=False)
        await client.apply(POLICIES, document, manager="tests")
        replicas.uid = document["spec"]["tenantUid"]
    try:
        yield replicas
    finally:
        for replica in replicas.all:
            replica.kill()
        await replicas.http.close()
