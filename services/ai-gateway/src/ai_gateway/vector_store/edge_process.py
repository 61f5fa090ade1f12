"""The engine process: `python -m ai_gateway.vector_store.edge_process FD FOLDER EMBEDDER DIM LOG`.

The engine holds Python's interpreter lock for as long as a call lasts; here it holds nobody up but
itself. Commands are taken one by one, reads before writes, and between two chunks of a large write
the reads that have arrived meanwhile are served. It ends when its parent's end of the socket
closes, however the parent died.
"""

import select
import signal
import socket
import sys
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ai_gateway.vector_store import wire
from ai_gateway.vector_store.edge_collection import EdgeCollection
from ai_gateway.vector_store.edge_folder import Refused, open_collection, take_lock
from ai_gateway.vector_store.edge_takeover import take_over

_READ_BYTES = 1 << 20
_READS = (wire.Search, wire.Get, wire.Revisions, wire.Count)


class ParentGone(Exception):
    """The other end of the socket is closed."""


class EngineProcess:
    """Serves one collection over one socket."""

    def __init__(self, connection: socket.socket, collection: EdgeCollection) -> None:
        self._connection = connection
        self._collection = collection
        self._buffer = bytearray()
        self._reads: deque[wire.Request] = deque()
        self._writes: deque[wire.Request] = deque()

    def serve(self) -> None:
        """Serve until the parent is gone."""
        while True:
            self._receive(wait=not (self._reads or self._writes))
            self._serve_reads()
            if self._writes:
                self._answer(self._writes.popleft())

    def _receive(self, *, wait: bool) -> None:
        """Take in what has arrived; wait for something where there is nothing to do."""
        while wait or select.select([self._connection], [], [], 0)[0]:
            received = self._connection.recv(_READ_BYTES)
            if not received:
                raise ParentGone
            self._buffer += received
            wait = not self._sort_in() and wait

    def _sort_in(self) -> bool:
        """Put whole requests into their queue; return whether there was one."""
        found = False
        while len(self._buffer) >= wire.LENGTH.size:
            (length,) = wire.LENGTH.unpack_from(self._buffer)
            end = wire.LENGTH.size + length
            if len(self._buffer) < end:
                break
            request = wire.decode_request(self._buffer[wire.LENGTH.size : end])
            del self._buffer[:end]
            (self._reads if isinstance(request.command, _READS) else self._writes).append(request)
            found = True
        return found

    def _serve_reads(self) -> None:
        while self._reads:
            self._answer(self._reads.popleft())

    def _answer(self, request: wire.Request) -> None:
        try:
            answer = wire.Answer(request.number, self._perform(request.command), None)
        except ParentGone:
            raise
        except Exception as error:
            # The engine's own errors have no common class; the parent gets the text.
            answer = wire.Answer(request.number, None, f"{type(error).__name__}: {error}")
        self._connection.sendall(wire.frame(answer))

    def _perform(self, command: wire.Command) -> Any:
        return _PERFORM[type(command)](self, command)

    def _apply(self, command: wire.Apply) -> int:
        applied = 0
        for count in self._collection.apply(command.changes, command.now_ms):
            applied += count
            self._receive(wait=False)
            self._serve_reads()
        return applied


_PERFORM: dict[type, Callable[[EngineProcess, Any], Any]] = {
    wire.Apply: EngineProcess._apply,
    wire.Search: lambda p, c: p._collection.search(
        c.tenant_uid, c.dense, c.indices, c.values, c.limit
    ),
    wire.Get: lambda p, c: p._collection.get(c.tenant_uid, c.point_id),
    wire.Revisions: lambda p, c: p._collection.revisions(c.point_ids),
    wire.Count: lambda p, c: p._collection.count(c.tenant_uid),
    wire.Footprint: lambda p, c: p._collection.footprint(c.tenant_uid),
    wire.DeleteTenant: lambda p, c: p._collection.delete_tenant(c.tenant_uid),
    wire.Sweep: lambda p, c: p._collection.sweep(c.before_ms),
    wire.Flush: lambda p, _: p._collection.flush(),
}


def main() -> None:
    """Open the collection, say hello, serve."""
    descriptor, folder, embedder, dimension, log_id = sys.argv[1:]
    # Ctrl-C in a terminal reaches the whole group; the parent decides when this process ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    connection = socket.socket(fileno=int(descriptor))
    try:
        lock = take_lock(Path(folder))
        take_over(Path(folder))
        opened = open_collection(Path(folder), embedder, int(dimension), log_id)
    except Refused as error:
        connection.sendall(wire.frame(wire.Hello("", False, str(error))))
        return
    connection.sendall(wire.frame(wire.Hello(opened.collection_id, opened.created, None)))
    try:
        EngineProcess(connection, opened.collection).serve()
    except (ParentGone, ConnectionError):
        opened.collection.close()
        socket.close(lock)


if __name__ == "__main__":
    main()
