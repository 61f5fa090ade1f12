"""`ai_gateway.embedding.features` said plainly, one text and one feature at a time.

The tests hold the vectorised code against it, and `tests/bench/embedding.py` measures how much
faster that is.
"""

import math

from ai_gateway.embedding.features import (
    BASE,
    HASH_BITS,
    KIND_WEIGHTS,
    LETTERS,
    NGRAMS,
    SEED_STEP,
    WORD,
    words,
)

_MASK = 0xFFFFFFFFFFFFFFFF


def mixed(value: int, seed: int) -> int:
    """SplitMix64's finaliser."""
    h = (value + seed * SEED_STEP) & _MASK
    h = ((h ^ (h >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    h = ((h ^ (h >> 27)) * 0x94D049BB133111EB) & _MASK
    return h ^ (h >> 31)


def hashed(text: str) -> int:
    """The polynomial hash of a text."""
    value = 0
    for character in reversed(text):
        value = (value * BASE + ord(character)) & _MASK
    return value


def letters(text: str) -> int:
    """The hash of a text's letters, whatever their order."""
    return sum(mixed(ord(character), LETTERS) for character in text) & _MASK


def features(text: str) -> dict[int, tuple[float, float]]:
    """The features of a text: base weight and weight by hash."""
    found: dict[int, tuple[float, int]] = {}

    def note(value: int, kind: int) -> None:
        key = mixed(value, kind) >> (64 - HASH_BITS)
        base, times = found.get(key, (KIND_WEIGHTS[kind], 0))
        found[key] = (base, times + 1)

    for word in words(text):
        marked = f"\x02{word}\x03"
        note(hashed(marked), WORD)
        note(letters(marked), LETTERS)
        for kind, n in NGRAMS.items():
            for start in range(len(marked) - n + 1):
                note(hashed(marked[start : start + n]), kind)
    return {key: (base, base * math.sqrt(times)) for key, (base, times) in found.items()}


def embed(text: str, dimension: int) -> list[float]:
    """The dense vector of a text."""
    vector = [0.0] * dimension
    for key, (_, weight) in sorted(features(text).items()):
        vector[key % dimension] += -weight if key >> (HASH_BITS - 1) else weight
    norm = math.sqrt(sum(value * value for value in vector)) or 1.0
    return [value / norm for value in vector]
