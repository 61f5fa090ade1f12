"""The peer of FastStream and qdrant-client: `python -m bench.peer_faststream KAFKA TOPIC GROUP
QDRANT COLLECTION RECORDS`, in an environment of its own (`bench.peer_environments`).

As FastStream's documentation says: a batch subscriber with a model of the message, on the confluent
broker; and qdrant-client's: points upserted in batches, `wait` as it is by default.
"""

import sys
from typing import Any

import anyio
from faststream import FastStream
from faststream.confluent import KafkaBroker, KafkaMessage
from pydantic import BaseModel
from qdrant_client import AsyncQdrantClient  # noqa: TID251 - the baseline

from bench.peer_points import Received, points

kafka, topic, group, qdrant, collection, records = sys.argv[1:]
broker = KafkaBroker(kafka, logger=None)
app = FastStream(broker, logger=None)
client = AsyncQdrantClient(url=qdrant)


class User(BaseModel):
    """The message."""

    tenantId: str
    userId: str
    email: str
    name: str
    attributes: dict[str, Any] = {}


# Offsets are committed in the background (AckPolicy.ACK_FIRST), which is the default and the
# fastest: at most once. Ours and Quix Streams' are at least once.
@broker.subscriber(  # type: ignore[untyped-decorator] # not installed where types are checked
    topic, group_id=group, auto_offset_reset="earliest", batch=True, max_records=int(records)
)
async def index(users: list[User], message: KafkaMessage) -> None:
    """Store a batch of users."""
    batch = [
        Received(
            user.model_dump(),
            headers["ce_tenantuid"],
            {"partition": raw.partition(), "offset": raw.offset(), "at": raw.timestamp()[1]},
        )
        for user, headers, raw in zip(
            users, message.batch_headers, message.raw_message, strict=True
        )
    ]
    await client.upsert(collection, points(batch))


if __name__ == "__main__":
    # As `faststream run` does where uvloop is installed.
    anyio.run(app.run, backend_options={"use_uvloop": True})
