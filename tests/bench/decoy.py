"""A server that refuses everything and does nothing for it: `python -m bench.decoy PORT`.

Noise that goes here costs a victim what it costs to share a machine with the one who makes it.
"""

import asyncio
import sys
from typing import cast

import uvloop

_ANSWER = b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 2\r\n\r\n{}"


class Refusal(asyncio.Protocol):
    """Answers once for whatever comes with the start of a request in it."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._transport.write(_ANSWER * data.count(b" HTTP/1.1\r\n"))


async def refuse(port: int) -> None:
    """Refuse until killed."""
    server = await asyncio.get_running_loop().create_server(Refusal, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(refuse(int(sys.argv[1])))
