"""Who a request, an event or a point belongs to.

A tenant id is a DNS-1123 label of at most 63 characters, the one grammar everywhere: header,
token claim, event, payload, metric label. There is no second spelling: nothing is trimmed,
decoded or lower-cased, a value either is a tenant id or is refused.

The id is a name and can be used again; the uid is the incarnation behind it. Data is bound to the
uid, so a tenant deleted and created again under its old name starts empty.
"""

import re
from dataclasses import dataclass
from typing import NewType

TenantId = NewType("TenantId", str)

TENANT_ID_PATTERN = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"
_TENANT_ID = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?", re.ASCII)
TENANT_UID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"
_TENANT_UID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", re.ASCII)


class InvalidTenantId(ValueError):
    """The value is not a DNS-1123 label of at most 63 characters."""


class InvalidTenantUid(ValueError):
    """The value cannot be a tenant's uid."""


def parse_tenant_id(value: str) -> TenantId:
    """Return `value` as a tenant id.

    Raises InvalidTenantId, whose message says what is wrong without repeating hostile input.
    """
    if _TENANT_ID.fullmatch(value) is None:
        raise InvalidTenantId(
            "a tenant id has 1 to 63 lower-case letters, digits and hyphens,"
            " and starts and ends with a letter or digit"
        )
    return TenantId(value)


def parse_tenant_uid(value: str) -> str:
    """Return `value` as a tenant uid. Raises InvalidTenantUid, which does not repeat it."""
    if _TENANT_UID.fullmatch(value) is None:
        raise InvalidTenantUid(
            "a tenant uid has 1 to 128 letters, digits, dots, dashes and underscores,"
            " and starts with a letter or digit"
        )
    return value


@dataclass(frozen=True, slots=True)
class TenantContext:
    """The tenant on whose behalf something is done: the first argument of every store.

    Made from a resolved policy (`TenantPolicy.context`) or from an event's attributes, never from
    raw input: both parts are checked here, so no unchecked string reaches a filter.
    """

    tenant_id: TenantId
    tenant_uid: str

    def __post_init__(self) -> None:
        parse_tenant_id(self.tenant_id)
        parse_tenant_uid(self.tenant_uid)


__all__ = [
    "TENANT_ID_PATTERN",
    "InvalidTenantId",
    "InvalidTenantUid",
    "TenantContext",
    "TenantId",
    "parse_tenant_id",
    "parse_tenant_uid",
]
