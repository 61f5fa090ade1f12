"""Deficit round robin: shares by weight, order kept, nobody starved."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_gateway.fairness import FairQueues


def queues(weights: dict[str, int] | None = None) -> FairQueues[tuple[str, int]]:
    return FairQueues(lambda tenant: (weights or {}).get(tenant, 1))


def fill(fair: FairQueues[tuple[str, int]], tenant: str, count: int, first: int = 0) -> None:
    for number in range(first, first + count):
        fair.push(tenant, (tenant, number))


@pytest.mark.parametrize("tenants", [2, 10, 100])
@pytest.mark.parametrize("batch", [1, 7, 64])
def test_backlogged_tenants_get_equal_shares(tenants: int, batch: int) -> None:
    fair = queues()
    for number in range(tenants):
        fill(fair, f"t{number}", 1000)
    served = Counter(t for _ in range(20_000 // batch) for t, _ in fair.take(batch))
    assert min(served.values()) / max(served.values()) >= 0.99


def test_weights_are_kept_within_two_percent() -> None:
    weights = {"a": 1, "b": 3, "c": 7}
    fair = queues(weights)
    for tenant in weights:
        fill(fair, tenant, 30_000)
    served = Counter(t for _ in range(300) for t, _ in fair.take(64))
    total = sum(served.values())
    for tenant, weight in weights.items():
        assert served[tenant] / total == pytest.approx(weight / 11, rel=0.02)


def test_what_one_does_not_use_goes_to_the_others() -> None:
    fair = queues()
    fill(fair, "a", 1000)
    fill(fair, "b", 10)
    assert len(fair.take(500)) == 500


def test_newcomer_is_served_before_the_next_round_of_the_others() -> None:
    fair = queues()
    for number in range(50):
        fill(fair, f"t{number}", 100)
    fair.take(475)
    fair.push("quiet", ("quiet", 0))
    assert ("quiet", 0) in fair.take(2)


def test_newcomers_alone_get_their_first_turn_and_no_more() -> None:
    fair = queues({"quiet": 2})
    fill(fair, "busy", 100)
    fair.take(10)
    assert fair.take(5, newcomers_only=True) == []
    fill(fair, "quiet", 20)
    assert fair.take(20, newcomers_only=True) == [("quiet", n) for n in range(8)]
    assert fair.take(20, newcomers_only=True) == []
    # What went over its weight, 2, was borrowed: three turns are left out.
    assert [tenant for tenant, _ in fair.take(6)] == ["busy"] * 4 + ["quiet"] * 2


def test_backlogged_tenant_whose_queue_ran_empty_is_no_newcomer() -> None:
    fair = queues()
    fill(fair, "busy", 100)
    fair.take(10)
    fair.push("left", ("left", 0), backlogged=True)
    assert fair.take(5, newcomers_only=True) == []
    assert ("left", 0) in fair.take(2)


def test_coming_and_going_gains_nothing() -> None:
    fair = queues()
    fill(fair, "steady", 10_000)
    served: Counter[str] = Counter()
    for number in range(2_000):
        if not any(tenant == "comes" for tenant in fair._queues):
            fill(fair, "comes", 4, 4 * number)
        served.update(tenant for tenant, _ in fair.take(3))
    assert served["comes"] <= 1.02 * served["steady"]


def test_always_new_tenants_starve_nobody() -> None:
    fair = queues()
    fill(fair, "old", 1000)
    served: Counter[str] = Counter()
    for number in range(300):
        fair.push("a", ("a", number))
        fair.push("b", ("b", number))
        served.update(tenant for tenant, _ in fair.take(2))
    assert served["old"] >= 100


def test_what_a_tenant_without_weight_has_is_given_up_and_holds_nobody_up() -> None:
    fair = queues({"paused": 0})
    fill(fair, "paused", 5)
    fill(fair, "a", 3)
    assert [tenant for tenant, _ in fair.take(10)] == ["a"] * 3
    assert fair.given_up() == [("paused", n) for n in range(5)]
    assert fair.given_up() == []
    assert len(fair) == 0


def test_removed_items_are_returned_and_gone() -> None:
    fair = queues()
    fill(fair, "a", 4)
    fill(fair, "b", 2)
    assert sorted(fair.remove(lambda item: item[1] % 2 == 0)) == [("a", 0), ("a", 2), ("b", 0)]
    assert len(fair) == 3
    assert sorted(fair.take(9)) == [("a", 1), ("a", 3), ("b", 1)]


steps = st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 6), st.integers(0, 9)))


@given(steps=steps, weights=st.dictionaries(st.sampled_from("abcd"), st.integers(0, 5)))
def test_everything_comes_out_once_in_its_tenants_order_or_is_given_up(
    steps: list[tuple[str, int, int]], weights: dict[str, int]
) -> None:
    fair = queues(weights)
    pushed: Counter[str] = Counter()
    taken: list[tuple[str, int]] = []
    given_up: list[tuple[str, int]] = []
    for tenant, push, take in steps:
        fill(fair, tenant, push, pushed[tenant])
        pushed[tenant] += push
        taken += fair.take(take)
        given_up += fair.given_up()
        assert len(fair) == sum(pushed.values()) - len(taken) - len(given_up)
    taken += fair.take(10_000)
    given_up += fair.given_up()
    for tenant, count in pushed.items():
        out = taken if weights.get(tenant, 1) else given_up
        assert [number for name, number in out if name == tenant] == list(range(count))
