"""Which text of a user is searchable: its name, its e-mail address, the texts of its attributes."""

from collections.abc import Iterator, Mapping
from typing import Any

_TEXT_MOST = 1024


def user_text(name: str, email: str, attributes: Mapping[str, Any]) -> str:
    """Return the text that stands for a user, of bounded length, what matters most first."""
    parts = [name, email, *_texts(attributes)] if attributes else [name, email]
    return "\n".join(parts)[:_TEXT_MOST]


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for member in value.values():
            yield from _texts(member)
    elif isinstance(value, list):
        for member in value:
            yield from _texts(member)
