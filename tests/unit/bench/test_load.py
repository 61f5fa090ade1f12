"""The load generator: what it counts as an answer, and when it starts what."""

import asyncio
import statistics
import time
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from bench.load import Flood, first_answer, open_loop, poisson
from bench.neighbour import within_limit

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
REFUSED = b"HTTP/1.1 429 Too Many Requests\r\nx: y\r\ncontent-length: 0\r\n\r\n"


def test_first_answer_leaves_what_follows() -> None:
    assert first_answer(OK + REFUSED) == (b"200", b"hello", REFUSED)


@given(st.integers(0, len(OK) - 1))
def test_part_of_an_answer_is_none(length: int) -> None:
    assert first_answer(OK[:length]) is None


@given(st.lists(st.integers(1, 40), max_size=20))
def test_flood_counts_answers_however_they_are_cut(cuts: list[int]) -> None:
    flood = Flood()
    rest = OK + REFUSED + REFUSED
    for cut in cuts:
        flood.data_received(rest[:cut])
        rest = rest[cut:]
    flood.data_received(rest)
    assert flood.answers == {"200": 1, "429": 2}


async def test_open_loop_starts_by_the_clock_whatever_is_under_way() -> None:
    free = asyncio.Event()
    dues: list[float] = []

    async def act(number: int, due: float) -> int:
        dues.append(due)
        if number == 2:
            free.set()
        await free.wait()
        return number

    before = time.perf_counter()
    assert await open_loop([0.0, 0.001, 0.002], act) == [0, 1, 2]
    assert dues[0] >= before
    assert [round((due - dues[0]) * 1e3) for due in dues] == [0, 1, 2]


def test_independent_arrivals_come_at_their_rate_and_not_by_a_clock() -> None:
    arrivals = poisson(20.0, 500.0, seed=1)
    assert arrivals == poisson(20.0, 500.0, seed=1) != poisson(20.0, 500.0, seed=2)
    assert 9_500 < len(arrivals) < 10_500
    assert 0.0 < arrivals[0] <= arrivals[-1] < 500.0
    gaps = [later - sooner for sooner, later in pairwise(arrivals)]
    # The spread of independent arrivals is as large as their mean distance.
    assert 0.9 < statistics.stdev(gaps) / statistics.fmean(gaps) < 1.1


def test_limit_is_a_rate_and_a_burst() -> None:
    assert within_limit(220, rate=20, burst=20, least=10.0, most=10.0)
    assert not within_limit(221, rate=20, burst=20, least=10.0, most=10.0)
    assert within_limit(180, rate=20, burst=20, least=10.0, most=10.0)
    assert not within_limit(179, rate=20, burst=20, least=10.0, most=10.0)
