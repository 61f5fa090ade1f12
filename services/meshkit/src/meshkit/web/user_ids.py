"""The user id in a path: how it is documented, and how it is checked."""

from meshkit.errors import FieldProblem, InvalidRequest
from meshkit.user_ids import USER_ID_MAX_LENGTH, USER_ID_PATTERN, USER_ID_RULE, is_user_id
from meshkit.web.operation import Parameter

USER_ID_PARAMETER = Parameter(
    "userId",
    "path",
    f"Id of the user within the tenant, percent-encoded: {USER_ID_RULE}.",
    {
        "type": "string",
        "minLength": 1,
        "maxLength": USER_ID_MAX_LENGTH,
        "pattern": USER_ID_PATTERN,
    },
    required=True,
    example="alice-1",
)


def checked_user_id(value: str) -> str:
    """Return a user id as it came in a path. Raises InvalidRequest."""
    if not is_user_id(value):
        message = f"must be {USER_ID_RULE}"
        raise InvalidRequest(f"userId {message}", fields=[FieldProblem("userId", message)])
    return value


__all__ = ["USER_ID_PARAMETER", "checked_user_id"]
