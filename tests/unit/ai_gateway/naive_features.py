"""`ai_gateway.embedding.features` said plainly, one text and one feature at a time.

The tests hold the vectorised code against it, and `tests/bench/embedding.py` measures how much
faster that is.
"""

import math

from ai_gateway.embedding.features import (
    BASE,
    LETTERS_WEIGHT,
    NGRAM_WEIGHTS,
    SEED_STEP,
    WORD_WEIGHT,
    words,
)

_MASK = 0xFFFFFFFFFFFFFFFF


def mixed(value: int, seed: int) -> int:
    """SplitMix64's finaliser."""
    h = (value + seed * SEED_STEP) & _MASK
    h = ((h ^ (h >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    h = ((h ^ (h >> 27)) * 0x94D049BB133111EB) & _MASK
    return h ^ (h >> 31)


def hashed(text: str, seed: int) -> int:
    """The polynomial hash of a text, mixed."""
    value = 0
    for character in reversed(text):
        value = (value * BASE + ord(character)) & _MASK
    return mixed(value, seed)


def letters(text: str) -> int:
    """The hash of a text's letters, whatever their order."""
    return mixed(sum(mixed(ord(character), 1) for character in text) & _MASK, 1)


def features(text: str) -> dict[int, tuple[float, float]]:
    """The features of a text: base weight and weight by hash."""
    found: dict[int, tuple[float, int]] = {}

    def note(key: int, weight: float) -> None:
        base, times = found.get(key, (weight, 0))
        found[key] = (base, times + 1)

    for word in words(text):
        marked = f"\x02{word}\x03"
        note(hashed(marked, 0), WORD_WEIGHT)
        note(letters(marked), LETTERS_WEIGHT)
        for n, weight in NGRAM_WEIGHTS.items():
            for start in range(len(marked) - n + 1):
                note(hashed(marked[start : start + n], n), weight)
    return {key: (base, base * math.sqrt(times)) for key, (base, times) in found.items()}


def embed(text: str, dimension: int) -> list[float]:
    """The dense vector of a text."""
    vector = [0.0] * dimension
    for key, (_, weight) in sorted(features(text).items()):
        vector[key % dimension] += -weight if key >> 63 else weight
    norm = math.sqrt(sum(value * value for value in vector)) or 1.0
    return [value / norm for value in vector]
