"""HTTP connections to the API server, which may die without a word.

A load balancer or a NAT can drop a connection and tell neither side. The kernel notices where it
can (keep-alive probes, and a limit for data that is not acknowledged). A proxy that keeps answering
those hides it; then only time tells. So a request that got no answer in time takes all idle
connections with it, and the next one opens a new connection. A watch always opens its own.
"""

import asyncio
import errno
import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from meshkit.tasks import end

_TIMEOUT = aiohttp.ClientTimeout(total=20, sock_connect=5)
# The API server answers a watch at once, long before there is anything to tell.
_WATCH_ANSWER_SECONDS = 20.0
_LINE_BYTES = 4 * 1024 * 1024
_CONNECTIONS = 16
_CLOSING_SECONDS = 0.1

_KEEPALIVE_AFTER_SECONDS, _KEEPALIVE_EVERY_SECONDS, _KEEPALIVE_PROBES = 20, 5, 4
_UNACKNOWLEDGED_MS = 20_000
# Not every system has all of them.
_TCP_OPTIONS = {
    "TCP_KEEPIDLE": _KEEPALIVE_AFTER_SECONDS,
    "TCP_KEEPINTVL": _KEEPALIVE_EVERY_SECONDS,
    "TCP_KEEPCNT": _KEEPALIVE_PROBES,
    "TCP_USER_TIMEOUT": _UNACKNOWLEDGED_MS,
}


class Sessions:
    """The connections of one client. `close` ends all of them."""

    def __init__(self, tls: ssl.SSLContext, timeout: aiohttp.ClientTimeout = _TIMEOUT) -> None:
        self._tls = tls
        self._timeout = timeout
        self._calls = self._session()
        self._watches = self._session(force_close=True)
        # aiohttp gives a free connection to whoever comes just then, not to who waits longest.
        self._room = asyncio.Semaphore(_CONNECTIONS)
        self._retired: dict[aiohttp.ClientSession, asyncio.Task[None]] = {}

    async def close(self) -> None:
        """End all connections."""
        await end(*self._retired.values())
        for session in (*self._retired, self._calls, self._watches):
            await session.close()
        # A TLS connection takes some turns of the loop to close (aiohttp, graceful shutdown).
        await asyncio.sleep(_CLOSING_SECONDS)

    @asynccontextmanager
    async def call(
        self, method: str, url: str, **options: Any
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Make a request over a connection that is kept. Raises what aiohttp raises."""
        async with (
            asyncio.timeout(self._timeout.total),
            self._room,
            self._requested(method, url, options) as answer,
        ):
            yield answer

    @asynccontextmanager
    async def _requested(
        self, method: str, url: str, options: Mapping[str, Any]
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        session = self._calls
        try:
            async with session.request(method, url, **options) as answer:
                yield answer
        except (asyncio.CancelledError, TimeoutError):
            # Also where the caller has not waited as long as we would have.
            self._retire(session)
            raise
        except OSError as error:
            if error.errno == errno.ETIMEDOUT:
                self._retire(session)
            raise

    @asynccontextmanager
    async def watch(
        self, url: str, *, silence: float, parameters: Mapping[str, str], headers: Mapping[str, str]
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Open a watch over a connection of its own, which ends with a TimeoutError once nothing
        has come for `silence` seconds. Raises what aiohttp raises."""
        timeout = aiohttp.ClientTimeout(total=None, connect=5, sock_read=silence)
        request = self._watches.get(url, params=parameters, headers=headers, timeout=timeout)
        async with asyncio.timeout(min(_WATCH_ANSWER_SECONDS, silence)):
            answer = await request
        async with answer:
            yield answer

    def _session(self, *, force_close: bool = False) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            timeout=self._timeout,
            connector=aiohttp.TCPConnector(
                ssl=self._tls,
                limit=0,
                force_close=force_close,
                socket_factory=_socket,
            ),
            read_bufsize=_LINE_BYTES,
        )

    def _retire(self, session: aiohttp.ClientSession) -> None:
        """Use the connections of a session for nothing new."""
        if session is not self._calls:
            return
        self._calls = self._session()
        self._retired[session] = asyncio.create_task(self._end_later(session))

    async def _end_later(self, session: aiohttp.ClientSession) -> None:
        # What is under way has its own time to end in.
        await asyncio.sleep(self._timeout.total or 0)
        await session.close()
        del self._retired[session]


def _socket(address: tuple[Any, ...]) -> socket.socket:
    family, kind, protocol = address[:3]
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _TCP_OPTIONS.items():
        option = getattr(socket, name, None)
        if option is not None:
            made.setsockopt(socket.IPPROTO_TCP, option, value)
    return made


__all__ = ["Sessions"]
