"""The mesh as it is run in a cluster, in processes of this machine: a Kafka broker, a Qdrant
server, user-service, ai-gateway and two indexers, each of which can be killed and started again."""

import asyncio
import random
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiohttp
import pytest

from foreign_producer import ForeignProducer
from kafka_broker import KafkaBroker, missing
from ledger import TENANTS, Ledger
from mesh_process import healthy, unlimited, write_tenant
from meshkit.events.dead_letters import DeadLetter, dead_letters
from meshkit.events.kafka_config import KafkaConnection
from meshkit.events.kafka_log import KafkaEventLog
from meshkit.events.kafka_topics import ensure_topics
from processes import Process, clean_environment, free_ports, installed
from qdrant_server import server_process

START_SECONDS = 60
CLIENTS = 12
# It ends as soon as all is right: this is for a machine that has a lot else to do.
SETTLE_SECONDS = 240


class EngineMesh:
    """Everything, with its data in `folder`. Started by `start`, ended by `stop`."""

    def __init__(self, folder: Path, *, indexers: int = 2) -> None:
        self.broker = KafkaBroker(folder / "kafka")
        store_port, users, gateway, *admins = free_ports(5 + indexers)
        self.store_url = f"http://127.0.0.1:{store_port}"
        self.users_url = f"http://127.0.0.1:{users}"
        self.gateway_url = f"http://127.0.0.1:{gateway}"
        tenants = folder / "tenants"
        for tenant in TENANTS:
            write_tenant(tenants, unlimited(tenant))
        environment = clean_environment(
            TENANTS=str(tenants),
            KAFKA_BOOTSTRAP_SERVERS=self.broker.bootstrap_servers,
            QDRANT_URL=self.store_url,
            USER_SERVICE_PORT=str(users),
            AI_GATEWAY_PORT=str(gateway),
            POSITION_KEY=b64encode(bytes(range(32))).decode(),
            LOG_FORMAT="json",
        )
        names = ["user-service", "ai-gateway"] + [f"indexer-{n}" for n in range(indexers)]
        self.services = {
            name: Process(
                [installed("ai-gateway-indexer" if name.startswith("indexer") else name)],
                environment | {"MESH_ADMIN_PORT": str(port)},
                folder / f"{name}.log",
            )
            for name, port in zip(names, admins, strict=True)
        }
        self.store = server_process(store_port, folder / "qdrant", folder / "qdrant.log")
        self._broker_task: asyncio.Task[None] | None = None

    @property
    def connection(self) -> KafkaConnection:
        """How to reach the broker."""
        return KafkaConnection(self.broker.bootstrap_servers)

    async def start(self, http: aiohttp.ClientSession) -> None:
        """Start everything and wait until both services answer and searches are served."""
        self.store.spawn()
        await asyncio.to_thread(self.broker.start)
        await ensure_topics(self.connection)
        for service in self.services.values():
            service.spawn()
        await self.ready(http)

    async def ready(self, http: aiohttp.ClientSession) -> None:
        """Wait until writes are taken and searches are answered."""
        if self._broker_task is not None:
            await self._broker_task
        async with asyncio.timeout(START_SECONDS):
            for url in (self.users_url, self.gateway_url):
                while not await healthy(http, url):
                    await asyncio.sleep(0.05)
            query = {"tenant_id": TENANTS[0], "query": "x"}
            while True:
                with suppress(aiohttp.ClientError):
                    url = f"{self.gateway_url}/ai/users/search"
                    async with http.get(url, params=query) as answer:
                        if answer.status == 200:
                            return
                await asyncio.sleep(0.05)

    def kill(self, part: str) -> None:
        """kill -9 one part and start it again at once, without waiting until it is back."""
        if part == "broker":
            self.broker.kill()
            self._broker_task = asyncio.create_task(asyncio.to_thread(self.broker.start))
            return
        process = self.store if part == "store" else self.services[part]
        process.kill()
        process.spawn()

    @property
    def parts(self) -> list[str]:
        """What may be killed now: a broker that is just starting may not."""
        busy = self._broker_task is not None and not self._broker_task.done()
        return [*self.services, "store"] + ([] if busy else ["broker"])

    async def dead_letters(self) -> list[DeadLetter]:
        """What lies in the dead-letter topic."""
        log = KafkaEventLog(self.connection)
        try:
            return await dead_letters(log)
        finally:
            await log.close()

    async def stop(self) -> None:
        """Stop everything; each service has to end well."""
        if self._broker_task is not None:
            await self._broker_task
        statuses = {}
        for name, service in self.services.items():
            statuses[name] = await asyncio.to_thread(service.stop)
        self.store.kill()
        await asyncio.to_thread(self.broker.stop)
        assert set(statuses.values()) == {0}, statuses

    def abandon(self) -> None:
        """Kill everything, whatever state it is in."""
        for process in (*self.services.values(), self.store):
            process.kill()
        with suppress(AssertionError):
            self.broker.kill()


async def kill_at_random(mesh: EngineMesh, ledger: Ledger, rng: random.Random, kills: int) -> None:
    """Kill parts in any order, also before the last one is back, while the ledger goes on."""
    for _ in range(kills):
        mesh.kill(rng.choice(mesh.parts))
        before = ledger.acknowledged
        wanted = rng.randrange(400)
        with suppress(TimeoutError):
            async with asyncio.timeout(rng.uniform(0.2, 3.0)):
                while ledger.acknowledged < before + wanted:
                    await asyncio.sleep(0.01)


@asynccontextmanager
async def under_load(
    folder: Path, rng: random.Random, *, foreign: bool = False
) -> AsyncIterator[tuple[EngineMesh, Ledger]]:
    """A mesh that is written to and read from; at the end the ledger has to be right. With
    `foreign` another team's producer writes a part of it, past the services."""
    if lack := missing():
        pytest.skip(f"a broker of our own is needed, and {lack}")
    mesh = EngineMesh(folder)
    timeout = aiohttp.ClientTimeout(total=15)
    async with aiohttp.ClientSession(timeout=timeout) as http:
        try:
            await mesh.start(http)
            other = ForeignProducer(mesh.broker.bootstrap_servers) if foreign else None
            ledger = Ledger(mesh.users_url, mesh.gateway_url, http, foreign=other)
            async with ledger.clients(CLIENTS, rng):
                yield mesh, ledger
            await mesh.ready(http)
            await ledger.settle(SETTLE_SECONDS)
            assert await mesh.dead_letters() == []
            await mesh.stop()
        finally:
            mesh.abandon()
