"""Requests to a Qdrant server, and what their answers amount to.

An outage (no answer, overload, a key that is refused) is told from a request that is wrong in
itself: the first is waited for, the second never gets better.
"""

import asyncio
import random

import aiohttp

from ai_gateway.vector_store.port import StoreRefused, StoreUnavailable

_TIMEOUT = aiohttp.ClientTimeout(total=10, connect=2)
_CONNECTIONS = 64
_READ_ATTEMPTS = 4
_BACKOFF_SECONDS = 0.05
_OK, _NOT_FOUND, _TOO_MANY, _SERVER_ERROR = 200, 404, 429, 500
_KEY_REFUSED = (401, 403)


class QdrantHttp:
    """Keep-alive connections to one server. Made in the event loop that uses it."""

    def __init__(self, url: str, api_key: str | None) -> None:
        self._url = url
        # Not compressed: the server is near, and to pack and unpack an answer takes longer.
        headers = {"content-type": "application/json", "accept-encoding": "identity"}
        if api_key:
            headers["api-key"] = api_key
        self._session = aiohttp.ClientSession(
            headers=headers,
            timeout=_TIMEOUT,
            connector=aiohttp.TCPConnector(limit=_CONNECTIONS, keepalive_timeout=60),
        )

    async def read(self, path: str, body: bytes) -> bytes:
        """Send a request that changes nothing; where there is no answer, again a little later.

        Raises StoreUnavailable, StoreRefused.
        """
        for attempt in range(_READ_ATTEMPTS - 1):
            try:
                return await self.call("POST", path, body)
            except StoreUnavailable:
                await asyncio.sleep(_BACKOFF_SECONDS * 2**attempt * random.uniform(0.5, 1.5))  # noqa: S311
        return await self.call("POST", path, body)

    async def call(self, method: str, path: str, body: bytes) -> bytes:
        """Send a request once and return the answer's body.

        Raises StoreUnavailable, StoreRefused.
        """
        try:
            async with self._session.request(method, self._url + path, data=body) as answer:
                content = await answer.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            reason = type(error).__name__
            raise StoreUnavailable(f"the Qdrant server does not answer ({reason})") from None
        if answer.status == _OK:
            return content
        if answer.status in _KEY_REFUSED and b"strict mode" not in content.lower():
            raise StoreUnavailable("the Qdrant server refuses the API key (MESH_QDRANT_API_KEY)")
        if answer.status in (_NOT_FOUND, _TOO_MANY) or answer.status >= _SERVER_ERROR:
            raise StoreUnavailable(f"the Qdrant server answers {answer.status}")
        raise StoreRefused(f"the Qdrant server answers {answer.status}: {content[:300]!r}")

    async def close(self) -> None:
        """Release the connections."""
        await self._session.close()
