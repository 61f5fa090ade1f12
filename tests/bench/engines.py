"""The engines that benchmarks run over: a Kafka broker of our own, and a Qdrant endpoint.

What a Qdrant endpoint can do by itself is not claimed: only ratios over the same endpoint are. Rows
that depend on it name it: what it calls itself, and its version.
"""

import json
import os
import shutil
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import psutil

from ai_gateway.vector_store.qdrant import QdrantVectorStore
from ai_gateway.vector_store.qdrant_layout import QdrantLayout
from builders import DENSE, make_context
from kafka_broker import KafkaBroker, missing
from meshkit.events.envelope import EventType, UserData, UserEvent, to_record
from meshkit.events.kafka_config import KafkaConnection
from meshkit.events.kafka_log import KafkaEventLog
from meshkit.events.kafka_topics import ensure_topics
from meshkit.events.log import USER_EVENTS, USER_EVENTS_DLQ, NewRecord, TopicSpec
from meshkit.runtime import tune_garbage_collection
from meshkit.tenancy.identity import TenantContext
from processes import free_ports
from qdrant_server import server_process

_PUBLISHED_AT_ONCE = 2000


@dataclass(frozen=True, slots=True)
class Engines:
    """Where the engines are."""

    kafka: str
    qdrant: str


@dataclass(frozen=True, slots=True)
class QdrantServer:
    """A Qdrant endpoint: what it calls itself with its version, and its process where that is one
    of this machine."""

    url: str
    name: str
    pid: int | None


def lacking() -> str | None:
    """Return why the engines cannot be had here, None where they can."""
    if (lack := missing()) is not None:
        return f"no Kafka: {lack}"
    if not os.environ.get("MESH_TEST_QDRANT_COMMAND"):  # noqa: TID251
        return "no Qdrant server: MESH_TEST_QDRANT_COMMAND is not set"
    return None


def lacking_server() -> str | None:
    """Return why no Qdrant server can be had here, None where one can."""
    given = ("MESH_TEST_QDRANT_URL", "MESH_TEST_QDRANT_COMMAND")
    if any(os.environ.get(name) for name in given) or shutil.which("qdrant"):  # noqa: TID251
        return None
    return f"no Qdrant server: neither {' nor '.join(given)} is set, and no qdrant is on the PATH"


@contextmanager
def running_server() -> Iterator[QdrantServer]:
    """The server that MESH_TEST_QDRANT_URL names, else one of our own for as long as the block
    lasts."""
    tune_garbage_collection()
    if given := os.environ.get("MESH_TEST_QDRANT_URL"):  # noqa: TID251
        url = given.rstrip("/")
        _until_ready(url)
        yield QdrantServer(url, _called(url), _listening_on(url))
        return
    with tempfile.TemporaryDirectory() as name:
        (port,) = free_ports(1)
        process = server_process(port, Path(name) / "qdrant", Path(name) / "qdrant.log")
        process.spawn()
        try:
            url = f"http://127.0.0.1:{port}"
            _until_ready(url)
            yield QdrantServer(url, _called(url), process.pid)
        finally:
            process.kill()


@contextmanager
def running_broker() -> Iterator[str]:
    """The address of a broker of our own, for as long as the block lasts."""
    with tempfile.TemporaryDirectory() as name:
        broker = KafkaBroker(Path(name) / "kafka")
        broker.start()
        try:
            yield broker.bootstrap_servers
        finally:
            broker.stop()


@contextmanager
def running_engines() -> Iterator[Engines]:
    """Run both for as long as the block lasts.

    What of the product runs in this process then runs with the collector tuned as in its own:
    untuned, looking through all that is imported stops everything for 100 ms, twice a second.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        broker = KafkaBroker(folder / "kafka")
        (port,) = free_ports(1)
        server = server_process(port, folder / "qdrant", folder / "qdrant.log")
        server.spawn()
        broker.start()
        try:
            url = f"http://127.0.0.1:{port}"
            _until_ready(url)
            tune_garbage_collection()
            yield Engines(broker.bootstrap_servers, url)
        finally:
            broker.stop()
            server.kill()


def _until_ready(url: str) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with suppress(OSError), urllib.request.urlopen(f"{url}/readyz", timeout=1):  # noqa: S310
            return
        time.sleep(0.05)
    raise TimeoutError(f"{url} is not ready")


def _called(url: str) -> str:
    """What a server calls itself: a stand-in says in its title that it is one."""
    with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310
        about = json.load(answer)
    title = str(about["title"])
    name = "Qdrant" if title == "qdrant - vector search engine" else title
    return f"{name} {about['version']}"


def _listening_on(url: str) -> int | None:
    """The process behind a URL, where that is one of this machine and may be looked at."""
    parts = urllib.parse.urlsplit(url)
    if parts.hostname not in ("127.0.0.1", "localhost"):
        return None
    for one in psutil.net_connections("tcp"):
        if one.status == psutil.CONN_LISTEN and one.laddr[1:] == (parts.port,):
            return one.pid
    return None


@asynccontextmanager
async def own_log(engines: Engines, partitions: int = 12) -> AsyncIterator[KafkaEventLog]:
    """A log with topics that nobody else uses."""
    topics = (
        TopicSpec(USER_EVENTS, partitions),
        TopicSpec(USER_EVENTS_DLQ, 1, compact=False),
    )
    connection = KafkaConnection(engines.kafka, prefix=f"{uuid4().hex}.")
    await ensure_topics(connection, topics)
    log = KafkaEventLog(connection, topics)
    try:
        yield log
    finally:
        await log.close()


@asynccontextmanager
async def own_store(engines: Engines) -> AsyncIterator[QdrantVectorStore]:
    """A store with a collection that nobody else uses, and that nobody pays for afterwards."""
    store = await QdrantVectorStore.open(
        engines.qdrant,
        alias=f"bench_{uuid4().hex}",
        embedder_name=DENSE.name,
        dimension=DENSE.dimension,
        log_id="bench",
    )
    name = store._opened().name
    try:
        yield store
    finally:
        await store.close()
        layout = QdrantLayout(engines.qdrant, None, name.rpartition("_")[0])
        await layout.drop(name)
        await layout.close()


@asynccontextmanager
async def own_collection(server: QdrantServer) -> AsyncIterator[str]:
    """The name of an empty collection of the product's layout that nobody else uses."""
    layout = QdrantLayout(server.url, None, f"bench_{uuid4().hex}")
    made = await layout.create(1, DENSE.name, DENSE.dimension, "bench")
    try:
        yield made.name
    finally:
        await layout.drop(made.name)
        await layout.close()


def created(tenant_id: str, number: int, tenant: TenantContext | None = None) -> NewRecord:
    """The event of a user as clients send them."""
    user_id = f"p{number}"
    data = UserData(
        tenant_id,
        user_id,
        f"person.{number}@example.com",
        f"Person Number {number}",
        {"city": "Springfield", "job": "Engineer"},
    )
    event = UserEvent(
        str(uuid4()),
        EventType.CREATED,
        tenant or make_context(tenant_id),
        user_id,
        "2026-11-24T12:00:00.000Z",
        data,
    )
    return to_record(event)


async def publish(log: KafkaEventLog, records: Sequence[NewRecord]) -> None:
    """Publish many records, in their order."""
    for start in range(0, len(records), _PUBLISHED_AT_ONCE):
        await log.publish_many(USER_EVENTS, records[start : start + _PUBLISHED_AT_ONCE])
