"""The way to other replicas: proven requests to their admin ports over keep-alive connections."""

from contextlib import suppress
from typing import Self

import aiohttp
import msgspec

from meshkit.limits.exchange import PeerAway
from meshkit.limits.messages import PATH, LeaseReply, LeaseRequest, decode_reply, encode
from meshkit.limits.signing import NONCE_HEADER, SIGNATURE_HEADER, answer_proven, signed

# Ten times what an answer takes on a busy machine; a caller of a tenant may wait for it.
_TIMEOUT = aiohttp.ClientTimeout(total=0.5)


class HttpWire:
    """Speaks to replicas that have the same key. An asynchronous context manager."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        # A replica that was there a moment ago has idle connections here; those are tried anew.
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=60)
        self._session = aiohttp.ClientSession(timeout=_TIMEOUT, connector=connector)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            with suppress(aiohttp.ClientError):
                await self._session.close()

    async def lease(self, url: str, request: LeaseRequest) -> LeaseReply:
        """Send a request to the admin port at `url`. Raises PeerAway."""
        body = encode(request)
        headers = signed(self._key, "POST", PATH, body) | {"content-type": "application/json"}
        assert self._session is not None, "use it in `async with`"  # noqa: S101
        try:
            async with self._session.post(
                url + PATH, data=body, headers=headers, allow_redirects=False
            ) as answer:
                content = await answer.read()
        except aiohttp.ClientConnectorError as error:
            refused = isinstance(error.os_error, ConnectionRefusedError)
            raise PeerAway("it cannot be connected to", refused=refused) from None
        except aiohttp.ServerDisconnectedError:
            raise PeerAway("it closed the connection") from None
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise PeerAway(f"it does not answer ({type(error).__name__})") from None
        if answer.status != 200:
            raise PeerAway(f"it answers with status {answer.status}; see its log")
        signature = answer.headers.get(SIGNATURE_HEADER, "")
        if not answer_proven(self._key, headers[NONCE_HEADER], content, signature):
            raise PeerAway("its answer is not proven")
        try:
            return decode_reply(content)
        except msgspec.DecodeError:
            raise PeerAway("its answer cannot be read") from None


__all__ = ["HttpWire"]
