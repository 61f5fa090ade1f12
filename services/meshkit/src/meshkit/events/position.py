"""Positions that clients hold: sealed, so that they say nothing and cannot be forged.

A raw offset would tell one tenant how much the others write, and a client could ask to wait for
any number. So a position is encrypted and authenticated (AES-GCM, NIST SP 800-38D) with the
tenant's uid as associated data: only this mesh can make one, and only for the tenant it was given
to. All replicas share the key.
"""

import binascii
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from meshkit.entropy import random_block
from meshkit.errors import InvalidPosition
from meshkit.events.log import Position
from meshkit.tenancy.identity import TenantContext

KEY_BYTES = 32
_NONCE_BYTES = 12
_PLACE = struct.Struct(">IQ")
# nonce + sealed place + 16 bytes of tag: 40 bytes, 54 characters without padding.
_TOKEN_CHARACTERS = 54


class PositionSealer:
    """Seals and opens positions with one 32-byte key."""

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError(f"a position key has {KEY_BYTES} bytes, this one has {len(key)}")
        self._cipher = AESGCM(key)

    def seal(self, tenant: TenantContext, position: Position) -> str:
        """Return `position` as a token that only `tenant` can use."""
        nonce = random_block()[:_NONCE_BYTES]
        place = _PLACE.pack(position.partition, position.offset)
        sealed = self._cipher.encrypt(nonce, place, tenant.tenant_uid.encode())
        return urlsafe_b64encode(nonce + sealed).rstrip(b"=").decode()

    def open(self, tenant: TenantContext, token: str) -> Position:
        """Return the position in `token`.

        Raises InvalidPosition for anything that was not sealed for this tenant with this key.
        """
        if len(token) != _TOKEN_CHARACTERS or not token.isascii():
            raise InvalidPosition("`after` is not a position of this tenant")
        try:
            raw = urlsafe_b64decode(token + "==")
            place = self._cipher.decrypt(
                raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], tenant.tenant_uid.encode()
            )
        except (InvalidTag, binascii.Error, ValueError):
            raise InvalidPosition("`after` is not a position of this tenant") from None
        return Position(*_PLACE.unpack(place))


__all__ = ["KEY_BYTES", "PositionSealer"]
