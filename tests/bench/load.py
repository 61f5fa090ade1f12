"""A load generator that costs little: prepared requests over keep-alive connections.

Closed loop for CPU per request (each connection sends its next request when it has the answer),
open loop for latency (requests start when they are due, so a slow answer delays no later start and
a wait in line counts as latency). A flood is an open loop that looks at nothing but the status.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar, cast

T = TypeVar("T")

# Well below the time after which a server closes what idles.
_IDLE_SECONDS = 20.0


def first_answer(data: bytes) -> tuple[bytes, bytes, bytes] | None:
    """Return the status, the body and what follows of the first answer in `data`, None while it is
    not whole. Answers have a Content-Length."""
    head, found, rest = data.partition(b"\r\n\r\n")
    if not found:
        return None
    lower = head.lower()
    at = lower.find(b"content-length:")
    length = int(lower[at + 15 :].split(b"\r\n", 1)[0])
    if len(rest) < length:
        return None
    return head[9:12], rest[:length], rest[length:]


class Connection(asyncio.Protocol):
    """One keep-alive HTTP/1.1 connection."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self._buffer = b""
        self._answer: asyncio.Future[bytes] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclasses of asyncio's.
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        found = first_answer(self._buffer)
        if found is not None and self._answer is not None:
            status, body, self._buffer = found
            answer, self._answer = self._answer, None
            # Cancelled, where the stream was stopped in the middle of a request.
            if not answer.done():
                answer.set_result(status + body)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionError("the server closed the connection"))

    def close(self) -> None:
        """Close it."""
        assert self.transport is not None
        self.transport.close()

    async def request(self, request: bytes) -> bytes:
        """Send a request; return the three digits of the status and the body."""
        assert self.transport is not None
        self._answer = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return await self._answer


async def connect(port: int) -> Connection:
    """Connect to a local port."""
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(Connection, "127.0.0.1", port)
    return connection


class Connections:
    """As many connections to a port as requests are under way at once."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._free: list[tuple[float, Connection]] = []

    async def request(self, request: bytes) -> bytes:
        """Send a request; return the three digits of the status and the body."""
        connection = self._free_one() or await connect(self._port)
        answer = await connection.request(request)
        self._free.append((time.monotonic(), connection))
        return answer

    def _free_one(self) -> Connection | None:
        """The one used last, unless the server may be about to close it."""
        since, connection = self._free.pop() if self._free else (0.0, None)
        if connection is None or time.monotonic() - since < _IDLE_SECONDS:
            return connection
        for _, older in [*self._free, (since, connection)]:
            older.close()
        self._free.clear()
        return None


class Flood(asyncio.Protocol):
    """A connection on which requests wait for no answer; the answers are counted by status."""

    def __init__(self) -> None:
        self.sent = 0
        self.answers: Counter[str] = Counter()
        self._transport: asyncio.Transport | None = None
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # As above.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while found := first_answer(self._buffer):
            status, _, self._buffer = found
            self.answers[status.decode()] += 1

    def send(self, request: bytes) -> None:
        """Send a request."""
        assert self._transport is not None
        self.sent += 1
        self._transport.write(request)


async def flood(port: int) -> Flood:
    """Connect to a local port, to flood it."""
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(Flood, "127.0.0.1", port)
    return connection


def post(path: str, body: bytes, tenant: str = "tenant-a") -> bytes:
    """Return a POST request of JSON."""
    return (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nX-Tenant-Id: {tenant}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body


def get(path: str, tenant: str = "tenant-a") -> bytes:
    """Return a GET request."""
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\nX-Tenant-Id: {tenant}\r\n\r\n".encode()


async def closed_loop(
    port: int, make: Callable[[], bytes], connections: int, requests: int, status: bytes
) -> list[float]:
    """Send `requests` requests over `connections`; return each one's latency in seconds.

    Raises AssertionError for an answer of another status: a benchmark of errors measures nothing.
    """
    left = requests
    latencies: list[float] = []

    async def client() -> None:
        nonlocal left
        connection = await connect(port)
        while left > 0:
            left -= 1
            started = time.perf_counter()
            answer = await connection.request(make())
            latencies.append(time.perf_counter() - started)
            assert answer[:3] == status, answer
        connection.close()

    await asyncio.gather(*(client() for _ in range(connections)))
    return latencies


def poisson(rate: float, seconds: float, seed: int) -> list[float]:
    """Return when requests are due that come independently of each other, `rate` of them a second
    on average: in seconds from the start, within so many seconds.

    By a clock of their own they would meet the requests of another clock always or never.
    """
    rng = random.Random(f"arrivals {seed}")
    due, arrivals = 0.0, []
    while (due := due + rng.expovariate(rate)) < seconds:
        arrivals.append(due)
    return arrivals


async def open_loop(
    arrivals: Sequence[float], act: Callable[[int, float], Coroutine[Any, Any, T]]
) -> list[T]:
    """Start `act` when it is due, in seconds from now, whatever the earlier ones do; it is told its
    number and when it was due (as time.perf_counter has it). Return the results."""
    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        tasks = []
        for number, arrival in enumerate(arrivals):
            due = began + arrival
            await asyncio.sleep(max(due - time.perf_counter(), 0.0))
            tasks.append(group.create_task(act(number, due)))
    return [task.result() for task in tasks]
