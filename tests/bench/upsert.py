"""TARGETS row 5: sending points to a Qdrant server, against the official client.

The same users with the same vectors, in the same batches, to collections of the same layout: ours
as the store does it, theirs as its documentation says (`PointStruct` models, `upsert`). The batches
are those that the client itself makes where it is given many (`upload_points`, 64). Counted is the
CPU time of the sending process alone; what was stored is compared point by point.
"""

import sys
import time
from collections.abc import Sequence

import uvloop
from qdrant_client import AsyncQdrantClient, models  # noqa: TID251 - the baseline

from ai_gateway.vector_store.port import DENSE as DENSE_NAME
from ai_gateway.vector_store.port import LEXICAL, Upsert, point_id
from ai_gateway.vector_store.qdrant import QdrantVectorStore
from bench.engines import Engines, lacking, own_store, running_engines
from bench.harness import Figure, Result, console, ratios, report
from builders import make_context, make_upsert

TENANT = make_context("tenant-a")
BATCH = 64


async def ours(store: QdrantVectorStore, points: Sequence[Upsert]) -> float:
    """Return the points sent per second of CPU."""
    started = time.process_time()
    for start in range(0, len(points), BATCH):
        await store.apply(points[start : start + BATCH])
    return len(points) / (time.process_time() - started)


async def theirs(client: AsyncQdrantClient, name: str, points: Sequence[Upsert]) -> float:
    """Return the points sent per second of CPU."""
    started = time.process_time()
    for start in range(0, len(points), BATCH):
        await client.upsert(name, [_struct(one) for one in points[start : start + BATCH]])
    return len(points) / (time.process_time() - started)


def _struct(one: Upsert) -> models.PointStruct:
    user = one.user
    return models.PointStruct(
        id=str(point_id(one.tenant, user.user_id)),
        vector={
            DENSE_NAME: one.dense.tolist(),
            LEXICAL: models.SparseVector(
                indices=one.lexical.indices.tolist(), values=one.lexical.values.tolist()
            ),
        },
        payload={
            "tenantId": one.tenant.tenant_id,
            "tenantUid": one.tenant.tenant_uid,
            "userId": user.user_id,
            "email": user.email,
            "name": user.name,
            "attributes": user.attributes,
            "revision": one.revision,
        },
    )


async def measure(engines: Engines, rounds: int, count: int) -> list[Result]:
    """Run the rounds and return the row."""
    client = AsyncQdrantClient(url=engines.qdrant, check_compatibility=False, timeout=30)
    our, their = [], []
    async with own_store(engines) as one, own_store(engines) as other:
        for number in range(rounds):
            points = [
                make_upsert(TENANT, f"p{n}", f"Person Number {n}", revision=number + 1, city="X")
                for n in range(count)
            ]
            our.append(await ours(one, points))
            their.append(await theirs(client, other._opened().name, points))
            console.print(f"ours {our[-1]:.0f}, qdrant-client {their[-1]:.0f} points/s/core")
        await _compare(client, one, other, count)
    await client.close()
    ratio = ratios(our, their)
    return [
        Result(
            "5",
            "sending points to Qdrant (numpy to REST), points per second of CPU, against"
            " qdrant-client",
            "≥ 5, same stored points",
            str(ratio),
            ratio.median >= 5,
            f"{Figure.of(our).median:.0f} against {Figure.of(their).median:.0f}",
        )
    ]


async def _compare(
    client: AsyncQdrantClient, one: QdrantVectorStore, other: QdrantVectorStore, count: int
) -> None:
    """Raises AssertionError where the two collections do not hold the same points."""
    ids: list[int | str] = [str(point_id(TENANT, f"p{n}")) for n in range(0, count, 7)]
    found = []
    for store in (one, other):
        points = await client.retrieve(
            store._opened().name, ids, with_payload=True, with_vectors=True
        )
        for point in points:
            # When it was written is our own addition.
            (point.payload or {}).pop("updatedAt", None)
        found.append({point.id: (point.vector, point.payload) for point in points})
    assert len(found[0]) == len(ids)
    assert found[0] == found[1], "the stored points differ"


def main(*, quick: bool = False) -> None:
    """Measure and report."""
    if lack := lacking():
        console.print(f"upsert is left out: {lack}")
        return
    with running_engines() as engines:
        report(uvloop.run(measure(engines, 2 if quick else 5, 1_000 if quick else 5_000)))


if __name__ == "__main__":
    main(quick="--quick" in sys.argv)
