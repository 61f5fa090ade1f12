"""Random ids: UUIDs of version 4 (RFC 9562) as text.

`uuid.uuid4` makes an object first, which takes four times as long; two of them are a tenth of what
accepting a user costs.
"""

from meshkit.entropy import random_block

_VARIANT = "89ab"


def random_id() -> str:
    """Return a random UUID in its usual spelling."""
    digits = random_block().hex()
    variant = _VARIANT[int(digits[16], 16) & 3]
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"


__all__ = ["random_id"]
