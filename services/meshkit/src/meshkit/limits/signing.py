"""Proof that a request between replicas comes from one of them, and is new.

HMAC-SHA256 over method, path, time, nonce and body, with a key that only the replicas have. A
request counts once: its nonce is remembered for as long as its time would be accepted. An answer is
signed over the nonce of its request, so it answers that one and no other.
"""

import hashlib
import hmac
from collections import deque

from meshkit.clock import Clock, monotonic, unix_ms
from meshkit.entropy import random_block

KEY_BYTES = 32
WINDOW_SECONDS = 10.0
"""How far the clocks of two machines may be apart."""
_NONCES_MOST = 200_000

TIME_HEADER = "x-mesh-time"
NONCE_HEADER = "x-mesh-nonce"
SIGNATURE_HEADER = "x-mesh-signature"
_HEADER_CHARACTERS = 64


def signed(key: bytes, method: str, path: str, body: bytes) -> dict[str, str]:
    """Return the headers that prove a request, sent now."""
    time, nonce = str(unix_ms()), random_block().hex()
    signature = _signature(key, method, path, time, nonce, body)
    return {TIME_HEADER: time, NONCE_HEADER: nonce, SIGNATURE_HEADER: signature}


def answer_signature(key: bytes, nonce: str, body: bytes) -> str:
    """Return what proves the answer to the request with this nonce."""
    return _signature(key, "answer", "", "", nonce, body)


def answer_proven(key: bytes, nonce: str, body: bytes, signature: str) -> bool:
    """Return whether an answer is from a replica, and for the request with this nonce."""
    return hmac.compare_digest(
        answer_signature(key, nonce, body).encode(), signature.encode(errors="replace")
    )


class Proofs:
    """Accepts each proven request once. `clock` is the monotonic one, for what is remembered."""

    def __init__(self, key: bytes, clock: Clock = monotonic) -> None:
        self._key = key
        self._clock = clock
        self._seen: set[str] = set()
        self._order: deque[tuple[float, str]] = deque()

    def problem(
        self, method: str, path: str, time: str, nonce: str, signature: str, body: bytes
    ) -> str | None:
        """Return why a request is not accepted, None where it is; it will not be a second time."""
        if not (time.isascii() and time.isdecimal() and len(time) <= _HEADER_CHARACTERS):
            return "the time is missing or not a number"
        if not nonce or len(nonce) > _HEADER_CHARACTERS:
            return "the nonce is missing or too long"
        expected = _signature(self._key, method, path, time, nonce, body)
        if not hmac.compare_digest(expected.encode(), signature.encode(errors="replace")):
            return "the signature is wrong"
        if abs(unix_ms() - int(time)) > WINDOW_SECONDS * 1000:
            return "the time is too far from this replica's"
        now = self._clock()
        # A request from a clock that is ahead is acceptable for two windows.
        while self._order and now - self._order[0][0] > 2 * WINDOW_SECONDS:
            self._seen.discard(self._order.popleft()[1])
        if nonce in self._seen:
            return "the request was seen before"
        if len(self._order) >= _NONCES_MOST:
            return "too many requests within the time that they are remembered"
        self._seen.add(nonce)
        self._order.append((now, nonce))
        return None


def _signature(key: bytes, method: str, path: str, time: str, nonce: str, body: bytes) -> str:
    # No part but the last holds a line break: nothing can be moved from one into the next.
    head = "\n".join((method, path, time, nonce, "")).encode(errors="replace")
    return hmac.new(key, head + body, hashlib.sha256).hexdigest()


__all__ = [
    "KEY_BYTES",
    "NONCE_HEADER",
    "SIGNATURE_HEADER",
    "TIME_HEADER",
    "WINDOW_SECONDS",
    "Proofs",
    "answer_proven",
    "answer_signature",
    "signed",
]
