"""What is written within one turn of the loop goes out at once.

uvicorn writes the head of an answer and then its body, and uvloop hands each to the system: two
calls, two segments, two turns of the reader. The calls are the dearest part of a small answer, and
refusals are small: one instead of two is a sixth of what a refusal costs.
"""

import asyncio
from typing import Any


class Outgoing:
    """A transport, but for when it writes."""

    __slots__ = ("_call_soon", "_transport", "_waiting")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._call_soon = asyncio.get_running_loop().call_soon
        self._waiting: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Write, together with what else is written before the loop comes round."""
        if not self._waiting:
            self._call_soon(self._flush)
        self._waiting.append(data)

    def close(self) -> None:
        """Close, once everything that was written is out."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._waiting and not self._transport.is_closing():
            self._transport.write(b"".join(self._waiting))
        self._waiting.clear()


__all__ = ["Outgoing"]
