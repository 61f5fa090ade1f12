"""Connections that anybody may open: bounded in number, and in what they may send unasked.

A request is held against its tenant's limits once it is there. Before that there are strangers who
open connections and send nothing, or headers without an end. So a port takes no more connections
than leave files for everything else that the process opens, the admin port's connections above all;
a new one takes the place of one that idles. And a head is refused at a size that no client needs.

An Application is not asked for the messages of ASGI: it is begun at once, and what it replies is
written in one piece.
"""

import asyncio
import resource
from functools import partial
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from meshkit.telemetry import metrics
from meshkit.web.application import Application, Scope
from meshkit.web.beginning import Begun
from meshkit.web.body import Receive
from meshkit.web.call import Reply
from meshkit.web.drain import Drain
from meshkit.web.outgoing import Outgoing

HEAD_BYTES_MOST = 32 * 1024
# For the log, the engine, brokers and the admin ports.
_FILES_KEPT = 256
# Two public ports may share a process.
_PORTS = 2
_CONNECTIONS_LEAST = 64
_FILES_WANTED = 65_536


def raise_open_files() -> None:
    """Use as many open files as the system lets a process have, within reason."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES_WANTED if hard == resource.RLIM_INFINITY else min(hard, _FILES_WANTED)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def connections_most() -> int:
    """Return how many connections a port may have."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = _FILES_WANTED if soft == resource.RLIM_INFINITY else min(soft, _FILES_WANTED)
    return max(_CONNECTIONS_LEAST, (files - _FILES_KEPT) // _PORTS)


class BoundedProtocol(HttpToolsProtocol):
    """HTTP as uvicorn speaks it, within these bounds."""

    _head_bytes = 0
    _in_head = False
    _head_began = False
    _answered = False

    def __init__(self, *arguments: Any, drain: Drain | None = None, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._drain = drain

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection in, in the place of one that idles where there are too many."""
        full = len(self.connections) >= connections_most()
        super().connection_made(cast(asyncio.Transport, Outgoing(transport)))
        if full:
            metrics.CONNECTIONS_DROPPED.inc()
            idle = (one for one in self.connections if one is not self and _idles(one))
            next(idle, self).transport.abort()

    def data_received(self, data: bytes) -> None:
        """Read on; a head that does not end is the end of the connection."""
        self._head_began = self._answered = False
        super().data_received(data)
        # What a head begins with may come behind other requests.
        if self._in_head and not self._head_began:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES_MOST and not self.transport.is_closing():
                self.send_400_response("The head of the request is too large.")

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._in_head = self._head_began = True
        self._head_bytes = 0

    def on_headers_complete(self) -> None:
        """Its head has come to an end."""
        self._in_head = False
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        """Go on with what waits behind it, and read on once nothing does."""
        super().on_response_complete()
        if self.pipeline and not self.transport.is_closing():
            self.flow.pause_reading()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        if not isinstance(app, Application):
            super()._start_asgi_task(cycle, app)
            return
        begun = app.begin(cast(Scope, cycle.scope), cast(Receive, cycle.receive))
        # One at once: who sends many in one piece is not to hold up everybody else.
        if begun.ended and not self._answered and not self.flow.write_paused:
            self._answered = True
            self._answer(cycle, begun.result)
        else:
            super()._start_asgi_task(cycle, partial(self._go_on, cycle, begun))

    async def _go_on(
        self, cycle: RequestResponseCycle, begun: Begun[Reply | None], *_: Any
    ) -> None:
        reply = await begun.rest()
        if self.flow.write_paused and not cycle.disconnected:
            await self.flow.drain()
        self._answer(cycle, reply)

    def _answer(self, cycle: RequestResponseCycle, reply: Reply | None) -> None:
        """Write a reply and end the request with it, as the cycle's `send` does."""
        if reply is None or cycle.disconnected:
            return
        # Asked at the answer: a request that took long may end in another time.
        if self._drain is not None and self._drain.leaving:
            cycle.keep_alive = False
        parts = [STATUS_LINE[reply.status]]
        for name, value in cycle.default_headers:
            parts += (name, b": ", value, b"\r\n")
        for name, value in reply.headers:
            parts += (name, b": ", value, b"\r\n")
        parts.append(b"\r\n" if cycle.keep_alive else b"connection: close\r\n\r\n")
        if cycle.scope["method"] != "HEAD":
            parts.append(reply.body)
        cycle.response_started = cycle.response_complete = True
        cycle.waiting_for_100_continue = False
        self.transport.write(b"".join(parts))
        cycle.message_event.set()
        if not cycle.keep_alive:
            self.transport.close()
        cycle.on_response()


def _idles(connection: object) -> bool:
    """Whether no request of a connection is being answered."""
    cycle = getattr(connection, "cycle", None)
    return cycle is None or cycle.response_complete


__all__ = ["HEAD_BYTES_MOST", "BoundedProtocol", "connections_most", "raise_open_files"]
