"""A TCP proxy whose connections can go silent, as behind a load balancer that has dropped them.

They stay open, acknowledge what is sent and carry nothing. Connections made later work.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress


class SilentProxy:
    """Carries connections to a port of this machine."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._heard = asyncio.Event()
        self._heard.set()
        self.opened = 0

    @property
    def port(self) -> int:
        """Where it listens."""
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    def silence(self) -> None:
        """Have the connections that are open now carry nothing more."""
        self._heard.clear()
        self._heard = asyncio.Event()
        self._heard.set()

    async def deafen(self) -> None:
        """Go silent, and have nothing listen any more."""
        assert self._server is not None
        self.silence()
        self._server.close()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.opened += 1
        heard = self._heard
        back_reader, back_writer = await asyncio.open_connection("127.0.0.1", self._target)
        self._writers |= {writer, back_writer}
        for source, sink in ((reader, back_writer), (back_reader, writer)):
            task = asyncio.create_task(_carry(source, sink, heard))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _close(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        for writer in self._writers:
            writer.close()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@asynccontextmanager
async def silent_proxy(target: int) -> AsyncIterator[SilentProxy]:
    """A proxy to `target`, for as long as the block lasts."""
    proxy = SilentProxy(target)
    proxy._server = await asyncio.start_server(proxy._accept, "127.0.0.1", 0)
    try:
        yield proxy
    finally:
        await proxy._close()


async def _carry(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, heard: asyncio.Event
) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            # A connection that has gone silent still reads, and so acknowledges.
            if heard.is_set():
                writer.write(data)
                await writer.drain()
        if heard.is_set():
            writer.close()
