"""How long replicas may take, and that people are told once."""

import pytest

from tenant_operator.patience import Patience
from waiting import SetClock


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
def patience(clock: SetClock) -> Patience:
    return Patience(clock, settle_seconds=0.5, overdue_seconds=30.0)


def test_status_waits_for_a_moment_after_a_policy_was_written(
    clock: SetClock, patience: Patience
) -> None:
    assert patience.until_settled("a") == 0
    patience.begin("a")
    assert patience.until_settled("a") == 0.5
    assert patience.until_settled("b") == 0
    clock.now += 0.6
    assert patience.until_settled("a") == 0


def test_people_are_told_once_and_again_for_the_next_policy(
    clock: SetClock, patience: Patience
) -> None:
    patience.begin("a")
    assert patience.until_overdue("a") == 30
    clock.now += 31
    assert patience.until_overdue("a") == 0
    assert patience.until_overdue("a") is None
    patience.begin("a")
    assert patience.until_overdue("a") == 30


def test_what_is_obeyed_is_never_overdue_and_says_how_long_it_took(
    clock: SetClock, patience: Patience
) -> None:
    assert patience.end("a") is None
    patience.begin("a")
    clock.now += 2
    assert patience.end("a") == 2
    clock.now += 100
    assert patience.until_overdue("a") is None
