"""From texts to hashed features: words, their letters, and the n-grams inside them.

Texts are normalised first (NFKD without combining marks, case-folded, a few letters that Unicode
does not take apart), so that accents and case do not matter. A word is a run of letters and
digits, marked at both ends; its features are the word itself, its letters whatever their order
(two of them swapped is the commonest slip), and its n-grams, marks included. That is the scheme of
fastText (Bojanowski et al., "Enriching Word Vectors with Subword Information", TACL 2017), hashed
as in Weinberger et al., "Feature Hashing for Large Scale Multitask Learning", ICML 2009.

All texts of a batch are hashed at once with numpy: with the prefix sums P of c[i] * B^i over all
code points, every substring hash is (P[j] - P[i]) * B^-i in 64-bit arithmetic, whatever its length.
`naive_features` in the tests is the same function said plainly; both give identical numbers.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# What a kind of feature counts. Tuned on made-up people (test_search_quality.py): longer n-grams
# cost a third of the time each and found nobody more.
WORD, LETTERS, BIGRAM, TRIGRAM = range(4)
KIND_WEIGHTS = (1.5, 2.0, 1.0, 1.0)
NGRAMS = {BIGRAM: 2, TRIGRAM: 3}
HASH_BITS = 46
TEXTS_MOST = 1 << 16

WORD_MOST = 64
TEXT_MOST = 2048

BASE = 0x9E3779B97F4A7C15
# Not the base: seed * BASE would be the same as another second character.
SEED_STEP = 0xD1342543DE82EF95
_WEIGHTS = np.array(KIND_WEIGHTS)
_HASH_MASK = np.uint64((1 << HASH_BITS) - 1)
_BASE_INVERSE = pow(BASE, -1, 1 << 64)
_START, _END = "\x02", "\x03"

_WORDS = re.compile(r"[^\W_]+")
_LETTERS = str.maketrans(
    {"ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "ı": "i"}
)

U64 = NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Features:
    """The features of `count` texts: parallel arrays, sorted by (text, hash), each pair once.

    `text` is the number of the text, `hash` HASH_BITS well-mixed bits, `base_weight` what its kind
    counts, `weight` the same with repetitions: n of a feature weigh sqrt(n) of it.
    """

    count: int
    text: NDArray[np.int64]
    hash: U64
    base_weight: NDArray[np.float64]
    weight: NDArray[np.float64]


def words(text: str) -> list[str]:
    """Return the normalised words of a text."""
    text = text[:TEXT_MOST]
    if not text.isascii():
        decomposed = unicodedata.normalize("NFKD", text)
        text = "".join(c for c in decomposed if not unicodedata.combining(c))
        text = unicodedata.normalize("NFC", text.casefold().translate(_LETTERS))
    return [word[:WORD_MOST] for word in _WORDS.findall(text.lower())]


def extract(texts: Sequence[str]) -> Features:
    """Return the features of at most TEXTS_MOST texts."""
    words_of_texts = [words(text) for text in texts]
    counts = [len(found) for found in words_of_texts]
    marked = [f"{_START}{word}{_END}" for found in words_of_texts for word in found]
    if not marked:
        return _unpacked(len(texts), np.empty(0, np.uint64))
    lengths = np.fromiter(map(len, marked), np.int64, len(marked))
    text_of_word = np.repeat(np.arange(len(texts), dtype=np.uint64), counts)
    points = np.frombuffer("".join(marked).encode("utf-32-le", "surrogatepass"), np.uint32)
    return _unpacked(len(texts), _packed(points.astype(np.uint64), lengths, text_of_word))


def _packed(points: U64, lengths: NDArray[np.int64], text_of_word: U64) -> U64:
    """Return every feature as one number: text, hash and kind, from the highest bits down.

    One array of numbers sorts many times faster than three that belong together.
    """
    size = len(points)
    powers, inverses = _powers(BASE, size), _powers(_BASE_INVERSE, size)
    prefix = np.zeros(size + 1, np.uint64)
    np.cumsum(points * powers, out=prefix[1:])
    letters = np.zeros(size + 1, np.uint64)
    np.cumsum(mixed(points, LETTERS), out=letters[1:])
    ends = np.cumsum(lengths)
    starts = ends - lengths
    whole = (prefix[ends] - prefix[starts]) * inverses[starts]
    features = [
        _pack(text_of_word, whole, WORD),
        _pack(text_of_word, letters[ends] - letters[starts], LETTERS),
    ]
    word_of_point = np.repeat(np.arange(len(lengths)), lengths)
    left = ends[word_of_point] - np.arange(size)
    text_of_point = text_of_word[word_of_point]
    for kind, n in NGRAMS.items():
        at = np.flatnonzero(left >= n)
        ngrams = (prefix[at + n] - prefix[at]) * inverses[at]
        features.append(_pack(text_of_point[at], ngrams, kind))
    return np.concatenate(features)


def _pack(text: U64, hashes: U64, kind: int) -> U64:
    bits = mixed(hashes, kind) >> np.uint64(64 - HASH_BITS)
    return (text << np.uint64(HASH_BITS + 2)) | (bits << np.uint64(2)) | np.uint64(kind)


def _unpacked(count: int, packed: U64) -> Features:
    """Sort by (text, hash), fold repetitions, and take the numbers apart again."""
    packed = np.sort(packed)
    first = np.ones(len(packed), np.bool_)
    first[1:] = packed[1:] != packed[:-1]
    at = np.flatnonzero(first)
    repetitions = np.diff(at, append=len(packed))
    packed = packed[at]
    base = _WEIGHTS[packed & np.uint64(3)]
    return Features(
        count,
        (packed >> np.uint64(HASH_BITS + 2)).astype(np.int64),
        (packed >> np.uint64(2)) & _HASH_MASK,
        base,
        base * np.sqrt(repetitions),
    )


def mixed(hashes: U64, seed: int) -> U64:
    """Return the hashes with all bits mixed (the finaliser of SplitMix64), another way per seed."""
    h = hashes + np.uint64((seed * SEED_STEP) & 0xFFFFFFFFFFFFFFFF)
    h = (h ^ (h >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    h = (h ^ (h >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return h ^ (h >> np.uint64(31))


_power_tables: dict[int, U64] = {}


def _powers(base: int, size: int) -> U64:
    """Return base^0 .. base^(size-1) modulo 2^64, from a table that grows as needed."""
    table = _power_tables.get(base)
    if table is None or len(table) < size:
        factors = np.full(max(size, 65_536), base, np.uint64)
        factors[0] = 1
        table = np.cumprod(factors, dtype=np.uint64)
        _power_tables[base] = table
    return table[:size]


class FeatureExtractor:
    """Extracts features, and remembers the last batch: both spaces are made of the same one."""

    def __init__(self) -> None:
        self._texts: Sequence[str] | None = None
        self._features: Features | None = None

    def __call__(self, texts: Sequence[str]) -> Features:
        """Return the features of all texts."""
        # Equal and not the same: whoever searches asks twice with lists of its own.
        if self._features is None or texts != self._texts:
            self._texts, self._features = texts, extract(texts)
        return self._features
