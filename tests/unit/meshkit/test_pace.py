"""When a member writes: soon, seldom in a burst, and never not at all."""

from itertools import pairwise
from random import Random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from meshkit.membership.pace import Pace

RENEWAL = 5.0
BURST = 10_000
GAPS = st.lists(st.floats(0, 5), min_size=1, max_size=200)


def times(gaps: list[float]) -> list[float]:
    """The changes that come after each other with these gaps."""
    now, found = 0.0, []
    for gap in gaps:
        now += gap
        found.append(now)
    return found


def writes(
    changes: list[float], until: float, *, pace: Pace | None = None, seconds: float = 0.0
) -> list[float]:
    """When a member writes that is told of these changes, and whose writes take some seconds."""
    pace = pace or quiet_pace()
    begun: list[float] = []
    waiting, free = changes[::-1], 0.0
    while True:
        due = max(pace.due, free)
        if waiting and waiting[-1] <= due:
            pace.changed(waiting.pop())
            continue
        if due > until:
            return begun
        pace.begun(due)
        pace.ended()
        begun.append(due)
        free = due + seconds


def quiet_pace() -> Pace:
    """The pace of a member that wrote long ago, and whose renewal is not near."""
    pace = Pace(1e9)
    pace.begun(-1000.0)
    pace.ended()
    return pace


@given(gaps=GAPS, seconds=st.sampled_from([0.0, 0.02, 0.7]))
def test_last_change_is_always_written(gaps: list[float], seconds: float) -> None:
    changes = times(gaps)
    found = writes(changes, changes[-1] + 10, seconds=seconds)
    assert found[-1] >= changes[-1]


@given(gaps=GAPS)
def test_no_change_waits_for_longer_than_two_seconds(gaps: list[float]) -> None:
    changes = times(gaps)
    found = writes(changes, changes[-1] + 10)
    for change in changes:
        assert any(change <= write <= change + 2.01 for write in found)


@given(lasting=st.floats(0, 30), seed=st.integers(0, 2**32))
@example(lasting=30.0, seed=1)
@settings(max_examples=25, deadline=None)
def test_burst_of_ten_thousand_costs_at_most_25_writes(lasting: float, seed: int) -> None:
    rng = Random(seed)
    changes = sorted(rng.uniform(0, lasting) for _ in range(BURST))
    found = writes(changes, lasting + 10)
    assert len(found) <= 25
    assert found[-1] >= changes[-1]


@given(gaps=st.lists(st.floats(0, 1), min_size=1, max_size=100), together=st.integers(16, 50))
def test_many_changes_at_a_time_cost_at_most_25_writes_in_half_a_minute_however_they_come(
    gaps: list[float], together: int
) -> None:
    changes = [at for at in times(gaps) if at <= 30 for _ in range(together)]
    assert len(writes(changes, 40)) <= 25


@pytest.mark.parametrize("each", [0.125, 0.2, 0.5, 1.0])
def test_changes_one_after_the_other_are_each_written_within_50_ms(each: float) -> None:
    changes = [each * number for number in range(300)]
    found = writes(changes, changes[-1] + 1)
    for change in changes:
        assert any(change <= write <= change + 0.05 for write in found)


@given(gaps=GAPS, seconds=st.sampled_from([0.0, 0.02]))
def test_isolated_change_is_written_within_50_ms(gaps: list[float], seconds: float) -> None:
    changes = times(gaps)
    isolated = changes[-1] + 4.1
    found = writes([*changes, isolated], isolated + 10, seconds=seconds)
    assert isolated <= found[-1] <= isolated + 0.05


@given(seconds=st.lists(st.floats(0, 4), min_size=1, max_size=50))
def test_lease_is_renewed_in_time_with_and_without_changes(seconds: list[float]) -> None:
    pace = Pace(RENEWAL)
    pace.begun(0.0)
    pace.ended()
    changes = times(seconds)
    found = [0.0, *writes(changes, changes[-1] + 30, pace=pace)]
    assert max(later - sooner for sooner, later in pairwise(found)) <= RENEWAL + 1e-6


def test_gap_doubles_while_changes_keep_coming() -> None:
    found = writes([number / 2000 for number in range(20_000)], 20)
    gaps = [later - sooner for sooner, later in pairwise(found)]
    assert gaps[:4] == pytest.approx([0.05, 0.1, 0.2, 0.4], rel=0.2)
    assert max(gaps) == pytest.approx(2.0, rel=0.02)


def test_write_that_failed_is_tried_again_later_and_later_but_before_the_lease_ends() -> None:
    pace = Pace(RENEWAL)
    pace.changed(0.0)
    waits, now = [], 0.01
    for _ in range(10):
        pace.begun(now)
        pace.failed(now, jitter=1.0)
        waits.append(pace.due - now)
        now = pace.due
    assert waits[:4] == pytest.approx([0.1, 0.2, 0.4, 0.8])
    assert waits[-1] == pytest.approx(RENEWAL)
    pace.begun(now)
    pace.ended()
    assert pace.due == pytest.approx(now + RENEWAL)


def test_change_that_was_not_written_is_not_forgotten() -> None:
    pace = Pace(RENEWAL)
    pace.changed(0.0)
    pace.begun(0.01)
    pace.failed(0.02, jitter=1.5)
    assert pace.due == pytest.approx(0.02 + 0.15)


def test_change_that_is_heard_shows_that_the_server_is_back() -> None:
    pace = Pace(RENEWAL)
    now = 0.0
    for _ in range(10):
        pace.begun(now)
        pace.failed(now, jitter=1.0)
        now = pace.due
    pace.changed(now - 1)
    assert pace.due <= now - 0.95


def test_first_write_is_due_at_once() -> None:
    pace = Pace(RENEWAL)
    pace.changed(100.0)
    assert pace.due <= 100.05
