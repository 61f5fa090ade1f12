"""Is this a name, an e-mail address, a user id, a set of attributes: what a schema cannot say.

Every problem of a user is reported at once, each with its field's path. Accepted values are
normalised: names to NFC, domains to lower case.
"""

import re
import unicodedata
from typing import Any

import msgspec
from email_validator import EmailNotValidError, validate_email

from meshkit.errors import FieldProblem, InvalidRequest
from meshkit.user_ids import USER_ID_RULE, is_user_id
from user_service.schemas import UserInput

_ATTRIBUTES_MOST_BYTES = 16 * 1024
_ATTRIBUTES_MOST_LEVELS = 8
_INT64 = 1 << 63

# Control characters, surrogates, noncharacters, line and paragraph separators, and the invisible
# format characters that can make a name look like another one. Written out, because Python's
# categories are those of its Unicode version: a character that was assigned since is unassigned
# there, and a name with it is a name all the same. Joiners (U+200C, U+200D) shape letters in
# several scripts and emoji, variation selectors (U+E0100 to U+E01EF) in Japanese names.
_REFUSED = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f"
    "\ud800-\udfff\ufdd0-\ufdef\ufeff\ufff0-\ufffb\U0001bca0-\U0001bca3"
    "\U0001d173-\U0001d17a\U000e0000-\U000e00ff\U000e01f0-\U000e0fff"
    + "".join(
        f"{chr(plane + 0xFFFE)}{chr(plane + 0xFFFF)}" for plane in range(0, 0x110000, 0x10000)
    )
    + "]"
)

# A strict subset of what email-validator accepts, for the addresses that nearly everybody has:
# the library takes 30 µs an address, this takes one.
_PLAIN_EMAIL = re.compile(
    r"[A-Za-z0-9_+-]{1,32}(?:\.[A-Za-z0-9_+-]{1,31}){0,1}"
    r"@(?:[a-z0-9](?:[a-z0-9-]{0,20}[a-z0-9])?\.){1,3}[a-z]{2,18}",
    re.ASCII,
)

_encode = msgspec.json.Encoder().encode


def validated(user: UserInput) -> UserInput:
    """Return `user` with its values normalised. Raises InvalidRequest naming every bad field."""
    problems: list[FieldProblem] = []
    name = _name(user.name, problems)
    email = _email(user.email, problems)
    if user.user_id is not msgspec.UNSET and not is_user_id(user.user_id):
        problems.append(FieldProblem("userId", f"must be {USER_ID_RULE}"))
    if user.attributes:
        _attributes(user.attributes, problems)
    if problems:
        detail = "; ".join(f"{problem.path}: {problem.message}" for problem in problems)
        raise InvalidRequest(detail, fields=problems)
    return UserInput(name, email, user.user_id, user.attributes)


def _name(name: str, problems: list[FieldProblem]) -> str:
    if name.isascii() and name.isprintable():
        normal = name.strip()
    else:
        normal = unicodedata.normalize("NFC", name).strip()
        if _REFUSED.search(normal):
            message = "must not contain control or invisible format characters"
            problems.append(FieldProblem("name", message))
    if not normal:
        problems.append(FieldProblem("name", "must not be blank"))
    return normal


def _email(email: str, problems: list[FieldProblem]) -> str:
    if _PLAIN_EMAIL.fullmatch(email) and "--" not in email:
        return email
    try:
        # Whether the domain takes mail is not asked: that would be a network call per user.
        return validate_email(
            email, check_deliverability=False, allow_smtputf8=True, test_environment=True
        ).normalized
    except EmailNotValidError as error:
        problems.append(FieldProblem("email", str(error)))
        return email


def _attributes(attributes: dict[str, Any], problems: list[FieldProblem]) -> None:
    if len(_encode(attributes)) > _ATTRIBUTES_MOST_BYTES:
        problems.append(
            FieldProblem("attributes", f"must not exceed {_ATTRIBUTES_MOST_BYTES} bytes")
        )
        return
    _check_value(attributes, "attributes", 1, problems)


def _check_value(value: Any, path: str, level: int, problems: list[FieldProblem]) -> None:
    if level > _ATTRIBUTES_MOST_LEVELS + 1:
        problems.append(
            FieldProblem(path, f"is nested deeper than {_ATTRIBUTES_MOST_LEVELS} levels")
        )
    elif isinstance(value, dict):
        for key, member in value.items():
            _check_value(member, f"{path}.{key}", level + 1, problems)
    elif isinstance(value, list):
        for index, member in enumerate(value):
            _check_value(member, f"{path}[{index}]", level + 1, problems)
    elif isinstance(value, int) and not -_INT64 <= value < _INT64:
        problems.append(FieldProblem(path, "must fit into 64 bits"))
