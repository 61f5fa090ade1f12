"""A replica that stops loses no request: it sends its clients elsewhere before it closes."""

import asyncio
from typing import Any

from meshkit.web.server import bind, serving

_REQUEST = b"GET / HTTP/1.1\r\nhost: mesh\r\n\r\n"


async def hello(scope: Any, receive: Any, send: Any) -> None:
    """Answer every request alike."""
    headers = [(b"content-length", b"5")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"hello"})


class Client:
    """One connection to a port of this machine."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def to(cls, port: int) -> "Client":
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def ask(self) -> str:
        """Send a request and return the answer."""
        self._writer.write(_REQUEST)
        return (await self._reader.readuntil(b"hello")).decode()

    async def ended(self) -> bool:
        """Return once the server has closed the connection."""
        end = await self._reader.read()
        self._writer.close()
        return end == b""


async def served(port: asyncio.Future[int], stop: asyncio.Event, drain_seconds: float) -> None:
    listener = bind("127.0.0.1", 0, "PORT")
    async with serving(hello, listener, drain_seconds=drain_seconds):
        port.set_result(listener.getsockname()[1])
        await stop.wait()


async def test_server_that_drains_answers_and_sends_clients_to_another_connection() -> None:
    port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    stop = asyncio.Event()
    server = asyncio.create_task(served(port, stop, 3.0))
    client = await Client.to(await port)
    assert "connection: close" not in await client.ask()
    stop.set()
    while "connection: close" not in (answer := await client.ask()):
        await asyncio.sleep(0.01)
    assert answer.startswith("HTTP/1.1 200")
    assert await client.ended()
    late = await Client.to(await port)
    assert "connection: close" in await late.ask()
    assert await late.ended()
    await server


async def test_server_that_is_not_to_drain_stops_at_once() -> None:
    port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    stop = asyncio.Event()
    server = asyncio.create_task(served(port, stop, 0.0))
    idle = await Client.to(await port)
    await idle.ask()
    stop.set()
    assert await idle.ended()
    await server
