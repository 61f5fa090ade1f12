"""JSON as other programs write it: a byte order mark in front of the text.

RFC 8259 forbids writing the mark and allows to ignore it. Exports from Windows programs have one.
"""

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def without_byte_order_mark(text: bytes) -> bytes:
    """Return UTF-8 text without its byte order mark. Exactly one mark is skipped."""
    return text[3:] if text.startswith(_BYTE_ORDER_MARK) else text


__all__ = ["without_byte_order_mark"]
