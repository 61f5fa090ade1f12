"""Query strings: bounded, each parameter once, unknown ones refused."""

from collections.abc import Mapping
from urllib.parse import parse_qsl

from meshkit.errors import FieldProblem, InvalidRequest

QUERY_LIMIT = 8 * 1024
_MOST_PARAMETERS = 16


def parse_query(raw: bytes, known: frozenset[str]) -> Mapping[str, str]:
    """Return the parameters of a query string. Raises InvalidRequest naming the parameter."""
    if not raw:
        return {}
    if len(raw) > QUERY_LIMIT:
        raise InvalidRequest(f"the query string has more than {QUERY_LIMIT} bytes")
    try:
        pairs = parse_qsl(
            raw.decode("ascii"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=_MOST_PARAMETERS,
        )
    except (UnicodeDecodeError, ValueError):
        raise InvalidRequest("the query string is not percent-encoded UTF-8") from None
    query: dict[str, str] = {}
    for name, value in pairs:
        if name not in known:
            raise _refused(name, f"is not a parameter of this route ({', '.join(sorted(known))})")
        if name in query:
            raise _refused(name, "is given more than once")
        query[name] = value
    return query


def whole_number(query: Mapping[str, str], name: str, default: int, least: int, most: int) -> int:
    """Return a whole number between `least` and `most`. Raises InvalidRequest."""
    text = query.get(name)
    if text is None:
        return default
    if text.isascii() and text.isdigit() and len(text) <= 9 and least <= int(text) <= most:
        return int(text)
    raise _refused(name, f"has to be a whole number from {least} to {most}")


def _refused(name: str, message: str) -> InvalidRequest:
    shown = name if name.isprintable() and len(name) <= 64 else "a parameter"
    return InvalidRequest(f"{shown} {message}", fields=[FieldProblem(shown, message)])


__all__ = ["QUERY_LIMIT", "parse_query", "whole_number"]
