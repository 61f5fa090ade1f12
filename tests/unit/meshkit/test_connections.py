"""An Application behind our listener, as clients meet it on a connection."""

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any
from unittest import mock

import httpx
import pytest
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from bench.load import first_answer
from builders import make_limit, make_policy
from meshkit.limits.gcra import RateLimiter
from meshkit.tenancy.static import StaticTenantSource
from meshkit.web.application import Application
from meshkit.web.authentication import HeaderAuthenticator
from meshkit.web.call import Call, Reply
from meshkit.web.drain import Drain
from meshkit.web.operation import Body, Operation
from meshkit.web.overload import InFlight
from meshkit.web.rate_limits import RateLimits
from meshkit.web.server import bind, serving
from waiting import eventually

ECHO = Operation(
    method="POST",
    path="/echo",
    name="echo",
    summary="s",
    description="d",
    tag="t",
    handler=None,  # type: ignore[arg-type]
    status=200,
    response=dict,
    response_example={},
    limit="users.write",
    body=Body(dict, lambda _, raw: raw, {}, limit=1 << 20),
)

# The same again and again.
SLOW_REPLY = Reply(200, b"slow")


class Service:
    """Echoes what is posted; `/slow` answers when `go` is set, `/fault` has a fault."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.in_flight = InFlight()
        table = (
            replace(ECHO, handler=self._echo),
            replace(ECHO, method="GET", path="/slow", name="slow", body=None, handler=self._slow),
            replace(
                ECHO, method="GET", path="/fault", name="fault", body=None, handler=self._fault
            ),
        )
        tenants = StaticTenantSource(
            make_policy("tenant-a"),
            make_policy("spent", make_limit("users.write", requests=0)),
        )
        self.app = Application(
            table,
            authenticator=HeaderAuthenticator(),
            tenants=tenants,
            limits=RateLimits(RateLimiter(lambda: 1000.0)),
            in_flight=self.in_flight,
        )

    async def _echo(self, call: Call) -> Reply:
        return Reply(200, call.body, b"application/octet-stream")

    async def _slow(self, _: Call) -> Reply:
        await self.go.wait()
        return SLOW_REPLY

    async def _fault(self, _: Call) -> Reply:
        raise ZeroDivisionError


class Client:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._rest = b""

    @property
    def unsent(self) -> int:
        """How many bytes the other side has not taken yet."""
        return self._writer.transport.get_write_buffer_size()

    @property
    def came_along(self) -> int:
        """How many answers came with those that were taken."""
        return self._rest.count(b"HTTP/1.1 ")

    def send(self, *requests: bytes) -> None:
        """Send requests in one piece."""
        self._writer.write(b"".join(requests))

    async def answer(self) -> tuple[int, bytes]:
        """Return status and body of the next answer."""
        while (found := first_answer(self._rest)) is None:
            more = await self._reader.read(65_536)
            assert more, f"the connection was closed after {self._rest!r}"
            self._rest += more
        status, body, self._rest = found
        return int(status), body

    async def answers(self, count: int) -> list[int]:
        """Return the statuses of the next answers."""
        return [(await self.answer())[0] for _ in range(count)]

    async def everything(self) -> bytes:
        """Return all that comes until the server closes the connection."""
        return self._rest + await self._reader.read()

    def close(self) -> None:
        """Close it."""
        self._writer.close()


@pytest.fixture
async def service() -> Service:
    return Service()


@asynccontextmanager
async def served(
    service: Service, drain: Drain | None = None, listener: socket.socket | None = None
) -> AsyncIterator[int]:
    """Serve it; yields the port."""
    listener = listener or bind("127.0.0.1", 0, "PORT")
    port = listener.getsockname()[1]
    async with asyncio.timeout(30), serving(service.app, listener, drain):
        yield port


async def connected(port: int) -> Client:
    return Client(*await asyncio.open_connection("127.0.0.1", port))


def with_small_buffers(one: socket.socket) -> socket.socket:
    """Have the system hold little of what goes over its connections."""
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        one.setsockopt(socket.SOL_SOCKET, option, 65_536)
    return one


@pytest.fixture
async def client(service: Service) -> AsyncIterator[Client]:
    async with served(service) as port:
        client = await connected(port)
        yield client
        service.go.set()
        client.close()


def request(
    line: str, tenant: str = "tenant-a", body: bytes = b"", *headers: str, version: str = "1.1"
) -> bytes:
    lines = [
        f"{line} HTTP/{version}",
        "Host: mesh",
        f"X-Tenant-Id: {tenant}",
        "Content-Type: application/json",
        *headers,
    ]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def echo(body: bytes, *headers: str) -> bytes:
    return request("POST /echo", "tenant-a", body, *headers)


REFUSED = request("POST /echo", "spent", b"never read")
SLOW = request("GET /slow")


async def test_refusals_and_answers_take_turns_on_a_connection(client: Client) -> None:
    for number in range(3):
        client.send(REFUSED)
        assert (await client.answer())[0] == 429
        client.send(echo(b"%d" % number))
        assert await client.answer() == (200, b"%d" % number)


async def test_only_what_has_to_wait_takes_a_task(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = mock.Mock(side_effect=HttpToolsProtocol._start_asgi_task, autospec=True)
    monkeypatch.setattr(HttpToolsProtocol, "_start_asgi_task", lambda *given: tasks(*given))
    for refused in (REFUSED, request("GET /nowhere"), request("GET /slow", "nobody")):
        client.send(refused)
        assert (await client.answer())[0] in (403, 404, 429)
    assert not tasks.called
    client.send(echo(b"1"))
    assert (await client.answer())[0] == 200
    assert tasks.call_count == 1


async def test_reply_that_a_handler_keeps_stays_its_own(client: Client, service: Service) -> None:
    service.go.set()
    client.send(SLOW, SLOW)
    assert await client.answers(2) == [200, 200]
    assert SLOW_REPLY.headers == ()


async def test_body_of_a_refused_request_may_come_late(client: Client) -> None:
    client.send(REFUSED[:-5])
    assert (await client.answer())[0] == 429
    client.send(REFUSED[-5:], echo(b"next"))
    assert await client.answer() == (200, b"next")


async def test_answers_keep_the_order_of_requests_sent_at_once(
    client: Client, service: Service
) -> None:
    client.send(echo(b"1"), REFUSED, SLOW, REFUSED, echo(b"2"), request("GET /nowhere"), REFUSED)
    assert await client.answers(2) == [200, 429]
    service.go.set()
    assert await client.answers(5) == [200, 429, 200, 404, 429]


async def test_many_refusals_wait_behind_one_answer(client: Client, service: Service) -> None:
    count = 3_000
    client.send(SLOW, request("GET /slow", "spent") * count)
    await eventually(lambda: len(service.in_flight) == 1)
    service.go.set()
    assert await client.answers(count + 1) == [200] + [429] * count


async def test_who_sends_many_at_once_is_answered_one_by_one(client: Client) -> None:
    client.send(request("GET /slow", "spent") * 300)
    assert (await client.answer())[0] == 429
    # The others had their turns meanwhile.
    assert client.came_along < 30
    assert await client.answers(299) == [429] * 299


async def test_answers_that_nobody_reads_hold_up_who_asks(service: Service) -> None:
    async with served(service, None, with_small_buffers(bind("127.0.0.1", 0, "PORT"))) as port:
        ours = with_small_buffers(socket.create_connection(("127.0.0.1", port)))
        client = Client(*await asyncio.open_connection(sock=ours))
        # More than all the buffers on the way hold.
        count = 20_000
        client.send(request("GET /slow", "spent") * count)
        await asyncio.sleep(1)
        assert client.unsent > 0
        assert await client.answers(count) == [429] * count
        client.close()


async def test_what_is_sent_behind_the_last_request_is_dropped(client: Client) -> None:
    last = REFUSED.replace(b"Host: mesh", b"Host: mesh\r\nConnection: close")
    client.send(echo(b"1"), echo(b"2"), last, echo(b"3"))
    assert (await client.everything()).count(b"HTTP/1.1 ") == 3


async def test_head_of_an_answer_is_whole(client: Client) -> None:
    client.send(REFUSED, request("HEAD /slow", "spent", b"", "Connection: close"))
    everything = (await client.everything()).decode()
    refusal, _, rest = everything.partition("\r\n\r\n")
    head, _, body = rest.partition("}HTTP/1.1 ")[2].partition("\r\n\r\n")
    assert refusal.startswith("HTTP/1.1 429 Too Many Requests\r\n")
    names = {line.partition(":")[0] for line in refusal.splitlines()[1:]}
    assert names >= {"date", "content-type", "content-length", "x-request-id", "ratelimit"}
    assert "connection" not in names
    assert head.startswith("429 ")
    assert head.endswith("connection: close")
    assert body == ""


@pytest.mark.parametrize("what", [REFUSED, echo(b"last")])
async def test_connection_is_closed_where_the_client_wants_it(client: Client, what: bytes) -> None:
    client.send(what.replace(b"Host: mesh", b"Host: mesh\r\nConnection: close"))
    assert b"\r\nconnection: close\r\n" in await client.everything()


async def test_old_clients_are_answered_and_left(client: Client) -> None:
    client.send(request("GET /slow", "spent", version="1.0"))
    assert b"\r\nconnection: close\r\n" in await client.everything()


async def test_who_asks_first_sends_its_body_or_does_not(client: Client) -> None:
    head, body = REFUSED[:-10], REFUSED[-10:]
    client.send(head.replace(b"Host: mesh", b"Host: mesh\r\nExpect: 100-continue"))
    assert (await client.answer())[0] == 429
    client.send(body)
    wanted = echo(b"wanted", "Expect: 100-continue")
    client.send(wanted[:-6])
    assert await client._reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.send(wanted[-6:])
    assert await client.answer() == (200, b"wanted")


async def test_fault_is_answered_and_the_connection_goes_on(client: Client) -> None:
    client.send(request("GET /fault"), echo(b"next"))
    assert await client.answers(2) == [500, 200]


async def test_who_leaves_leaves_nothing_behind(client: Client, service: Service) -> None:
    client.send(echo(b"body that will not be whole")[:-5])
    await eventually(lambda: len(service.in_flight) == 1)
    client.close()
    await eventually(lambda: len(service.in_flight) == 0)


async def test_replica_that_leaves_closes_connections_with_its_answers(service: Service) -> None:
    drain = Drain(0.5)
    async with served(service, drain) as port:
        slow, refused = await connected(port), await connected(port)
        slow.send(SLOW)
        await eventually(lambda: len(service.in_flight) == 1)
        leaving = asyncio.create_task(drain.run())
        await eventually(lambda: drain.leaving)
        refused.send(REFUSED)
        service.go.set()
        for client in (slow, refused):
            assert b"\r\nconnection: close\r\n" in await client.everything()
            client.close()
        await leaving


def without_what_changes(headers: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    return sorted((n.lower(), v) for n, v in headers if n.lower() != "date")


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("POST", "/echo", {"X-Tenant-Id": "tenant-a", "Content-Type": "application/json"}),
        ("POST", "/echo", {"X-Tenant-Id": "spent"}),
        ("POST", "/echo", {"X-Tenant-Id": "nobody"}),
        ("POST", "/echo", {}),
        ("PUT", "/echo", {"X-Tenant-Id": "tenant-a"}),
        ("GET", "/slow?unknown=1", {"X-Tenant-Id": "tenant-a"}),
        ("GET", "/fault", {"X-Tenant-Id": "tenant-a"}),
        ("GET", "/nowhere", {"X-Tenant-Id": "tenant-a"}),
    ],
)
async def test_our_listener_answers_as_any_other_server_would(
    service: Service, method: str, path: str, headers: dict[str, str]
) -> None:
    given: dict[str, Any] = {
        "headers": headers | {"X-Request-Id": "id-1"},
        "content": b"body" if method == "POST" else None,
    }
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(service.app), base_url="http://mesh"
    ) as plain:
        expected = await plain.request(method, path, **given)
    # With the buckets full again.
    service = Service()
    async with served(service) as port, httpx.AsyncClient() as http:
        answer = await http.request(method, f"http://127.0.0.1:{port}{path}", **given)
    assert answer.status_code == expected.status_code
    assert answer.content == expected.content
    assert without_what_changes(answer.headers.multi_items()) == without_what_changes(
        expected.headers.multi_items()
    )
