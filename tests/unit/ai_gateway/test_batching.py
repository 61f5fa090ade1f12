"""The size of a batch follows what the store shows it can do."""

import pytest

from ai_gateway.batching import BATCH_LEAST, BATCH_MOST, BatchSize


def test_full_and_quick_batches_grow_to_the_most() -> None:
    size = BatchSize()
    for _ in range(20):
        size.took(size.now, 0.001)
    assert size.now == BATCH_MOST


def test_slow_batches_shrink_to_the_least() -> None:
    size = BatchSize()
    for _ in range(20):
        size.took(size.now, 1.0)
    assert size.now == BATCH_LEAST


@pytest.mark.parametrize(("count", "seconds"), [(1, 0.001), (64, 0.01)])
def test_size_stays_where_a_batch_says_nothing(count: int, seconds: float) -> None:
    size = BatchSize()
    before = size.now
    size.took(count, seconds)
    assert size.now == before


@pytest.mark.parametrize("a_point", [0.00005, 0.0003, 0.002])
def test_size_settles_where_a_batch_takes_some_milliseconds(a_point: float) -> None:
    size = BatchSize()
    seen = []
    for _ in range(200):
        seconds = 0.002 + a_point * size.now
        size.took(size.now, seconds)
        seen.append(seconds)
    assert all(seconds < 0.04 for seconds in seen[20:])
