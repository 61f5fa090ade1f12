"""What a scalar of YAML means: exactly what it means to kubectl.

kubectl reads YAML with go-yaml v2 (sigs.k8s.io/yaml) and sends JSON. That is neither YAML 1.1,
which PyYAML follows, nor 1.2: `y` is true, `010` is 8, `0o10` too, `1e3` is a number, `1:30` and
dates are text. Numbers come out as JSON has them: one that is whole is an integer, however it is
written.
"""

import math
import re

Scalar = str | int | float | bool | None

STR, INT, FLOAT = "tag:yaml.org,2002:str", "tag:yaml.org,2002:int", "tag:yaml.org,2002:float"
BOOL, NULL = "tag:yaml.org,2002:bool", "tag:yaml.org,2002:null"
TAGS = frozenset({STR, INT, FLOAT, BOOL, NULL})

_WORDS: dict[str, tuple[str, Scalar]] = {
    **dict.fromkeys(("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE"), (BOOL, True)),
    **dict.fromkeys(("on", "On", "ON"), (BOOL, True)),
    **dict.fromkeys(("n", "N", "no", "No", "NO", "false", "False", "FALSE"), (BOOL, False)),
    **dict.fromkeys(("off", "Off", "OFF"), (BOOL, False)),
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), (NULL, None)),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), (FLOAT, math.nan)),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), (FLOAT, math.inf)),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), (FLOAT, -math.inf)),
}
_INTEGER = re.compile(r"([-+]?)(0[xX][0-9a-fA-F]+|0[bB][01]+|0[oO][0-7]+|0[0-7]*|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INT64, _UINT64 = 2**63, 2**64
# From here on JSON has a number with an exponent, which is no integer.
_WHOLE_MOST = 1e21


def meaning(text: str) -> tuple[str, Scalar]:
    """Return the tag and the value of a plain scalar."""
    if (word := _WORDS.get(text)) is not None:
        return word
    first = text[0]
    if first == ".":
        return _as_float(text) or (STR, text)
    if first in "+-0123456789":
        plain = text.replace("_", "")
        return _as_integer(plain) or _as_float(plain) or (STR, text)
    return STR, text


def tagged(tag: str, text: str) -> Scalar:
    """Return the value of a scalar with an explicit tag. Raises ValueError where it has no such
    value."""
    if tag == STR:
        return text
    found, value = meaning(text)
    if found == tag or (tag == FLOAT and found == INT):
        return value
    raise ValueError(f"{text[:64]!r} is no {tag.rpartition(':')[2]}")


def json_number(value: float) -> int | float:
    """Return a number as JSON has it. Raises ValueError where JSON has none for it."""
    if not math.isfinite(value):
        raise ValueError(f"{value} is no number in JSON")
    return int(value) if value.is_integer() and abs(value) < _WHOLE_MOST else value


def _as_integer(plain: str) -> tuple[str, Scalar] | None:
    match = _INTEGER.fullmatch(plain)
    if match is None:
        return None
    sign, digits = match.groups()
    octal = len(digits) > 1 and digits[0] == "0" and digits[1].isdigit()
    try:
        value = int(digits, 8 if octal else 0)
    except ValueError:
        # More decimal digits than Python turns into a number.
        return None
    value = -value if sign == "-" else value
    known = -_INT64 <= value < (_INT64 if sign else _UINT64)
    return (INT, value) if known else None


def _as_float(plain: str) -> tuple[str, Scalar] | None:
    if _FLOAT.fullmatch(plain) is None:
        return None
    value = float(plain)
    # Too large for a float: go-yaml leaves it a text.
    return (FLOAT, value) if math.isfinite(value) else None


__all__ = [
    "BOOL",
    "FLOAT",
    "INT",
    "NULL",
    "STR",
    "TAGS",
    "Scalar",
    "json_number",
    "meaning",
    "tagged",
]
