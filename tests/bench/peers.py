"""TARGETS row 6 against peers: from a filled topic to searchable in a Qdrant server, beside what
people would write with FastStream and qdrant-client, and with Quix Streams and a sink of their own.

    ours         `ai-gateway-indexer` as it is installed, with its default settings: revision guard,
                 tenants and their fairness, dead letters, counts, metrics
    faststream   `bench.peer_faststream`: a batch subscriber that upserts
    quixstreams  `bench.peer_quixstreams`: a batching sink that upserts
    bare         no log and no embedding: prepared requests with our guard, two under way at a time

In every round each of them has an empty collection of the same layout and a consumer group of its
own, in an order that is another one each time. A warm-up before them tries batches of several sizes
for all but ours, and the rounds take the fastest (`SIZES`). A run lasts from when the consumer
group stands (no start of an interpreter is counted) until the server has as many points as there
are users and finds the last one of every tenant in every partition. CPU is that of the client's
process tree in that time. What is stored is compared, point by point for a sample: a peer that
stores less, or something else, fails the run.
"""

import asyncio
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import uvloop
from confluent_kafka import ConsumerGroupState, KafkaException  # noqa: TID251 - looks at groups
from confluent_kafka.admin import AdminClient  # noqa: TID251 - looks at groups

from ai_gateway.indexer import consumer_group
from ai_gateway.vector_store import qdrant_wire as wire
from ai_gateway.vector_store.port import LEXICAL as LEXICAL_NAME
from ai_gateway.vector_store.port import REVISION_FIELDS, Change, point_text
from ai_gateway.vector_store.qdrant_guard import older_than_all
from ai_gateway.vector_store.qdrant_http import QdrantHttp
from ai_gateway.vector_store.qdrant_layout import QdrantLayout
from bench.engines import (
    QdrantServer,
    created,
    lacking_server,
    own_collection,
    running_broker,
    running_server,
)
from bench.harness import Figure, Result, console, cpu_seconds, ratios, report
from bench.peer_environments import described, peer_process
from builders import make_query, make_upsert
from kafka_broker import missing
from mesh_process import free_admin_port, unlimited, write_tenant
from meshkit.clock import unix_ms
from meshkit.events.kafka_config import KafkaConnection
from meshkit.events.kafka_log import KafkaEventLog
from meshkit.events.kafka_topics import ensure_topics
from meshkit.events.log import USER_EVENTS
from meshkit.tenancy.documents import parse_tenant
from meshkit.tenancy.identity import TenantContext, TenantId
from meshkit.tenancy.resolve import own_uid
from processes import Process, clean_environment, installed

OURS, FASTSTREAM, QUIXSTREAMS, BARE = "ours", "faststream", "quixstreams", "bare"
NAMES = (OURS, FASTSTREAM, QUIXSTREAMS, BARE)
TENANTS = 4
_PUBLISHED_AT_ONCE = 2000
_POLL_SECONDS = 0.02
_START_SECONDS, _LEAST_RATE = 60, 100
_SAMPLE_EVERY = 97
# What the peers write into a payload; ours may have more of its own.
_COMPARED = ("tenantId", "tenantUid", "userId", "email", "name", "attributes")
SIZES: Mapping[str, Sequence[int]] = {
    # It chooses by itself.
    OURS: (0,),
    # `max_records`: what a handler is given at most.
    FASTSTREAM: (256, 500, 1000),
    # `commit_every`: a checkpoint's records come to the sink as a batch for each partition. The
    # number of users can be divided by all of them: nothing waits for `commit_interval` at the end.
    QUIXSTREAMS: (1000, 5000, 10_000),
    # Points in a request.
    BARE: (256, 500, 1000),
}
_BARE_AT_ONCE = 2


@dataclass(frozen=True, slots=True)
class Run:
    """Events a second, and µs of CPU an event: of the client (0 for `bare`), of the server (None
    where its process is not ours to look at)."""

    rate: float
    client: float
    server: float | None

    def __str__(self) -> str:
        server = "?" if self.server is None else f"{self.server:.0f}"
        return f"{self.rate:.0f}/s, CPU µs {self.client:.0f} (server {server})"


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic with users in it, each once; `last` are those whose events come last."""

    connection: KafkaConnection
    users: Sequence[tuple[TenantContext, int]]
    last: Sequence[tuple[TenantContext, int]]

    @property
    def name(self) -> str:
        """What Kafka calls it."""
        return self.connection.prefix + USER_EVENTS


def fastest(tried: Mapping[tuple[str, int], Sequence[Run]]) -> dict[str, int]:
    """Return the size with which each contestant was the fastest, by its best run."""
    best = {key: max(run.rate for run in runs) for key, runs in tried.items()}
    return {
        name: max((size for one, size in best if one == name), key=lambda size: best[name, size])
        for name in {name for name, _ in best}
    }


def rotated(names: Sequence[str], number: int) -> list[str]:
    """Return the names in the order of a round."""
    turn = number % len(names)
    return [*names[turn:], *names[:turn]]


def last_of_each(
    users: Sequence[tuple[TenantContext, int]], partitions: Sequence[int]
) -> list[tuple[TenantContext, int]]:
    """Return the last user of every tenant in every partition: ours is in order for each of them,
    the peers for each partition."""
    last = {
        (tenant.tenant_uid, partition): (tenant, number)
        for (tenant, number), partition in zip(users, partitions, strict=True)
    }
    return list(last.values())


async def filled_topic(broker: str, count: int) -> Topic:
    """Fill a topic that nobody else uses."""
    connection = KafkaConnection(broker, prefix=f"{uuid4().hex}.")
    await ensure_topics(connection)
    tenants = [tenant_of(f"tenant-{n}") for n in range(TENANTS)]
    users = [(tenants[n % TENANTS], n) for n in range(count)]
    records = [created(tenant.tenant_id, number, tenant) for tenant, number in users]
    log = KafkaEventLog(connection)
    partitions: list[int] = []
    for start in range(0, count, _PUBLISHED_AT_ONCE):
        places = await log.publish_many(USER_EVENTS, records[start : start + _PUBLISHED_AT_ONCE])
        partitions += [place.partition for place in places]
    await log.close()
    return Topic(connection, users, last_of_each(users, partitions))


def tenant_of(name: str) -> TenantContext:
    """Return the tenant that the file of this name declares."""
    return TenantContext(TenantId(name), own_uid(parse_tenant(unlimited(name))))


class Server:
    """The server, looked at in the same way whoever fills it."""

    def __init__(self, server: QdrantServer) -> None:
        self.server = server
        self._http = httpx.Client(base_url=server.url, timeout=30)

    def count(self, collection: str) -> int:
        """Return how many points the server says there are; it may be wrong for a moment."""
        count: int = self._post("GET", f"/collections/{collection}", None)["points_count"]
        return count

    def finds(self, collection: str, users: Sequence[tuple[TenantContext, int]]) -> bool:
        """Return whether a search finds each of these users."""
        searches = []
        for _, number in users:
            lexical = make_query(_email(number)).lexical
            query = {"indices": lexical.indices.tolist(), "values": lexical.values.tolist()}
            searches.append({"query": query, "using": LEXICAL_NAME, "limit": 10})
        for search, (tenant, _) in zip(searches, users, strict=True):
            search |= {"filter": wire.tenant_filter(tenant), "with_payload": ["userId"]}
        found = self._post(
            "POST", f"/collections/{collection}/points/query/batch", {"searches": searches}
        )
        return all(
            any(point["payload"]["userId"] == f"p{number}" for point in one["points"])
            for one, (_, number) in zip(found, users, strict=True)
        )

    def sample(
        self, collection: str, users: Sequence[tuple[TenantContext, int]]
    ) -> dict[str, dict[str, Any]]:
        """Return every so many users as they are stored, by point."""
        ids = [point_text(tenant, f"p{number}") for tenant, number in users[::_SAMPLE_EVERY]]
        asked = {"ids": ids, "with_payload": True, "with_vector": True}
        found = self._post("POST", f"/collections/{collection}/points", asked)
        return {point["id"]: comparable(point) for point in found}

    def exact_count(self, collection: str) -> int:
        """Return how many points there are, having seen the id of each."""
        seen, offset = 0, None
        while True:
            asked = {"limit": 5000, "with_payload": False, "with_vector": False}
            page = self._post(
                "POST",
                f"/collections/{collection}/points/scroll",
                asked | ({"offset": offset} if offset is not None else {}),
            )
            seen += len(page["points"])
            offset = page["next_page_offset"]
            if offset is None:
                return seen

    def cpu(self) -> float | None:
        """Return the CPU seconds that it has used, None where its process is not ours to see."""
        return None if self.server.pid is None else cpu_seconds(self.server.pid)

    def _post(self, method: str, path: str, body: Any) -> Any:
        answer = self._http.request(method, path, json=body)
        assert answer.status_code == httpx.codes.OK, answer.text
        return answer.json()["result"]

    def close(self) -> None:
        """Release the connection."""
        self._http.close()


def _guarded(changes: list[tuple[str, Change]]) -> bytes:
    return wire.apply_body(changes, unix_ms(), older_than_all(changes))


def comparable(point: Mapping[str, Any]) -> dict[str, Any]:
    """Return of a stored point what has to be the same whoever stored it."""
    payload = point["payload"]
    assert set(payload["revision"]) == set(REVISION_FIELDS), payload
    lexical = point["vector"]["lexical"]
    return {
        "payload": {name: payload[name] for name in _COMPARED},
        "dense": point["vector"]["dense"],
        "lexical": sorted(zip(lexical["indices"], lexical["values"], strict=True)),
    }


class Bench:
    """Runs one contestant after the other over the same topic and server."""

    def __init__(self, topic: Topic, server: Server, folder: Path) -> None:
        self._topic = topic
        self._server = server
        self._folder = folder
        self._admin = AdminClient({"bootstrap.servers": topic.connection.bootstrap_servers})
        self._bodies: tuple[int, list[bytes]] = (0, [])
        self._expected: dict[str, dict[str, Any]] = {}
        self._tenants = folder / "tenants"
        for number in range(TENANTS):
            write_tenant(self._tenants, unlimited(f"tenant-{number}"))

    async def run(self, name: str, size: int) -> Run:
        """Fill an empty collection, in batches of a size, and look at what is stored."""
        if name == BARE:
            async with own_collection(self._server.server) as collection:
                run = await self._bare(collection, size)
                self._compare(name, collection)
                return run
        if name == OURS:
            return await self._ours()
        async with own_collection(self._server.server) as collection:
            group, log = f"peer.{uuid4().hex}", self._folder / f"{name}.log"
            kafka = self._topic.connection.bootstrap_servers
            arguments = (kafka, self._topic.name, group, self._server.server.url, collection)
            process = peer_process(name, log, *arguments, str(size))
            process.spawn()
            return self._followed(name, process, group, collection)

    async def _ours(self) -> Run:
        alias = f"bench_{uuid4().hex}"
        log = self._folder / "ours.log"
        process = Process(
            [installed("ai-gateway-indexer")],
            clean_environment(
                DATA_DIR=str(self._folder / "data"),
                TENANTS=str(self._tenants),
                KAFKA_BOOTSTRAP_SERVERS=self._topic.connection.bootstrap_servers,
                KAFKA_PREFIX=self._topic.connection.prefix,
                QDRANT_URL=self._server.server.url,
                QDRANT_COLLECTION=alias,
                ADMIN_PORT=str(free_admin_port()),
                LOG_FORMAT="json",
            ),
            log,
        )
        async with _layout(self._server.server, alias) as layout:
            process.spawn()
            deadline = time.monotonic() + _START_SECONDS
            while (opened := await layout.current()) is None:
                _alive(OURS, process, deadline)
                await asyncio.sleep(_POLL_SECONDS)
            group = consumer_group(opened.meta.collection_id)
            prefixed = self._topic.connection.prefix + group
            return self._followed(OURS, process, prefixed, opened.name)

    def _followed(self, name: str, process: Process, group: str, collection: str) -> Run:
        """Measure a process from when its group stands until all is searchable."""
        count = len(self._topic.users)
        try:
            deadline = time.monotonic() + _START_SECONDS
            while not self._stands(group):
                _alive(name, process, deadline)
                time.sleep(_POLL_SECONDS)
            started, client, server = self._now(process)
            deadline = time.monotonic() + _START_SECONDS + count / _LEAST_RATE
            while self._server.count(collection) < count:
                _alive(name, process, deadline)
                time.sleep(_POLL_SECONDS)
            while not self._server.finds(collection, self._topic.last):
                _alive(name, process, deadline)
                time.sleep(_POLL_SECONDS)
            ended, client_then, server_then = self._now(process)
            self._compare(name, collection)
        finally:
            process.kill()
        return Run(
            count / (ended - started),
            (client_then - client) / count * 1e6,
            None if server is None or server_then is None else (server_then - server) / count * 1e6,
        )

    def _now(self, process: Process) -> tuple[float, float, float | None]:
        return time.perf_counter(), cpu_seconds(process.pid), self._server.cpu()

    def _stands(self, group: str) -> bool:
        try:
            described_groups = self._admin.describe_consumer_groups([group])
            state = described_groups[group].result(timeout=5).state
        except KafkaException:
            return False
        return bool(state == ConsumerGroupState.STABLE)

    async def _bare(self, collection: str, size: int) -> Run:
        """Upsert prepared points, some requests under way at a time."""
        count = len(self._topic.users)
        if self._bodies[0] != size:
            bodies = [_guarded(self._changes(start, size)) for start in range(0, count, size)]
            self._bodies = size, bodies
        left = iter(self._bodies[1])
        http = QdrantHttp(self._server.server.url, None)

        async def send() -> None:
            for body in left:
                await http.call("POST", f"/collections/{collection}/points/batch?wait=true", body)

        before, started = self._server.cpu(), time.perf_counter()
        await asyncio.gather(*(send() for _ in range(_BARE_AT_ONCE)))
        took, after = time.perf_counter() - started, self._server.cpu()
        await http.close()
        used = None if before is None or after is None else (after - before) / count * 1e6
        return Run(count / took, 0.0, used)

    def _changes(self, start: int, size: int) -> list[tuple[str, Change]]:
        changes: list[tuple[str, Change]] = []
        for tenant, number in self._topic.users[start : start + size]:
            change = make_upsert(
                tenant,
                f"p{number}",
                f"Person Number {number}",
                _email(number),
                number,
                city="Springfield",
                job="Engineer",
            )
            changes.append((point_text(tenant, f"p{number}"), change))
        return changes

    def _compare(self, name: str, collection: str) -> None:
        """Raises AssertionError where not every user is stored, or not as the others store it."""
        users = self._topic.users
        sample = self._server.sample(collection, users)
        self._expected = self._expected or sample
        wanted = [point_text(tenant, f"p{number}") for tenant, number in users[::_SAMPLE_EVERY]]
        check_stored(name, len(users), self._server.exact_count(collection), wanted, sample)
        check_same(name, sample, self._expected)


def check_stored(
    name: str, users: int, stored: int, wanted: Sequence[str], sample: Mapping[str, Any]
) -> None:
    """Raises AssertionError where not every user is stored, or not under the id it has with us."""
    assert stored == users, f"{name} has stored {stored} of {users} users"
    lacking = [point for point in wanted if point not in sample]
    assert not lacking, f"{name}: {len(lacking)} points are not there, {lacking[0]} first"


def check_same(name: str, sample: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Raises AssertionError where a point is not stored as it is by the others."""
    for point, one in expected.items():
        assert sample[point] == one, f"{name}: {sample[point]} instead of {one}"


def _alive(name: str, process: Process, deadline: float) -> None:
    ended = not process.running
    if ended or time.monotonic() > deadline:
        words = process.log.read_text()[-3000:] if process.log.exists() else ""
        what = "has ended" if ended else "has not stored all users in time"
        raise AssertionError(f"{name} {what}:\n{words}")


@asynccontextmanager
async def _layout(server: QdrantServer, alias: str) -> AsyncIterator[QdrantLayout]:
    """What looks for the collection behind an alias; it is removed at the end."""
    layout = QdrantLayout(server.url, None, alias)
    try:
        yield layout
    finally:
        for number in await layout.numbers():
            await layout.drop(layout.name(number))
        await layout.close()


def _email(number: int) -> str:
    return f"person.{number}@example.com"


def rows(runs: Mapping[str, Sequence[Run]], server: str, versions: str) -> list[Result]:
    """Return the rows of the rounds, by contestant."""
    rate = {name: [run.rate for run in runs[name]] for name in NAMES}
    client = {name: [run.client for run in runs[name]] for name in NAMES}
    quix, fast, bare = (ratios(rate[OURS], rate[name]) for name in (QUIXSTREAMS, FASTSTREAM, BARE))
    # The better one is the one that takes less CPU: its figure is the harder one to meet.
    better = min((FASTSTREAM, QUIXSTREAMS), key=lambda name: Figure.of(client[name]).median)
    cpu = ratios(client[OURS], client[better])
    where = f"; {versions}; {server}"
    rates = ", ".join(f"{name} {Figure.of(rate[name])}" for name in NAMES)
    micros = ", ".join(f"{name} {Figure.of(client[name])}" for name in NAMES if name != BARE)
    return [
        _row("Quix Streams with a batching sink", "≥ 2", quix, quix.median >= 2, where),
        _row("FastStream with qdrant-client", "≥ 2.5", fast, fast.median >= 2.5, where),
        _row(
            "the bare guarded upsert rate of the server",
            "≥ 0.9",
            bare,
            bare.median >= 0.9,
            f"; events a second: {rates}{where}",
        ),
        Result(
            "6",
            "from the log to searchable, CPU of the client for each event, against the better peer",
            "≤ 0.6",
            str(cpu),
            cpu.median <= 0.6,
            f"µs: {micros}; {_server_cpu(runs)}{where}",
        ),
    ]


def _row(against: str, target: str, ratio: Figure, met: bool, detail: str) -> Result:
    what = f"from the log to searchable, events a second, against {against}"
    return Result("6", what, target, str(ratio), met, detail.removeprefix("; "))


def _server_cpu(runs: Mapping[str, Sequence[Run]]) -> str:
    known = {name: [run.server for run in runs[name] if run.server is not None] for name in NAMES}
    if not all(known.values()):
        return "the server's is not known"
    return "the server's: " + ", ".join(f"{name} {Figure.of(known[name])}" for name in NAMES)


async def measure(
    broker: str, server: QdrantServer, folder: Path, rounds: int, count: int
) -> tuple[dict[str, list[Run]], dict[str, int]]:
    """Run a warm-up and the rounds, and return what each contestant did with which size."""
    runs: dict[str, list[Run]] = defaultdict(list)
    looking = Server(server)
    bench = Bench(await filled_topic(broker, count), looking, folder)
    tried: dict[tuple[str, int], list[Run]] = defaultdict(list)
    for name in NAMES:
        for size in SIZES[name]:
            tried[name, size].append(await bench.run(name, size))
            console.print(f"warm-up: {name} {size or ''} {tried[name, size][-1]}")
    sizes = fastest(tried)
    for number in range(rounds):
        for name in rotated(NAMES, number):
            runs[name].append(await bench.run(name, sizes[name]))
            console.print(f"round {number + 1}: {name} {runs[name][-1]}")
    looking.close()
    return runs, sizes


def main(*, quick: bool = False) -> None:
    """Measure and report."""
    if lack := lacking_server() or (f"no Kafka: {missing()}" if missing() else None):
        console.print(f"peers is left out: {lack}")
        return
    sizes = (1, 2_000) if quick else (5, 20_000)
    with running_server() as server, running_broker() as broker, tempfile.TemporaryDirectory() as f:
        console.print(f"peers: {server.name}")
        runs, batches = uvloop.run(measure(broker, server, Path(f), *sizes))
        packages = (
            described(FASTSTREAM, "faststream", "confluent-kafka", "qdrant-client"),
            described(QUIXSTREAMS, "quixstreams", "confluent-kafka"),
        )
        chosen = ", ".join(f"{name} {batches[name]}" for name in NAMES if name != OURS)
        report(rows(runs, server.name, f"{'; '.join(packages)}; batches: {chosen}"))


if __name__ == "__main__":
    main(quick="--quick" in sys.argv)
