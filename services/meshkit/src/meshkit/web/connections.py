"""Connections that anybody may open: bounded in number, and in what they may send unasked.

A request is held against its tenant's limits once it is there. Before that there are strangers who
open connections and send nothing, or headers without an end. So a port takes no more connections
than leave files for everything else that the process opens, the admin port's connections above all;
a new one takes the place of one that idles. And a head is refused at a size that no client needs.
"""

import asyncio
import resource
from typing import cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from meshkit.telemetry import metrics
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
        # What the head began with may have come behind another request's body.
        goes_on = self._in_head
        super().data_received(data)
        if goes_on and self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES_MOST and not self.transport.is_closing():
                self.send_400_response("The head of the request is too large.")

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._in_head, self._head_bytes = True, 0

    def on_headers_complete(self) -> None:
        """Its head has come to an end."""
        self._in_head = False
        super().on_headers_complete()


def _idles(connection: object) -> bool:
    """Whether no request of a connection is being answered."""
    cycle = getattr(connection, "cycle", None)
    return cycle is None or cycle.response_complete


__all__ = ["HEAD_BYTES_MOST", "BoundedProtocol", "connections_most", "raise_open_files"]
