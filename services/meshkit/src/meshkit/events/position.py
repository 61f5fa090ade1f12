"""Positions that clients hold: sealed, so that they say nothing and cannot be forged.

What a client holds after a write says which user it wrote and where the event stands. A raw offset
would tell one tenant how much the others write, so it is encrypted and authenticated (AES-GCM, NIST
SP 800-38D) with the tenant's uid as associated data: only this mesh can make one, and only for the
tenant it was given to. All replicas share the key.
"""

import binascii
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from meshkit.entropy import random_block
from meshkit.errors import InvalidPosition
from meshkit.events.log import Position
from meshkit.tenancy.identity import TenantContext

KEY_BYTES = 32
_NONCE_BYTES = 12
_PLACE = struct.Struct(">IQQ")
# What goes before the tenant's uid in the associated data: another form has another one.
_FORM = b"2/"
_TAG_BYTES = 16
_SHORTEST = _NONCE_BYTES + _PLACE.size + _TAG_BYTES
# A user id of 128 characters of four bytes each.
_LONGEST_TOKEN = 1024


@dataclass(frozen=True, slots=True)
class Written:
    """A write of one user: its event's place in the log."""

    user_id: str
    position: Position


class PositionSealer:
    """Seals and opens positions with one 32-byte key."""

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError(f"a position key has {KEY_BYTES} bytes, this one has {len(key)}")
        self._cipher = AESGCM(key)

    def seal(self, tenant: TenantContext, user_id: str, position: Position) -> str:
        """Return a write as a token that only `tenant` can use."""
        nonce = random_block()[:_NONCE_BYTES]
        written = _PLACE.pack(*msgspec.structs.astuple(position)) + user_id.encode()
        sealed = self._cipher.encrypt(nonce, written, _bound_to(tenant))
        return urlsafe_b64encode(nonce + sealed).rstrip(b"=").decode()

    def open(self, tenant: TenantContext, token: str) -> Written:
        """Return the write in `token`.

        Raises InvalidPosition for anything that was not sealed for this tenant with this key.
        """
        try:
            raw = _decoded(token)
            written = self._cipher.decrypt(
                raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], _bound_to(tenant)
            )
        except (InvalidTag, binascii.Error, ValueError):
            raise InvalidPosition("`after` is not a position of this tenant") from None
        position = Position(*_PLACE.unpack_from(written))
        return Written(written[_PLACE.size :].decode(), position)


def _bound_to(tenant: TenantContext) -> bytes:
    return _FORM + tenant.tenant_uid.encode()


def _decoded(token: str) -> bytes:
    if len(token) > _LONGEST_TOKEN or not token.isascii():
        raise ValueError("not a token")
    raw = urlsafe_b64decode(token + "=" * (-len(token) % 4))
    if len(raw) < _SHORTEST:
        raise ValueError("not a token")
    return raw


__all__ = ["KEY_BYTES", "PositionSealer", "Written"]
