"""A load generator that costs little: prepared requests over keep-alive connections.

Closed loop for CPU per request (each connection sends its next request when it has the answer),
open loop for latency (requests start by the clock, so a slow answer delays no later start and a
wait in line counts as latency).
"""

import asyncio
import time
from collections.abc import Callable
from typing import cast


class Connection(asyncio.Protocol):
    """One keep-alive HTTP/1.1 connection; answers have a Content-Length or are chunked."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self._buffer = b""
        self._answer: asyncio.Future[bytes] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclasses of asyncio's.
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        lower = head.lower()
        at = lower.find(b"content-length:")
        length = int(lower[at + 15 :].split(b"\r\n", 1)[0])
        if len(rest) >= length and self._answer is not None:
            self._buffer = rest[length:]
            answer, self._answer = self._answer, None
            # Cancelled, where the stream was stopped in the middle of a request.
            if not answer.done():
                answer.set_result(head[9:12] + rest[:length])

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionError("the server closed the connection"))

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
        assert connection.transport is not None
        connection.transport.close()

    await asyncio.gather(*(client() for _ in range(connections)))
    return latencies
