"""Two rankings made one: reciprocal rank fusion, with a similarity that people can read.

Order: Cormack, Clarke and Büttcher, "Reciprocal Rank Fusion outperforms Condorcet and individual
rank learning methods", SIGIR 2009, weighted, with Qdrant's k = 2: with their 60 the first ranks are
nearly alike, and a person who has every letter of the query came second to one near it by chance.
A rank says nothing about how close a user is (the best of nothing but strangers has rank one), so
the score shown is the higher of the two similarities, never above that of a user ranked before.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ai_gateway.vector_store.port import Hit, User

_K = 2
# Covering less of a query than this is sharing a syllable with it.
_LEXICAL_FLOOR = 0.2


@dataclass(frozen=True, slots=True)
class Ranked:
    """A user and how close it is to the query, 0..1."""

    user: User
    score: float


def fuse(
    hits: Sequence[Hit], limit: int, *, noise_floor: float, dense_weight: float
) -> list[Ranked]:
    """Return the best `limit` of `hits`, the nearest first.

    A dense similarity below `noise_floor` is chance, a lexical one below the floor a syllable:
    neither makes a user a result. `dense_weight` is that of the dense ranking, the lexical one's
    is 1.
    """
    dense = _ranks(hits, lambda hit: hit.dense, noise_floor)
    lexical = _ranks(hits, lambda hit: hit.lexical, _LEXICAL_FLOOR)
    merit = {
        index: dense_weight * dense.get(index, 0.0) + lexical.get(index, 0.0)
        for index in dense.keys() | lexical.keys()
    }
    order = sorted(merit, key=lambda i: (-merit[i], -_similarity(hits[i]), hits[i].user.user_id))
    ranked: list[Ranked] = []
    ceiling = 1.0
    for index in order[:limit]:
        ceiling = min(ceiling, _similarity(hits[index]))
        ranked.append(Ranked(hits[index].user, round(ceiling, 4)))
    return ranked


def _ranks(
    hits: Sequence[Hit], similarity: Callable[[Hit], float | None], floor: float
) -> dict[int, float]:
    """Return 1 / (k + rank) by index of the hits above `floor` in one space."""
    above = [(s, index) for index, hit in enumerate(hits) if (s := similarity(hit)) and s > floor]
    above.sort(key=lambda pair: (-pair[0], hits[pair[1]].user.user_id))
    return {index: 1.0 / (_K + rank) for rank, (_, index) in enumerate(above, start=1)}


def _similarity(hit: Hit) -> float:
    return min(1.0, max(hit.dense or 0.0, hit.lexical or 0.0))
