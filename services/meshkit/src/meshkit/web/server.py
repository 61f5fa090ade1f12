"""Listeners: uvicorn, without its hold on signals, so that one process can serve several ports.

The composition root decides when to stop. Stopping is graceful: no new connections, requests in
flight are finished (bounded), then the ports are closed. Where others take over, a server that
is to stop may drain first: it goes on answering, and each answer sends its client to another
connection.
"""

import asyncio
import errno
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import uvicorn

from meshkit.errors import StartError

GRACE_SECONDS = 10


class PortTaken(StartError):
    """The address is in use; the message says which, and how to choose another."""


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def bind(host: str, port: int, setting: str) -> socket.socket:
    """Return a listening socket. Raises PortTaken, which names `setting`, the way to another."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        if error.errno in (errno.EADDRINUSE, errno.EACCES, errno.EADDRNOTAVAIL):
            reason = error.strerror or "cannot be used"
            raise PortTaken(f"{host}:{port}: {reason}. Choose another with {setting}.") from None
        raise
    return listener


class _Draining:
    """Serves `app`; while `draining`, answers end their connection.

    A client whose idle connection is closed under it may just be sending a request, which is lost.
    One that is told in an answer sends the next one elsewhere.
    """

    def __init__(self, app: Any) -> None:
        self._app = app
        self.draining = False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def closing(message: Any) -> None:
            if message["type"] == "http.response.start":
                headers = [*message.get("headers", ()), (b"connection", b"close")]
                message = {**message, "headers": headers}
            await send(message)

        await self._app(scope, receive, closing if self.draining else send)


@asynccontextmanager
async def serving(
    app: Any, listener: socket.socket, *, drain_seconds: float = 0.0
) -> AsyncIterator[None]:
    """Serve `app` on `listener` for as long as the block lasts, and drain for so long after it."""
    drained = _Draining(app)
    config = uvicorn.Config(
        drained if drain_seconds else app,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
        timeout_keep_alive=75,
        h11_max_incomplete_event_size=32 * 1024,
        loop="none",
    )
    server = _Server(config)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        while not server.started:
            if task.done():
                await task
                raise RuntimeError("the server ended before it had started")
            await asyncio.sleep(0.005)
        yield
    finally:
        if drain_seconds:
            drained.draining = True
            await asyncio.sleep(drain_seconds)
        server.should_exit = True
        await task


__all__ = ["GRACE_SECONDS", "PortTaken", "bind", "serving"]
