"""The CustomResourceDefinitions, made from the models that the mesh itself reads.

`make docs` writes them to `charts/tenant-operator/files/crds/`. What a file of directory mode may
say and what the API server lets pass is one definition; what needs more than one field to decide is
said a second time, in CEL, and `tests/integration/test_crds.py` holds the two together.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from meshkit.tenancy.policy import TenantPolicy
from meshkit.tenancy.spec import GROUP, TenantPlanSpec, TenantSpec
from meshkit.tenancy.structural import Rules, structural_schema

VERSION = "v1alpha1"

_RULES: Rules = {
    "RateLimit": (
        (
            "has(self.unlimited) && self.unlimited"
            " ? !has(self.requests) && !has(self.burst) : has(self.requests)",
            "either requests or unlimited: true is needed; unlimited goes with neither requests"
            " nor burst",
        ),
        (
            "!has(self.burst) || self.burst >= 1 || (has(self.requests) && self.requests == 0)",
            "burst must be at least 1, unless requests is 0",
        ),
    ),
    "Quota": (
        (
            "(has(self.unlimited) && self.unlimited) != has(self.limit)",
            "either limit or unlimited: true is needed, not both",
        ),
    ),
}
_LABEL = "a tenant id has 1 to 63 lower-case letters, digits and hyphens, and starts and ends with"
_NAME_RULE = {
    "rule": "self.metadata.name.size() <= 63"
    " && self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",
    "message": f"metadata.name: {_LABEL} a letter or digit",
}
_LIST_MAPS = ("rateLimits", "quotas")


def crds() -> list[dict[str, Any]]:
    """Return the three definitions as JSON values."""
    return [_tenant(), _plan(), _policy()]


def crd_yaml(crd: Mapping[str, Any]) -> str:
    """Return a definition as its file has it."""
    head = "# Generated from meshkit.tenancy by `make docs`.\n"
    return head + yaml.dump(crd, Dumper=_Plain, sort_keys=False, allow_unicode=True, width=100)


class _Plain(yaml.SafeDumper):
    """Writes what occurs twice twice: people read this."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _tenant() -> dict[str, Any]:
    spec = structural_schema(
        TenantSpec,
        _RULES,
        defaults={"suspended": False, "enforcement": "Enforce", "deletionPolicy": "Retain"},
        list_maps=_LIST_MAPS,
    )
    spec["description"] = "What is wanted for the tenant. What is absent is decided by its plan."
    ready = '.status.conditions[?(@.type=="Ready")].status'
    return _definition(
        "Tenant",
        "tenants",
        ["tnt"],
        "A customer of the mesh: who it is, its plan, and what differs from that. Its name is the"
        " tenant id in headers, tokens and events.",
        spec,
        status=TENANT_STATUS,
        columns=(
            ("Plan", ".spec.plan", "string", "The TenantPlan that it is on."),
            ("Ready", ready, "string", "Whether it is accepted and in force everywhere."),
            ("Enforced", ".status.enforcedReplicas", "string", "Replicas that obey it, of all."),
            ("Users", ".status.usage.storedUsers", "string", "Stored users, of its quota."),
            ("Suspended", ".spec.suspended", "boolean", "Whether traffic is refused."),
        ),
    )


def _plan() -> dict[str, Any]:
    spec = structural_schema(TenantPlanSpec, _RULES, list_maps=_LIST_MAPS)
    spec["description"] = "What holds for the tenants of this plan."
    return _definition(
        "TenantPlan",
        "tenantplans",
        ["tplan"],
        "What tenants of one kind have in common: values where they give none, and bounds that"
        " none of them exceeds.",
        spec,
    )


def _policy() -> dict[str, Any]:
    spec = structural_schema(TenantPolicy, {}, list_maps=("rateLimits", "quotas"))
    spec["description"] = "The resolved values, each with the layer that it came from."
    return _definition(
        "TenantPolicy",
        "tenantpolicies",
        ["tpol"],
        "What holds for a tenant, resolved from its Tenant and its TenantPlan. Written by the"
        " operator only; services obey it. Edit the Tenant instead.",
        spec,
        columns=(
            ("State", ".spec.state", "string", "Active, Suspended or Terminating."),
            ("Revision", ".spec.revision", "string", "Digest of the policy."),
        ),
    )


def _definition(
    kind: str,
    plural: str,
    short: Sequence[str],
    description: str,
    spec: Mapping[str, Any],
    *,
    status: Mapping[str, Any] | None = None,
    columns: Sequence[tuple[str, str, str, str]] = (),
) -> dict[str, Any]:
    properties: dict[str, Any] = {
        "apiVersion": {"type": "string", "description": f"{GROUP}/{VERSION}"},
        "kind": {"type": "string", "description": kind},
        "metadata": {"type": "object"},
        "spec": dict(spec),
    }
    if status is not None:
        properties["status"] = dict(status)
    age = ("Age", ".metadata.creationTimestamp", "date", "How long it has been there.")
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": kind,
                "listKind": f"{kind}List",
                "plural": plural,
                "singular": kind.lower(),
                "shortNames": list(short),
                "categories": ["mesh"],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "schema": {
                        "openAPIV3Schema": {
                            "type": "object",
                            "description": description,
                            "properties": properties,
                            # The API server drops an empty list: files hold what it stores.
                            **({"required": ["spec"]} if kind == "TenantPolicy" else {}),
                            "x-kubernetes-validations": [_NAME_RULE],
                        }
                    },
                    "subresources": {} if status is None else {"status": {}},
                    "additionalPrinterColumns": [
                        {"name": n, "jsonPath": path, "type": t, "description": what}
                        for n, path, t, what in (*columns, age)
                    ],
                }
            ],
        },
    }


def _text(description: str, **more: Any) -> dict[str, Any]:
    return {"type": "string", "description": description, **more}


def _count(description: str) -> dict[str, Any]:
    return {"type": "integer", "format": "int64", "description": description}


TENANT_STATUS: dict[str, Any] = {
    "type": "object",
    "description": "What the operator has found and done.",
    "properties": {
        "observedGeneration": {
            "type": "integer",
            "format": "int64",
            "description": "The generation of the spec that this status is about.",
        },
        "policyRevision": _text("Digest of the policy that is in force."),
        "enforcedReplicas": _text("How many live replicas obey that policy, of how many."),
        "usage": {
            "type": "object",
            "description": "What is used of the quotas.",
            "properties": {
                "storedUsers": _text("Stored users, of how many."),
                "eventsPerDay": _text("Events today (UTC), of how many."),
                "llmTokensPerDay": _text("LLM tokens today (UTC), of how many."),
            },
        },
        "erasure": {
            "type": "object",
            "description": "What is being erased, with deletionPolicy Delete.",
            "properties": {
                "startedAt": _text("When it began.", format="date-time"),
                "points": _count("Points in the vector store that there were."),
                "keys": _count("Keys in the event log that there were."),
                "verifiedAt": _text("When nothing was left, twice.", format="date-time"),
            },
        },
        "conditions": {
            "type": "array",
            "description": "Accepted, Enforced, Ready, and Deleting while it is.",
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["type"],
            "items": {
                "type": "object",
                "required": ["type", "status", "lastTransitionTime", "reason", "message"],
                "properties": {
                    "type": _text("What this is about.", maxLength=316),
                    "status": _text("Whether it holds.", enum=["True", "False", "Unknown"]),
                    "observedGeneration": {
                        "type": "integer",
                        "format": "int64",
                        "description": "The generation of the spec that it is about.",
                    },
                    "lastTransitionTime": _text("When status last changed.", format="date-time"),
                    "reason": _text("Why, in one word.", maxLength=1024, minLength=1),
                    "message": _text("Why, for people.", maxLength=32768),
                },
            },
        },
    },
}


__all__ = ["TENANT_STATUS", "VERSION", "crd_yaml", "crds"]
