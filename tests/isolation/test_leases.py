"""The endpoint where replicas borrow tokens: only for who has their key, once, and never in public.

Whoever could ask would use up a tenant's limit, and whoever could give back would lift it.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from apps import running_mesh
from builders import make_context, make_limit, make_policy
from meshkit.limits.exchange import PeerAway
from meshkit.limits.gcra import RateLimiter
from meshkit.limits.lender import Lender
from meshkit.limits.messages import (
    PATH,
    Ask,
    Grant,
    LeaseReply,
    LeaseRequest,
    decode_reply,
    decode_request,
    encode,
)
from meshkit.limits.peers import Peers
from meshkit.limits.signing import (
    NONCE_HEADER,
    SIGNATURE_HEADER,
    TIME_HEADER,
    answer_proven,
    answer_signature,
    signed,
)
from meshkit.limits.transport import HttpWire
from meshkit.web.admin import create_admin_app
from meshkit.web.leases import BODY_BYTES, leases_route
from meshkit.web.server import bind, serving
from processes import free_ports

KEY, OTHER_KEY = bytes(range(32)), bytes(range(1, 33))
A, B = make_context("tenant-a"), make_context("tenant-b")
LIMIT = make_limit(requests=100, burst=100)


class Owner:
    """A replica that owns all buckets, behind its admin port, and what is left in it."""

    def __init__(self) -> None:
        self.buckets = RateLimiter(lambda: 1000.0)
        self.lender = Lender(self.buckets, Peers("owner"))
        self.lender._peers.listed({}, 0.0)
        app: Starlette = create_admin_app({}, routes=[leases_route(self.lender, KEY)])
        self.http = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://owner")

    def left(self) -> int:
        """What is left of tenant A's limit."""
        return self.buckets.peek(A, LIMIT).remaining

    def request(self, **changes: Any) -> bytes:
        """A request for ten of tenant A's tokens."""
        given = {
            "tenant_uid": A.tenant_uid, "name": LIMIT.name, "requests": 100, "window_seconds": 1,
            "burst": 100, "need": 10, "least": 1, "more": 0, "back": 0,
        } | changes.pop("ask", {})  # fmt: skip
        life = changes.pop("life", self.lender.life)
        receiver = changes.pop("receiver", "owner")
        return encode(LeaseRequest("borrower", receiver, life, [], [Ask(**given)]))

    async def send(self, body: bytes, headers: dict[str, str]) -> httpx.Response:
        """Post a body to the endpoint."""
        return await self.http.post(PATH, content=body, headers=headers)


@pytest.fixture
async def owner() -> AsyncIterator[Owner]:
    found = Owner()
    async with found.http:
        yield found


async def test_replica_with_the_key_borrows_and_can_prove_the_answer(owner: Owner) -> None:
    body = owner.request()
    headers = signed(KEY, "POST", PATH, body)
    answer = await owner.send(body, headers)
    assert answer.status_code == 200
    assert decode_reply(answer.content).grants[0].tokens == 10
    assert owner.left() == 90
    signature = answer.headers[SIGNATURE_HEADER]
    assert answer_proven(KEY, headers[NONCE_HEADER], answer.content, signature)
    assert not answer_proven(KEY, "0" * 32, answer.content, signature)
    assert not answer_proven(KEY, headers[NONCE_HEADER], answer.content + b" ", signature)


async def test_wrong_key_borrows_nothing(owner: Owner) -> None:
    body = owner.request()
    answer = await owner.send(body, signed(OTHER_KEY, "POST", PATH, body))
    assert answer.status_code == 401
    assert owner.left() == 100


@pytest.mark.parametrize("missing", [TIME_HEADER, NONCE_HEADER, SIGNATURE_HEADER])
async def test_no_part_of_the_proof_may_be_missing(owner: Owner, missing: str) -> None:
    body = owner.request()
    headers = signed(KEY, "POST", PATH, body)
    del headers[missing]
    assert (await owner.send(body, headers)).status_code == 401
    assert owner.left() == 100


async def test_no_part_of_a_proven_request_may_be_changed(owner: Owner) -> None:
    body = owner.request()
    headers = signed(KEY, "POST", PATH, body)
    for changed in (
        headers | {TIME_HEADER: str(int(headers[TIME_HEADER]) + 1)},
        headers | {NONCE_HEADER: "0" * 32},
        headers | {SIGNATURE_HEADER: headers[SIGNATURE_HEADER][:-1]},
        headers | {SIGNATURE_HEADER: headers[SIGNATURE_HEADER].upper()},
        headers | {TIME_HEADER: "-1"},
        headers | {TIME_HEADER: "9" * 65},
        signed(KEY, "PUT", PATH, body),
        signed(KEY, "POST", PATH + "/", body),
    ):
        assert (await owner.send(body, changed)).status_code == 401
    more = owner.request(ask={"need": 100})
    assert (await owner.send(more, headers)).status_code == 401
    assert owner.left() == 100


async def test_same_request_a_second_time_is_refused(owner: Owner) -> None:
    body = owner.request(ask={"need": 0, "back": 5})
    owner.buckets.take(A, LIMIT, 50)
    headers = signed(KEY, "POST", PATH, body)
    statuses = [(await owner.send(body, headers)).status_code for _ in range(3)]
    assert statuses == [200, 401, 401]
    assert owner.left() == 55


async def test_request_from_long_ago_is_refused(
    owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = owner.request()
    monkeypatch.setattr("meshkit.limits.signing.unix_ms", lambda: 1_700_000_000_000)
    headers = signed(KEY, "POST", PATH, body)
    monkeypatch.undo()
    assert (await owner.send(body, headers)).status_code == 401
    assert owner.left() == 100


@pytest.mark.parametrize("changes", [{"life": "of another run"}, {"receiver": "another"}])
async def test_request_for_another_run_or_replica_changes_nothing(
    owner: Owner, changes: dict[str, str]
) -> None:
    owner.buckets.take(A, LIMIT, 50)
    body = owner.request(ask={"back": 40}, **changes)
    answer = await owner.send(body, signed(KEY, "POST", PATH, body))
    assert decode_reply(answer.content) == LeaseReply(owner.lender.life, [])
    assert owner.left() == 50


async def test_borrowing_of_one_tenant_leaves_another_what_it_has(owner: Owner) -> None:
    body = owner.request(ask={"need": 100})
    await owner.send(body, signed(KEY, "POST", PATH, body))
    assert owner.left() == 0
    assert owner.buckets.peek(B, LIMIT).remaining == 100


@pytest.mark.parametrize(
    "ask",
    [
        {"need": -1}, {"back": -1}, {"requests": 0}, {"window_seconds": 0}, {"burst": 0},
        {"need": 10**10}, {"need": 1.5}, {"need": float("nan")}, {"tenant_uid": ""},
        {"tenant_uid": "x" * 129}, {"name": None},
    ],
)  # fmt: skip
async def test_odd_numbers_are_refused_also_with_the_key(
    owner: Owner, ask: dict[str, object]
) -> None:
    body = owner.request(ask=ask)
    answer = await owner.send(body, signed(KEY, "POST", PATH, body))
    assert answer.status_code == 422
    assert owner.left() == 100


async def test_body_larger_than_any_request_is_not_read_to_its_end(owner: Owner) -> None:
    body = b" " * (BODY_BYTES + 1)
    assert (await owner.send(body, signed(KEY, "POST", PATH, body))).status_code == 413


@pytest.mark.parametrize("client", ["users", "gateway"])
async def test_public_ports_have_none_of_it(client: str) -> None:
    async with running_mesh(make_policy("tenant-a")) as mesh:
        http: httpx.AsyncClient = getattr(mesh, client)
        body = Owner().request()
        answer = await http.post(PATH, content=body, headers=signed(KEY, "POST", PATH, body))
        assert (answer.status_code, answer.json()["code"]) == (404, "route-not-found")


async def test_many_at_once_cannot_use_one_proof_twice(owner: Owner) -> None:
    body = owner.request()
    headers = signed(KEY, "POST", PATH, body)
    answers = await asyncio.gather(*(owner.send(body, headers) for _ in range(20)))
    assert sorted(answer.status_code for answer in answers) == [200] + [401] * 19
    assert owner.left() == 90


@asynccontextmanager
async def listening(*routes: Route) -> AsyncIterator[str]:
    """An admin port with these routes, on a real socket."""
    listener = bind("127.0.0.1", 0, "tests")
    async with serving(create_admin_app({}, routes=routes), listener):
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


async def test_tokens_go_over_a_real_connection_to_who_has_the_key_only(owner: Owner) -> None:
    request = decode_request(owner.request())
    async with listening(leases_route(owner.lender, KEY)) as url:
        async with HttpWire(KEY) as wire:
            assert (await wire.lease(url, request)).grants[0].tokens == 10
        async with HttpWire(OTHER_KEY) as stranger:
            with pytest.raises(PeerAway, match="status 401"):
                await stranger.lease(url, request)
    assert owner.left() == 90


async def test_answer_of_an_impostor_is_not_believed(owner: Owner) -> None:
    async def lend_a_million(request: Request) -> Response:
        reply = encode(LeaseReply(owner.lender.life, [Grant(10**6, 0.0)]))
        nonce = request.headers[NONCE_HEADER]
        headers = {SIGNATURE_HEADER: answer_signature(OTHER_KEY, nonce, reply)}
        return Response(reply, headers=headers)

    async with (
        listening(Route(PATH, lend_a_million, methods=["POST"])) as url,
        HttpWire(KEY) as wire,
    ):
        with pytest.raises(PeerAway, match="not proven"):
            await wire.lease(url, decode_request(owner.request()))


async def test_port_where_nobody_listens_is_told_from_one_that_is_silent(owner: Owner) -> None:
    (port,) = free_ports(1)
    async with HttpWire(KEY) as wire:
        with pytest.raises(PeerAway) as away:
            await wire.lease(f"http://127.0.0.1:{port}", decode_request(owner.request()))
        assert away.value.refused
        listener = bind("127.0.0.1", 0, "tests")
        listener.listen()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(PeerAway) as away:
            await wire.lease(url, decode_request(owner.request()))
        assert not away.value.refused
        listener.close()
