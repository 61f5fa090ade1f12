"""With no brokers there, or too many events waiting for them, a write is refused and never lost."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from apps import running_users
from builders import make_policy
from meshkit.errors import LogUnavailable
from meshkit.events.kafka_config import KafkaConnection
from meshkit.events.kafka_log import KafkaEventLog
from meshkit.events.kafka_producer import KafkaProducer
from meshkit.events.log import NewRecord
from meshkit.tenancy.policy import Provenance, ResolvedQuota

A = {"X-Tenant-Id": "tenant-a"}
ALICE = {"name": "Alice Doe", "email": "alice@example.com"}


class Impatient(KafkaConnection):
    """Nothing listens there; three events may wait, for a second."""

    def producer_settings(self) -> dict[str, Any]:
        """The settings of a producer that gives up soon."""
        return super().producer_settings() | {
            "delivery.timeout.ms": 1_000,
            "queue.buffering.max.messages": 3,
        }


@pytest.fixture
async def users() -> AsyncIterator[httpx.AsyncClient]:
    log = KafkaEventLog(Impatient("127.0.0.1:1"))
    names = ("storedUsers", "eventsPerDay")
    quotas = tuple(
        ResolvedQuota(name=name, limit=0, unlimited=True, provenance=Provenance.PLAN)
        for name in names
    )
    policies = make_policy("tenant-a", quotas=quotas), make_policy("tenant-b")
    async with running_users(log, *policies) as client:
        yield client
    await log.close()


@pytest.mark.parametrize("tenant", ["tenant-a", "tenant-b"], ids=["unlimited", "with quotas"])
async def test_write_without_brokers_is_refused_with_retry_after(
    users: httpx.AsyncClient, tenant: str
) -> None:
    answer = await users.post("/users", headers={"X-Tenant-Id": tenant}, json=ALICE)
    assert (answer.status_code, answer.json()["code"]) == (503, "log-unavailable")
    assert int(answer.headers["retry-after"]) >= 1


async def test_item_of_a_batch_is_never_called_accepted(users: httpx.AsyncClient) -> None:
    answer = await users.post("/users:batch", headers=A, json=[ALICE] * 10)
    assert answer.status_code in (207, 503)
    if answer.status_code == 207:
        assert answer.json()["accepted"] == 0


async def test_what_finds_no_room_is_refused_at_once() -> None:
    """Brokers that were there before, so that the topics are known, and are away now."""
    producer = KafkaProducer(Impatient("127.0.0.1:1"))
    publishing = [producer.publish("user.events", [NewRecord(b"k", b"v")]) for _ in range(10)]
    results = await asyncio.gather(*publishing, return_exceptions=True)
    assert all(isinstance(result, LogUnavailable) for result in results)
    assert sum("too many events wait" in str(result) for result in results) == 7
    await producer.close()
