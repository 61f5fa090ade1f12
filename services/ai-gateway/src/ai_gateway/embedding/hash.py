"""The embedder that needs no model: features hashed into a dense vector, with signs.

Each feature adds its weight, with a sign of its own, to one of the dimensions; the cosine of two
such vectors estimates the cosine of the two bags of features without bias, with a standard
deviation near 1 / sqrt(dimension) (Weinberger et al., ICML 2009). The same text gives the same
vector on every machine.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ai_gateway.embedding.features import HASH_BITS, FeatureExtractor, Features

DIMENSION = 256
_VERSION = 1
_NOISE_SIGMAS = 4.0


class HashEmbedder:
    """Signed feature hashing into `dimension` dimensions."""

    def __init__(self, extractor: FeatureExtractor, dimension: int = DIMENSION) -> None:
        self._extractor = extractor
        self._dimension = dimension

    @property
    def name(self) -> str:
        """The model's name; another version means other vectors."""
        return f"hash-{self._dimension}-v{_VERSION}"

    @property
    def dimension(self) -> int:
        """Length of the vectors."""
        return self._dimension

    @property
    def noise_floor(self) -> float:
        """Four standard deviations of the cosine of unrelated texts: one in 30,000 is above."""
        return _NOISE_SIGMAS / math.sqrt(self._dimension)

    @property
    def fusion_weight(self) -> float:
        """Low: the vectors estimate what the lexical space knows exactly."""
        return 0.3

    async def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return vectors of shape (len(texts), dimension)."""
        return self.vectors(texts)

    def vectors(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the same without waiting: there is nothing to wait for."""
        return embed_features(self._extractor(texts), self._dimension)


def embed_features(features: Features, dimension: int) -> NDArray[np.float32]:
    """Return a unit vector for each text (zeros for one without features)."""
    place = (features.hash % np.uint64(dimension)).astype(np.int64)
    # The lowest bits chose the place; the highest one is independent of them.
    sign = np.where(features.hash >> np.uint64(HASH_BITS - 1), -1.0, 1.0)
    flat = np.bincount(
        features.text * dimension + place,
        weights=sign * features.weight,
        minlength=features.count * dimension,
    )
    vectors = flat.reshape(features.count, dimension)
    norms = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    norms[norms == 0.0] = 1.0
    unit: NDArray[np.float32] = (vectors / norms[:, None]).astype(np.float32)
    return unit
