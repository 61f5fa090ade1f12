"""Rate limits: what passes, what is left, and how long to wait."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import make_context, make_limit
from meshkit.limits.gcra import RateLimiter
from meshkit.limits.headers import limit_headers, milliseconds_up, retry_after_seconds

TENANT = make_context()


class SettableClock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> SettableClock:
    return SettableClock()


@pytest.fixture
def limiter(clock: SettableClock) -> RateLimiter:
    return RateLimiter(clock)


def test_burst_passes_at_once_and_one_more_waits(limiter: RateLimiter) -> None:
    limit = make_limit(requests=50, burst=100)
    assert all(limiter.take(TENANT, limit).admitted for _ in range(100))
    refused = limiter.take(TENANT, limit)
    assert refused.admitted == 0
    assert refused.retry_after == pytest.approx(1 / 50)


def test_waiting_exactly_retry_after_lets_one_in(
    limiter: RateLimiter, clock: SettableClock
) -> None:
    limit = make_limit(requests=3, window_seconds=7, burst=3)
    while (refused := limiter.take(TENANT, limit)).admitted:
        pass
    assert refused.retry_after is not None
    clock.now += refused.retry_after
    assert limiter.take(TENANT, limit).admitted == 1
    assert limiter.take(TENANT, limit).admitted == 0


def test_refused_request_costs_nothing(limiter: RateLimiter, clock: SettableClock) -> None:
    limit = make_limit(requests=1, burst=1)
    limiter.take(TENANT, limit)
    for _ in range(1000):
        limiter.take(TENANT, limit)
    clock.now += 1.0
    assert limiter.take(TENANT, limit).admitted == 1


def test_zero_lets_nothing_pass_and_promises_nothing(limiter: RateLimiter) -> None:
    decision = limiter.take(TENANT, make_limit(requests=0))
    assert (decision.admitted, decision.remaining, decision.retry_after) == (0, 0, None)


def test_unlimited_lets_everything_pass_and_keeps_no_state(limiter: RateLimiter) -> None:
    limit = make_limit(requests=1, unlimited=True)
    assert all(limiter.take(TENANT, limit, 1000).admitted == 1000 for _ in range(100))
    assert len(limiter) == 0


def test_cost_over_the_burst_can_never_pass_whole(limiter: RateLimiter) -> None:
    decision = limiter.take(TENANT, make_limit(requests=10, burst=10), 11)
    assert decision.admitted == 0
    assert decision.retry_after is None


def test_partial_takes_what_there_is(limiter: RateLimiter) -> None:
    decision = limiter.take(TENANT, make_limit(requests=10, burst=10), 25, partial=True)
    assert (decision.admitted, decision.remaining) == (10, 0)
    assert decision.retry_after == pytest.approx(0.1)


def test_tenants_limits_and_incarnations_have_buckets_of_their_own(limiter: RateLimiter) -> None:
    limit = make_limit(requests=1, burst=1)
    limiter.take(TENANT, limit)
    assert limiter.take(make_context("tenant-b"), limit).admitted == 1
    assert limiter.take(make_context("tenant-a", "another-uid"), limit).admitted == 1
    assert limiter.take(TENANT, make_limit("users.search", requests=1, burst=1)).admitted == 1
    assert limiter.take(TENANT, limit).admitted == 0


def test_changed_limit_holds_from_the_next_request(limiter: RateLimiter) -> None:
    limiter.take(TENANT, make_limit(requests=100, burst=100))
    raised = make_limit(requests=1000, burst=1000)
    assert limiter.take(TENANT, raised).remaining >= 980
    assert limiter.take(TENANT, make_limit(requests=0)).admitted == 0


def test_peek_takes_nothing(limiter: RateLimiter) -> None:
    limit = make_limit(requests=5, burst=5)
    limiter.take(TENANT, limit)
    assert [limiter.peek(TENANT, limit).remaining for _ in range(3)] == [4, 4, 4]


def test_memory_follows_the_tenants_that_call(limiter: RateLimiter, clock: SettableClock) -> None:
    limit = make_limit(requests=100, burst=100)
    for number in range(50_000):
        limiter.take(make_context(f"t{number}"), limit)
        clock.now += 0.001
    # A bucket is full again after 10 ms here, so only some thousands wait for the next sweep.
    assert len(limiter) < 10_000


@given(
    requests=st.integers(1, 200),
    window=st.integers(1, 60),
    extra=st.integers(0, 300),
    steps=st.lists(st.tuples(st.floats(0, 5), st.integers(1, 40), st.booleans()), max_size=80),
)
def test_never_more_than_burst_plus_rate_over_any_window(
    requests: int, window: int, extra: int, steps: list[tuple[float, int, bool]]
) -> None:
    clock = SettableClock()
    limiter = RateLimiter(clock)
    limit = make_limit(requests=requests, window_seconds=window, burst=requests + extra)
    admitted: list[tuple[float, int]] = []
    for pause, cost, partial in steps:
        clock.now += pause
        decision = limiter.take(TENANT, limit, cost, partial=partial)
        assert 0 <= decision.admitted <= cost
        admitted.append((clock.now, decision.admitted))
    for first in range(len(admitted)):
        total = 0
        for moment, count in admitted[first:]:
            total += count
            span = moment - admitted[first][0]
            assert total <= limit.burst + span * requests / window + 1e-6


@given(st.integers(1, 50), st.integers(1, 20), st.floats(0.0, 3.0))
def test_steady_traffic_below_the_rate_is_never_refused(
    requests: int, window: int, jitter: float
) -> None:
    clock = SettableClock()
    limiter = RateLimiter(clock)
    limit = make_limit(requests=requests, window_seconds=window)
    for _ in range(100):
        assert limiter.take(TENANT, limit).admitted == 1
        clock.now += window / requests + jitter


def test_headers_tell_the_tenants_numbers(limiter: RateLimiter) -> None:
    decision = limiter.take(TENANT, make_limit(requests=50, burst=100))
    assert dict(limit_headers(decision)) == {
        b"ratelimit-policy": b'"users.write";q=50;w=1;burst=100',
        b"ratelimit": b'"users.write";r=99;t=1',
    }


def test_unlimited_has_no_headers(limiter: RateLimiter) -> None:
    assert limit_headers(limiter.take(TENANT, make_limit(unlimited=True))) == ()


@pytest.mark.parametrize(
    ("delay", "seconds"), [(0.001, 1), (1.0, 1), (1.0000000001, 1), (1.2, 2), (59.01, 60)]
)
def test_retry_after_rounds_up(delay: float, seconds: int) -> None:
    assert retry_after_seconds(delay) == seconds


@pytest.mark.parametrize(
    ("delay", "seconds"), [(0.0, 0.0), (0.5000000001, 0.5), (0.0004, 0.001), (1 / 3, 0.334)]
)
def test_thousandths_round_up(delay: float, seconds: float) -> None:
    assert milliseconds_up(delay) == seconds
