"""The two kinds of vectors that users and queries are compared by."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

DenseVector = NDArray[np.float32]
"""Shape (dimension,), unit length."""


@dataclass(frozen=True, slots=True)
class SparseVector:
    """Weights of a few dimensions out of 2^32: `indices` uint32, unique; `values` float32."""

    indices: NDArray[np.uint32]
    values: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Query:
    """What to look for, in both spaces; an empty lexical vector finds nothing lexically."""

    dense: DenseVector
    lexical: SparseVector
