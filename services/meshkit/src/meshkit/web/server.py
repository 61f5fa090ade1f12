"""Listeners: uvicorn, without its hold on signals, so that one process can serve several ports.

The composition root decides when to stop. Stopping is graceful: no new connections, requests in
flight are finished (bounded), then the ports are closed. With a Drain the service first goes on
serving for a while, so that nobody is sent to a closed port, or writes into a closed connection.
"""

import asyncio
import errno
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any, cast

import uvicorn

from meshkit.errors import StartError
from meshkit.web.connections import BoundedProtocol
from meshkit.web.drain import Drain

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


@asynccontextmanager
async def serving(
    app: Any, listener: socket.socket, drain: Drain | None = None
) -> AsyncIterator[None]:
    """Serve `app` on `listener` for as long as the block lasts.

    An Application is served for as long as `drain` says after that.
    """
    config = uvicorn.Config(
        app,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
        timeout_keep_alive=75,
        http=cast(Any, partial(BoundedProtocol, drain=drain)),
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
        if drain is not None:
            await drain.run()
        server.should_exit = True
        await task


__all__ = ["GRACE_SECONDS", "PortTaken", "bind", "serving"]
