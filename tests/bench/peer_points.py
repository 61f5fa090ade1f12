"""What both peers store: the indexer's points, made with qdrant-client's models.

Runs in the peers' environments, so it imports nothing of ours but the embedder. Vectors, ids and
payload are those of our indexer (`bench.peers` compares them); the texts of a batch are embedded in
one call, as ours are. There is no guard: the last write wins.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from qdrant_client import models  # noqa: TID251 - the baseline

from ai_gateway.embedding.features import FeatureExtractor
from ai_gateway.embedding.hash import HashEmbedder
from ai_gateway.embedding.lexical import LexicalEncoder
from ai_gateway.embedding.text import user_text

_NAMESPACE = uuid5(NAMESPACE_URL, "https://mesh.distributedai.io/points")
_EXTRACTOR = FeatureExtractor()
_EMBEDDER, _LEXICAL = HashEmbedder(_EXTRACTOR), LexicalEncoder(_EXTRACTOR)


@dataclass(frozen=True, slots=True)
class Received:
    """A user event as a peer has it: the JSON value, and what only the record knows."""

    value: Mapping[str, Any]
    tenant_uid: str
    revision: Mapping[str, int]


def points(batch: Sequence[Received]) -> list[models.PointStruct]:
    """Return the points of a batch."""
    texts = [
        user_text(one.value["name"], one.value["email"], one.value["attributes"]) for one in batch
    ]
    vectors = zip(_EMBEDDER.vectors(texts), _LEXICAL.documents(texts), strict=True)
    return [
        models.PointStruct(
            id=str(uuid5(_NAMESPACE, f"{one.tenant_uid}/{one.value['userId']}")),
            vector={
                "dense": dense.tolist(),
                "lexical": models.SparseVector(
                    indices=lexical.indices.tolist(), values=lexical.values.tolist()
                ),
            },
            payload={
                "tenantId": one.value["tenantId"],
                "tenantUid": one.tenant_uid,
                "userId": one.value["userId"],
                "email": one.value["email"],
                "name": one.value["name"],
                "attributes": one.value["attributes"],
                "revision": dict(one.revision),
            },
        )
        for one, (dense, lexical) in zip(batch, vectors, strict=True)
    ]
