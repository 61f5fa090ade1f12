"""How many requests are handled at once: bounded, and shared so that nobody is crowded out."""

import asyncio
from collections import Counter

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import make_limit, make_policy
from meshkit.errors import Overloaded
from meshkit.limits.gcra import RateLimiter
from meshkit.telemetry import metrics
from meshkit.tenancy.static import StaticTenantSource
from meshkit.web.application import Application
from meshkit.web.authentication import HeaderAuthenticator
from meshkit.web.call import Call, Reply
from meshkit.web.operation import Operation
from meshkit.web.overload import InFlight
from meshkit.web.rate_limits import RateLimits
from waiting import eventually


def enters(in_flight: InFlight, tenant: str) -> bool:
    try:
        in_flight.enter(tenant)
    except Overloaded:
        return False
    return True


def fill(in_flight: InFlight, tenant: str) -> int:
    """Let a tenant in until it is refused; return how many went in."""
    count = 0
    while enters(in_flight, tenant):
        count += 1
    return count


def test_one_tenant_alone_may_use_all_of_the_bound() -> None:
    assert fill(InFlight(100), "a") == 100


def test_flood_leaves_room_for_half_the_bound_of_another() -> None:
    in_flight = InFlight(100)
    fill(in_flight, "flood")
    assert fill(in_flight, "quiet") == 50


def test_several_floods_leave_room_for_who_comes_next() -> None:
    in_flight = InFlight(64)
    for flood in range(5):
        fill(in_flight, f"flood-{flood}")
    assert enters(in_flight, "quiet")


def test_who_was_refused_is_let_in_again_once_places_are_free() -> None:
    in_flight = InFlight(4)
    fill(in_flight, "a")
    for _ in range(3):
        in_flight.leave("a")
        assert enters(in_flight, "a")
        assert not enters(in_flight, "a")


def test_refusal_says_when_to_come_again_and_not_to_all_the_same() -> None:
    in_flight = InFlight(1)
    in_flight.enter("a")
    waits = set()
    for _ in range(100):
        with pytest.raises(Overloaded) as refused:
            in_flight.enter("a")
        waits.add(refused.value.retry_after)
    assert len(waits) > 10
    assert all(1 <= wait < 3 for wait in waits if wait is not None)


@given(
    most=st.integers(1, 12),
    steps=st.lists(st.tuples(st.sampled_from("aaab"), st.booleans()), max_size=200),
)
def test_never_more_than_twice_the_bound_and_never_a_refusal_below_it(
    most: int, steps: list[tuple[str, bool]]
) -> None:
    in_flight, model = InFlight(most), Counter[str]()
    for tenant, comes in steps:
        if not comes:
            if model[tenant]:
                in_flight.leave(tenant)
                model[tenant] -= 1
            continue
        entered = enters(in_flight, tenant)
        if model.total() < most or (not model[tenant] and model.total() < 2 * most):
            assert entered
        model[tenant] += entered
        assert len(in_flight) == model.total() <= 2 * most
    for tenant, count in model.items():
        for _ in range(count):
            in_flight.leave(tenant)
    assert len(in_flight) == 0
    assert in_flight._by_tenant == {}


class SlowApplication:
    """An application whose one handler waits until it may go on."""

    def __init__(self, most: int) -> None:
        self.go = asyncio.Event()
        self.in_flight = InFlight(most)
        names = ("tenant-a", "tenant-b")
        self.app = Application(
            [
                Operation(
                    method="GET",
                    path="/things",
                    name="getThings",
                    summary="s",
                    description="d",
                    tag="t",
                    handler=self._wait,
                    status=200,
                    response=dict,
                    response_example={},
                    limit="users.write",
                )
            ],
            authenticator=HeaderAuthenticator(),
            tenants=StaticTenantSource(
                *(make_policy(name, make_limit(requests=7)) for name in names)
            ),
            limits=RateLimits(RateLimiter(lambda: 1000.0)),
            in_flight=self.in_flight,
        )

    async def _wait(self, _: Call) -> Reply:
        await self.go.wait()
        return Reply(200, b"{}")


async def test_overloaded_answer_is_a_503_that_costs_no_token_and_tells_the_limit() -> None:
    slow = SlowApplication(most=2)
    refusals = metrics.OVERLOADED._value.get()
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(slow.app), base_url="http://mesh"
    ) as http:

        async def get(tenant: str) -> httpx.Response:
            return await http.get("/things", headers={"x-tenant-id": tenant})

        waiting = [asyncio.create_task(get("tenant-a")) for _ in range(2)]
        await eventually(lambda: len(slow.in_flight) == 2)
        refused = await get("tenant-a")
        assert (refused.status_code, refused.json()["code"]) == (503, "overloaded")
        assert refused.headers["retry-after"] in ("1", "2", "3")
        assert refused.headers["ratelimit"].startswith('"users.write";r=5;')
        other = asyncio.create_task(get("tenant-b"))
        await eventually(lambda: len(slow.in_flight) == 3)
        assert metrics.OVERLOADED._value.get() == refusals + 1
        slow.go.set()
        assert {a.status_code for a in await asyncio.gather(*waiting, other)} == {200}
        assert len(slow.in_flight) == 0


async def test_request_that_is_given_up_frees_its_place() -> None:
    slow = SlowApplication(most=1)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(slow.app), base_url="http://mesh"
    ) as http:
        given_up = asyncio.create_task(http.get("/things", headers={"x-tenant-id": "tenant-a"}))
        await eventually(lambda: len(slow.in_flight) == 1)
        given_up.cancel()
        await eventually(lambda: len(slow.in_flight) == 0)


async def test_strangers_hold_no_place_and_are_told_so_at_once() -> None:
    slow = SlowApplication(most=1)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(slow.app), base_url="http://mesh"
    ) as http:
        answers = await asyncio.gather(*(http.get("/things") for _ in range(50)))
        assert {answer.status_code for answer in answers} == {401}
        assert len(slow.in_flight) == 0
