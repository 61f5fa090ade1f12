"""JSON documents, one after the other, as kubectl reads a file that begins with a brace."""

import json
from typing import Any

from meshkit.tenancy.yaml_scalars import json_number


class InvalidJson(Exception):
    """The text is no JSON that is accepted here."""


class RepeatedKey(InvalidJson):
    """An object has the same key twice."""


def load_json(text: str, depth: int) -> list[Any]:
    """Return the values in `text`, with whole numbers as integers. Raises InvalidJson where there
    is anything else in it, or one is nested deeper than `depth`."""
    values = []
    position = _space(text, 0)
    try:
        while position < len(text):
            value, position = _DECODER.raw_decode(text, position)
            _check(value, depth)
            values.append(value)
            position = _space(text, position)
    except (ValueError, RecursionError) as error:
        raise InvalidJson(str(error)) from None
    return values


def _space(text: str, position: int) -> int:
    while position < len(text) and text[position].isspace():
        position += 1
    return position


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for name, value in pairs:
        if name in members:
            raise RepeatedKey(f"the key {name[:64]!r} is given twice")
        members[name] = value
    return members


def _constant(name: str) -> None:
    raise ValueError(f"{name} is no number in JSON")


def _check(value: Any, depth: int) -> None:
    if isinstance(value, str):
        # Half of a surrogate pair is no character; nothing could write it down again.
        value.encode()
    elif isinstance(value, dict | list):
        if not depth:
            raise ValueError("it is nested too deep")
        for item in (*value.keys(), *value.values()) if isinstance(value, dict) else value:
            _check(item, depth - 1)


_DECODER = json.JSONDecoder(
    object_pairs_hook=_members,
    parse_float=lambda text: json_number(float(text)),
    parse_constant=_constant,
)

__all__ = ["InvalidJson", "RepeatedKey", "load_json"]
