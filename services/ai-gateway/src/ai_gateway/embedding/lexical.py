"""The lexical space: each feature is a dimension of its own, out of 2^32.

The dot product of a query with a user is how much of the query the user covers: the share, by
squared weight, of the query's features that the user has, 0 to 1. Unlike a cosine it does not make
a user worse to have more attributes. There is no inverse document frequency: it would be counted
over all tenants' users, and one tenant's data would move another's ranking.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ai_gateway.embedding.features import HASH_BITS, FeatureExtractor, Features
from ai_gateway.vectors import SparseVector


class LexicalEncoder:
    """Turns texts into sparse vectors."""

    def __init__(self, extractor: FeatureExtractor) -> None:
        self._extractor = extractor

    def documents(self, texts: Sequence[str]) -> list[SparseVector]:
        """Return what to store for each text."""
        features = self._extractor(texts)
        return _vectors(features, features.base_weight)

    def query(self, text: str) -> SparseVector:
        """Return what to look for: covering all of it is a dot product of 1."""
        features = self._extractor([text])
        total = float(np.sum(features.base_weight**2)) or 1.0
        return _vectors(features, features.base_weight / total)[0]


def _vectors(features: Features, values: NDArray[np.float64]) -> list[SparseVector]:
    # The upper bits of the hash; the rare two features of a text that share them count once.
    index = (features.hash >> np.uint64(HASH_BITS - 32)).astype(np.uint32)
    new = np.ones(len(index), np.bool_)
    new[1:] = (index[1:] != index[:-1]) | (features.text[1:] != features.text[:-1])
    index, weights, text = index[new], values[new].astype(np.float32), features.text[new]
    bounds = np.searchsorted(text, np.arange(features.count + 1))
    return [
        SparseVector(index[start:stop], weights[start:stop]) for start, stop in pairwise(bounds)
    ]
