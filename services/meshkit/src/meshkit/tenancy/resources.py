"""The kinds of the mesh, as the API server serves them."""

from meshkit.kube.objects import Resource
from meshkit.tenancy.crds import VERSION
from meshkit.tenancy.spec import GROUP

TENANTS = Resource(GROUP, VERSION, "tenants")
PLANS = Resource(GROUP, VERSION, "tenantplans")
POLICIES = Resource(GROUP, VERSION, "tenantpolicies")

__all__ = ["PLANS", "POLICIES", "TENANTS"]
