"""Limits that make no sense, change in use, or meet a clock that jumps: refused, or kept to."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import make_context, make_limit, make_plan, make_tenant
from meshkit.limits.gcra import Decision, RateLimiter
from meshkit.limits.headers import limit_headers
from meshkit.tenancy.documents import InvalidDocument
from meshkit.tenancy.policy import ResolvedRateLimit
from meshkit.tenancy.resolve import resolve

TENANT = make_context()
INT32_MOST, DAY_SECONDS = 2**31 - 1, 86_400
NONSENSE = [-1, -(2**63), 2**31, 2**64, 1.5, math.nan, math.inf, -math.inf, True, "5", [], {}]


class SettableClock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def refused_path(make: Any, **spec: Any) -> str:
    with pytest.raises(InvalidDocument) as caught:
        make(**spec)
    (problem,) = caught.value.problems
    return str(problem.path)


@pytest.mark.parametrize("value", NONSENSE, ids=repr)
@pytest.mark.parametrize("field", ["requests", "burst", "windowSeconds"])
def test_nonsense_in_a_rate_limit_is_refused_with_its_path(field: str, value: Any) -> None:
    limit = {"name": "users.write", "requests": 1, field: value}
    path = f"spec.rateLimits[users.write].{field}"
    assert refused_path(make_tenant, rateLimits=[limit]) == path
    limits = {"rateLimits": [limit]}
    assert refused_path(make_plan, ceilings=limits) == path.replace("spec.", "spec.ceilings.")


@pytest.mark.parametrize("value", [v for v in NONSENSE if v not in (2**31,)], ids=repr)
def test_nonsense_in_a_quota_is_refused_with_its_path(value: Any) -> None:
    quota = {"name": "storedUsers", "limit": value}
    assert refused_path(make_tenant, quotas=[quota]) == "spec.quotas[storedUsers].limit"


def test_missing_value_is_decided_by_the_layer_below() -> None:
    given_nothing = resolve(make_tenant(), None).rate_limit("users.write")
    asked = resolve(make_tenant(rateLimits=[{"name": "users.write", "requests": 7}]), None)
    assert given_nothing.requests > 0
    limit = asked.rate_limit("users.write")
    assert (limit.requests, limit.window_seconds, limit.burst) == (7, 1, 7)


def sound(decision: Decision, limit: ResolvedRateLimit, cost: int) -> None:
    """Whatever was asked: numbers that a client can use."""
    assert 0 <= decision.admitted <= cost
    assert 0 <= decision.remaining <= limit.burst
    assert 0 <= decision.reset_after < math.inf
    assert decision.retry_after is None or 0 <= decision.retry_after < math.inf
    for _, value in limit_headers(decision):
        assert b"-" not in value
        assert b"nan" not in value


limits = st.builds(
    lambda requests, extra, window: make_limit(
        requests=requests, burst=min(INT32_MOST, requests + extra), window_seconds=window
    ),
    requests=st.one_of(st.integers(0, 5), st.just(INT32_MOST)),
    extra=st.one_of(st.integers(0, 5), st.just(INT32_MOST)),
    window=st.sampled_from([1, 60, DAY_SECONDS]),
)


@given(
    steps=st.lists(
        st.tuples(limits, st.sampled_from([0, 1, 3, 1000, INT32_MOST]), st.floats(0, 10)),
        max_size=40,
    )
)
def test_limit_that_changes_with_every_request_is_kept_to(
    steps: list[tuple[ResolvedRateLimit, int, float]],
) -> None:
    clock = SettableClock()
    limiter = RateLimiter(clock)
    for limit, cost, pause in steps:
        clock.now += pause
        decision = limiter.take(TENANT, limit, cost)
        sound(decision, limit, cost)
        assert decision.admitted <= limit.burst
        if limit.requests == 0:
            assert (decision.admitted, decision.remaining) == (0, 0)


@given(
    requests=st.integers(1, 50),
    jumps=st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=20),
)
def test_clock_that_jumps_never_admits_more_than_a_burst_at_once(
    requests: int, jumps: list[float]
) -> None:
    clock = SettableClock()
    limiter = RateLimiter(clock)
    limit = make_limit(requests=requests, burst=2 * requests)
    for jump in jumps:
        clock.now += jump
        decisions = [limiter.take(TENANT, limit) for _ in range(limit.burst + 5)]
        assert sum(decision.admitted for decision in decisions) <= limit.burst
        retry_after = decisions[-1].retry_after
        assert retry_after is not None
        # However far it went back: waiting as long as was said lets one in.
        clock.now += retry_after + 1e-6 * (1 + abs(clock.now))
        assert limiter.take(TENANT, limit).admitted == 1


def test_hundred_thousand_tenants_that_came_once_are_forgotten() -> None:
    clock = SettableClock()
    limiter = RateLimiter(clock)
    limit = make_limit(requests=10, burst=10)
    for number in range(100_000):
        limiter.take(make_context(f"t{number}"), limit)
    assert len(limiter) == 100_000
    clock.now += 10
    # The sweep comes once in a constant number of requests for each bucket there is.
    for _ in range(4 * 100_000 + 4096):
        limiter.take(TENANT, limit)
        clock.now += 0.1
    assert len(limiter) == 1
