"""Who is the tenant of a request.

One interface, so that tokens can take the header's place without a handler noticing. In header
mode the caller is trusted (development, or behind a mesh that has verified it); even so the
tenant must be named once, in one spelling, and the same in every place.
"""

from typing import Protocol

from meshkit.errors import TenantMismatch, TenantRequired, TenantUnknown
from meshkit.tenancy.identity import InvalidTenantId, TenantId, parse_tenant_id
from meshkit.web.call import RawHeaders

TENANT_HEADER = b"x-tenant-id"


class Authenticator(Protocol):
    """Finds out for which tenant a request may act."""

    async def tenant_of(self, headers: RawHeaders, parameter: str | None) -> TenantId:
        """Return the tenant of a request; `parameter` is the tenant that its URL names, if any.

        Raises TenantRequired, TokenInvalid, TenantMismatch or TenantUnknown.
        """


class HeaderAuthenticator:
    """`MESH_AUTH_MODE=header`: X-Tenant-Id, or the route's tenant_id parameter, or both alike."""

    async def tenant_of(self, headers: RawHeaders, parameter: str | None) -> TenantId:
        """Return the tenant named. Raises TenantRequired, TenantMismatch, TenantUnknown."""
        named: str | None = None
        for key, value in headers:
            if key == TENANT_HEADER:
                if named is not None:
                    raise TenantMismatch("X-Tenant-Id is given more than once")
                named = value.decode("latin-1")
        if parameter is not None:
            if named is not None and named != parameter:
                raise TenantMismatch("X-Tenant-Id and tenant_id name two different tenants")
            named = parameter
        if not named:
            raise TenantRequired("the request names no tenant: send its id in X-Tenant-Id")
        return known_grammar(named)


def known_grammar(value: str) -> TenantId:
    """Return `value` as a tenant id; what cannot be one is unknown like any other stranger."""
    try:
        return parse_tenant_id(value)
    except InvalidTenantId as error:
        raise TenantUnknown(str(error)) from None


__all__ = ["TENANT_HEADER", "Authenticator", "HeaderAuthenticator", "known_grammar"]
