"""The port of embedders: texts in, unit vectors out, many texts in one call."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Embedder(Protocol):
    """Turns texts into dense vectors.

    `name` identifies model and version: vectors of different names are never compared, and the
    collection remembers the name it was built with. `noise_floor` is the cosine below which two
    unrelated texts may fall by chance; searches drop dense hits under it. `fusion_weight` is how
    much its ranking counts beside the lexical one, which counts 1.
    """

    @property
    def name(self) -> str: ...

    @property
    def dimension(self) -> int: ...

    @property
    def noise_floor(self) -> float: ...

    @property
    def fusion_weight(self) -> float: ...

    async def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return vectors of shape (len(texts), dimension), each of unit length (all zeros for a
        text without features). Raises EmbedderUnavailable where a retry may help."""


class EmbedderUnavailable(Exception):
    """The embedder cannot answer now; the same call may work later."""
