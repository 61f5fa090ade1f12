"""Another team's Kafka client: its own keys, its own partitioner, its own forms of an event.

It writes users as bare JSON under the user's id, partitioned by CRC-32 (librdkafka's default), so
that a user's events lie in another partition than those of user-service. And it adds partitions.
"""

import asyncio
import json
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer  # noqa: TID251 - not ours
from confluent_kafka.admin import AdminClient, NewPartitions  # noqa: TID251 - not ours

from meshkit.events.log import USER_EVENTS

_DELIVERY_SECONDS = 10


class ForeignProducer:
    """Writes user events of any tenant past the services."""

    def __init__(self, bootstrap_servers: str) -> None:
        self._servers: dict[str, Any] = {"bootstrap.servers": bootstrap_servers}
        self._producer = Producer(
            self._servers
            | {
                "acks": "all",
                "enable.idempotence": True,
                "partitioner": "consistent_random",
                "linger.ms": 2,
                "delivery.timeout.ms": _DELIVERY_SECONDS * 1000,
            }
        )

    async def put(self, tenant: str, users: Sequence[dict[str, Any]]) -> list[bool]:
        """Publish users; return of each whether the brokers have acknowledged it."""
        records = [
            (str(user["userId"]), json.dumps(user | {"tenantId": tenant}).encode(), None)
            for user in users
        ]
        return await asyncio.to_thread(self._publish, records)

    async def delete(self, tenant: str, user_id: str) -> bool:
        """Publish a deletion; return whether the brokers have acknowledged it."""
        headers = [
            ("ce_specversion", b"1.0"),
            ("ce_id", b"1"),
            ("ce_source", b"/crm"),
            ("ce_type", b"user.deleted"),
            ("ce_subject", user_id.encode()),
            ("ce_tenantid", tenant.encode()),
        ]
        return (await asyncio.to_thread(self._publish, [(user_id, None, headers)]))[0]

    async def add_partitions(self, total: int) -> None:
        """Have `user.events` get more partitions, whatever state the broker is in."""
        async with asyncio.timeout(60):
            while not await asyncio.to_thread(self._grow, total):
                await asyncio.sleep(0.2)

    def _publish(self, records: Sequence[tuple[str, bytes | None, Any]]) -> list[bool]:
        taken = [False] * len(records)

        def delivered(number: int, error: KafkaError | None, _: Message) -> None:
            taken[number] = error is None

        for number, (key, value, headers) in enumerate(records):
            self._producer.produce(
                USER_EVENTS,
                value,
                key,
                headers=headers,
                on_delivery=partial(delivered, number),
            )
        self._producer.flush(_DELIVERY_SECONDS + 5)
        return taken

    def _grow(self, total: int) -> bool:
        admin = AdminClient(self._servers)
        with suppress(KafkaException):
            admin.create_partitions([NewPartitions(USER_EVENTS, total)])[USER_EVENTS].result(5)
        with suppress(KafkaException):
            return len(admin.list_topics(timeout=5).topics[USER_EVENTS].partitions) == total
        return False
