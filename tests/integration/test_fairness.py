"""One partition of a real Kafka, many tenants: who is next does not depend on who was first."""

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest

from ai_gateway.batching import BATCH_MOST
from ai_gateway.indexer import Indexer
from ai_gateway.indexing import indexing
from ai_gateway.stores import create_vectorizer
from ai_gateway.vector_store.port import UserKey
from ai_gateway.vector_store.qdrant import QdrantVectorStore
from ai_gateway.written import WrittenWaiter
from builders import make_context
from meshkit.events.dead_letters import dead_letters
from meshkit.events.envelope import EventType, UserData, UserEvent, to_record
from meshkit.events.kafka_config import KafkaConnection
from meshkit.events.kafka_log import KafkaEventLog
from meshkit.events.kafka_topics import ensure_topics
from meshkit.events.log import USER_EVENTS, USER_EVENTS_DLQ, NewRecord, Position, TopicSpec
from meshkit.events.position import Written
from meshkit.tenancy.identity import TenantContext
from qdrant_server import own_collection

A, B = make_context("tenant-a"), make_context("tenant-b")
ONE_PARTITION = (TopicSpec(USER_EVENTS, 1), TopicSpec(USER_EVENTS_DLQ, 1, compact=False))


def created(tenant: TenantContext, user_id: str) -> NewRecord:
    data = UserData(tenant.tenant_id, user_id, f"{user_id}@example.com", f"Person {user_id}")
    return to_record(UserEvent(str(uuid4()), EventType.CREATED, tenant, user_id, "", data))


class Bench:
    """An indexer over one partition, and a client that waits for its writes."""

    def __init__(self, log: KafkaEventLog, store: QdrantVectorStore) -> None:
        self.log = log
        self.store = store
        self._waiter = WrittenWaiter(store)
        self._count = 0

    async def backlog_of_a(self, count: int) -> None:
        """Put events of tenant A into the log."""
        self._count += 1
        records = [created(A, f"a{self._count}-{number}") for number in range(count)]
        await self.log.publish_many(USER_EVENTS, records)

    async def write_b(self) -> tuple[float, int]:
        """Write one user of tenant B; return how long it took to be searchable, in seconds, and
        how many users of A were stored by then."""
        self._count += 1
        user_id = f"b-{self._count}"
        started = time.perf_counter()
        position = await self.log.publish(USER_EVENTS, created(B, user_id))
        assert await self._waiter.wait_for(B, Written(user_id, position), 20)
        return time.perf_counter() - started, await self.store.count(A)

    async def stored_a(self, count: int) -> None:
        """Wait until so many users of tenant A are stored."""
        async with asyncio.timeout(30):
            while await self.store.count(A) < count:
                await asyncio.sleep(0.02)


@asynccontextmanager
async def indexed_partition(servers: str) -> AsyncIterator[Bench]:
    connection = KafkaConnection(servers, prefix=f"{uuid4().hex}.")
    await ensure_topics(connection, ONE_PARTITION)
    log = KafkaEventLog(connection, ONE_PARTITION)
    async with own_collection() as store:
        vectorizer = create_vectorizer()
        async with indexing(lambda: Indexer(log, store, vectorizer, lambda _: None)):
            yield Bench(log, store)
        await log.close()


@pytest.mark.timeout(120)
async def test_one_event_behind_a_thousand_of_another_tenant_is_as_fast_as_alone(
    kafka_servers: str,
) -> None:
    ratios: list[float] = []
    async with indexed_partition(kafka_servers) as bench:
        await bench.backlog_of_a(1000)
        total = 1000
        await bench.stored_a(total)
        # A machine that is busy with something else just now gets another chance.
        while len(ratios) < 3 and not (ratios and ratios[-1] <= 2):
            idle = sorted([(await bench.write_b())[0] for _ in range(120)][20:])
            p99 = idle[98]
            delays, overtaken = [], []
            for _ in range(10):
                await bench.backlog_of_a(1000)
                total += 1000
                delay, stored = await bench.write_b()
                delays.append(delay)
                overtaken.append(total - stored)
                await bench.stored_a(total)
            # This is so whatever the machine does, and however large batches are on a quick one: B
            # waits for a batch, and meanwhile another may be stored, not for the backlog.
            assert statistics.median(overtaken) >= 1000 - 2 * BATCH_MOST
            ratios.append(statistics.median(delays) / p99)
            print(  # noqa: T201
                f"idle p50 {statistics.median(idle) * 1e3:.0f} ms, p99 {p99 * 1e3:.0f} ms; behind"
                f" 1,000 others: median {statistics.median(delays) * 1e3:.0f} ms,"
                f" worst {max(delays) * 1e3:.0f} ms; overtook {sorted(overtaken)}"
            )
    assert ratios[-1] <= 2, ratios


@pytest.mark.timeout(60)
async def test_poison_in_the_middle_of_a_batch_costs_only_itself(kafka_servers: str) -> None:
    async with indexed_partition(kafka_servers) as bench:
        records = [created(A, f"a-{number}") for number in range(500)]
        poison = created(A, "a-poison")
        records[250] = NewRecord(poison.key, b'{"name": "half a', poison.headers)
        # Understood, and refused by the store: no payload takes half of a surrogate pair.
        unstorable = created(A, "a-unstorable")
        value = (unstorable.value or b"").replace(b"Person", rb"\ud800")
        records[251] = NewRecord(unstorable.key, value, unstorable.headers)
        places: Sequence[Position] = await bench.log.publish_many(USER_EVENTS, records)
        await bench.stored_a(498)
        async with asyncio.timeout(10):
            while len(letters := await dead_letters(bench.log)) < 2:
                await asyncio.sleep(0.05)
        wrong = {(place.partition, place.offset) for place in (places[250], places[251])}
        assert {(letter.source.partition, letter.source.offset) for letter in letters} == wrong
        assert {letter.original.value for letter in letters} == {
            records[250].value,
            records[251].value,
        }
        keys = [UserKey(A, f"a-{number}") for number in range(500) if number not in (250, 251)]
        assert None not in await bench.store.revisions(keys)
