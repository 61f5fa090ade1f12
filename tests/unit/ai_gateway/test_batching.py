"""The size of a batch follows what the store shows it can do."""

import random

import pytest

from ai_gateway.batching import BATCH_LEAST, BATCH_MOST, HURRY_SECONDS, BatchSize, BatchSizes


def test_full_and_quick_batches_grow_to_the_most() -> None:
    size = BatchSize()
    for _ in range(20):
        size.took(size.now, 0.001)
    assert size.now == BATCH_MOST


def test_slow_batches_shrink_to_the_least() -> None:
    size = BatchSize()
    for _ in range(40):
        size.took(size.now, 1.0)
    assert size.now == BATCH_LEAST


def test_one_slow_batch_says_nothing() -> None:
    size = BatchSize()
    before = size.now
    for seconds in (0.5, 0.015, 0.5, 0.015):
        size.took(size.now, seconds)
    assert size.now == before


def test_quick_batch_that_was_not_full_says_nothing() -> None:
    size = BatchSize()
    before = size.now
    size.took(1, 0.001)
    assert size.now == before


@pytest.mark.parametrize("pauses", [0.0, 0.02])
@pytest.mark.parametrize(("fixed", "each"), [(0.001, 0.00005), (0.004, 0.0003), (0.007, 0.0002)])
def test_size_comes_to_rest_where_a_batch_takes_some_milliseconds(
    fixed: float, each: float, pauses: float
) -> None:
    rng, size, seen = random.Random(7), BatchSize(), []
    for _ in range(400):
        seconds = (fixed + each * size.now) * rng.uniform(0.8, 1.2)
        seen.append((size.now, seconds))
        size.took(size.now, seconds + (0.2 if rng.random() < pauses else 0.0))
    assert all(0.006 < seconds < 0.024 for _, seconds in seen[50:])
    assert len({count for count, _ in seen[200:]}) <= 4


def test_batches_are_longer_while_nobody_new_comes() -> None:
    now = 0.0
    sizes = BatchSizes(lambda: now)
    at_ease = sizes.current
    sizes.somebody_light()
    hurried = sizes.current
    for size in (at_ease, hurried):
        for _ in range(20):
            size.took(size.now, 0.025)
    assert hurried.now < at_ease.now


def test_only_at_ease_a_second_batch_is_on_its_way_and_larger_ones_are_allowed() -> None:
    sizes = BatchSizes(lambda: 0.0)
    at_ease = sizes.current
    sizes.somebody_light()
    hurried = sizes.current
    for size in (at_ease, hurried):
        for _ in range(40):
            size.took(size.now, 0.001)
    assert (hurried.at_once, hurried.now) == (1, BATCH_MOST)
    assert (at_ease.at_once, at_ease.now) == (2, 3 * BATCH_MOST)


def test_hurry_ends_a_while_after_the_last_light_tenant() -> None:
    now = 0.0
    sizes = BatchSizes(lambda: now)
    at_ease = sizes.current
    sizes.somebody_light()
    now = HURRY_SECONDS * 0.9
    sizes.somebody_light()
    now = HURRY_SECONDS * 1.8
    assert sizes.current is not at_ease
    now = HURRY_SECONDS * 2
    assert sizes.current is at_ease
