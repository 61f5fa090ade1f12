"""One life of the engine process, seen from its parent: start, requests and answers, end."""

import asyncio
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any, Self

from ai_gateway.vector_store import wire
from ai_gateway.vector_store.port import StoreMismatch, StoreRefused, StoreUnavailable
from meshkit.tasks import end

_MODULE = "ai_gateway.vector_store.edge_process"


class EngineChild:
    """A running engine process. `on_death` is called once, in the event loop, when it is gone."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        hello: wire.Hello,
        on_death: Callable[[], None],
    ) -> None:
        self._process = process
        self._reader = reader
        self._writer = writer
        self._on_death = on_death
        self._numbers = count()
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._gone = False
        self.collection_id = hello.collection_id
        self.created = hello.created
        self._listening = asyncio.create_task(self._listen(), name="engine-answers")

    @classmethod
    async def start(
        cls, folder: Path, arguments: tuple[str, ...], on_death: Callable[[], None]
    ) -> Self:
        """Start an engine process on `folder`. Raises StoreMismatch, StoreUnavailable."""
        ours, theirs = socket.socketpair()
        # A frame that fits into the buffer costs one system call each way.
        for side in (ours, theirs):
            side.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        command = [sys.executable, "-m", _MODULE, str(theirs.fileno()), str(folder), *arguments]
        process = await asyncio.to_thread(
            subprocess.Popen, command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL
        )
        theirs.close()
        reader, writer = await asyncio.open_connection(sock=ours, limit=1 << 26)
        try:
            hello = wire.decode_hello(await _read_frame(reader))
        except asyncio.IncompleteReadError:
            writer.close()
            await asyncio.to_thread(process.wait)
            raise StoreUnavailable("the engine process died while it started") from None
        if hello.problem is not None:
            writer.close()
            await asyncio.to_thread(process.wait)
            raise StoreMismatch(hello.problem)
        return cls(process, reader, writer, hello, on_death)

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    async def call(self, command: wire.Command) -> Any:
        """Return the engine's answer. Raises StoreUnavailable where it died, StoreRefused."""
        if self._gone:
            raise StoreUnavailable("the engine process is gone")
        number = next(self._numbers)
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        self._writer.write(wire.frame(wire.Request(number, command)))
        return await answer

    async def stop(self) -> None:
        """Let the process finish what it has, flush and end."""
        await end(self._listening)
        self._writer.close()
        with suppress(ConnectionError):
            await self._writer.wait_closed()
        await asyncio.to_thread(self._process.wait)

    async def _listen(self) -> None:
        try:
            while True:
                answer = wire.decode_answer(await _read_frame(self._reader))
                waiting = self._waiting.pop(answer.number)
                if waiting.done():
                    continue
                if answer.error is None:
                    waiting.set_result(answer.result)
                else:
                    waiting.set_exception(StoreRefused(answer.error))
        except (asyncio.IncompleteReadError, ConnectionError):
            # From here on nobody would answer, so nobody may ask: before anything is awaited.
            self._gone = True
            self._on_death()
            for waiting in self._waiting.values():
                if not waiting.done():
                    waiting.set_exception(StoreUnavailable("the engine process died"))
            self._waiting.clear()
            self._writer.close()
            await asyncio.to_thread(self._process.wait)


async def _read_frame(reader: asyncio.StreamReader) -> bytes:
    (length,) = wire.LENGTH.unpack(await reader.readexactly(wire.LENGTH.size))
    return await reader.readexactly(length)
