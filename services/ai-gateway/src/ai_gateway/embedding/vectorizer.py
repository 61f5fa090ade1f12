"""Texts into both spaces at once: what the indexer stores and what a search looks for.

Dense vectors come from the embedder, whatever it is; lexical ones always from the same features,
so that a name is found by its spelling even where the embedder knows nothing of names.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ai_gateway.embedding.lexical import LexicalEncoder
from ai_gateway.embedding.port import Embedder
from ai_gateway.vectors import Query, SparseVector


class Vectorizer:
    """An embedder and the lexical encoder beside it."""

    def __init__(self, embedder: Embedder, lexical: LexicalEncoder) -> None:
        self._embedder = embedder
        self._lexical = lexical

    @property
    def name(self) -> str:
        """The embedder's name and version."""
        return self._embedder.name

    @property
    def dimension(self) -> int:
        """The length of the dense vectors."""
        return self._embedder.dimension

    @property
    def noise_floor(self) -> float:
        """The cosine below which a dense similarity is chance."""
        return self._embedder.noise_floor

    @property
    def fusion_weight(self) -> float:
        """How much the dense ranking counts beside the lexical one."""
        return self._embedder.fusion_weight

    async def documents(
        self, texts: Sequence[str]
    ) -> tuple[NDArray[np.float32], Sequence[SparseVector]]:
        """Return dense vectors of shape (len(texts), dimension) and one sparse vector a text.

        Raises EmbedderUnavailable.
        """
        return await self._embedder.embed(texts), self._lexical.documents(texts)

    async def query(self, text: str) -> Query:
        """Return what to look for in both spaces. Raises EmbedderUnavailable."""
        dense = await self._embedder.embed([text])
        return Query(dense[0], self._lexical.query(text))
