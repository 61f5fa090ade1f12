"""What our operator is compared with, each run by itself: `python -m bench.stock_operator KIND NS`.

`handlers` is the usual way to write it with kopf: create, update and resume handlers that resolve,
write the child and leave the status to kopf's patch. (It writes the child in one request through
our client: more than most have.) `noop` only listens, to the kinds that it is told: what kopf
itself costs, whatever one does with it.
"""

import sys
from typing import Any

import kopf  # noqa: TID251 - the baseline

from meshkit.clock import utc_now
from meshkit.kube.client import KubeClient
from meshkit.kube.connection import connect
from meshkit.kube.objects import NotFound
from meshkit.tenancy.documents import parse_plan, parse_tenant
from meshkit.tenancy.resolve import DEFAULT_PLAN, resolve
from meshkit.tenancy.resources import PLANS, POLICIES
from meshkit.tenancy.spec import API_VERSION, GROUP
from tenant_operator.conditions import timestamp
from tenant_operator.policies import policy_document

_PARTS = ("apiVersion", "kind", "metadata", "spec")


def handlers(registry: kopf.OperatorRegistry, namespace: str) -> None:
    """Register the usual handlers."""

    async def on_start(memo: kopf.Memo, **_: Any) -> None:
        memo.client = await KubeClient(await connect(namespace)).__aenter__()

    async def on_change(body: Any, patch: Any, memo: kopf.Memo, **_: Any) -> None:
        tenant = {part: body[part] for part in _PARTS}
        tenant["metadata"], tenant["spec"] = dict(body["metadata"]), dict(body["spec"])
        try:
            found = await memo.client.get(PLANS, tenant["spec"].get("plan", DEFAULT_PLAN))
        except NotFound:
            found = None
        policy = resolve(parse_tenant(tenant), parse_plan(found) if found else None)
        document = policy_document(tenant, policy)
        await memo.client.apply(POLICIES, document, manager="stock")
        generation = body["metadata"]["generation"]
        patch.status["observedGeneration"] = generation
        patch.status["policyRevision"] = policy.revision
        patch.status["conditions"] = [
            {
                "type": "Accepted",
                "status": "True",
                "observedGeneration": generation,
                "lastTransitionTime": timestamp(utc_now()),
                "reason": "Resolved",
                "message": "resolved",
            }
        ]

    kopf.on.startup(registry=registry)(on_start)
    for event in (kopf.on.create, kopf.on.update, kopf.on.resume):
        event(GROUP, "v1alpha1", "tenants", registry=registry)(on_change)


def noop(registry: kopf.OperatorRegistry, *kinds: str) -> None:
    """Register handlers of all events that do nothing."""

    async def on_event(**_: Any) -> None:
        return

    for kind in kinds:
        group, version = (
            ("coordination.k8s.io", "v1") if kind == "leases" else (GROUP, API_VERSION[-8:])
        )
        kopf.on.event(group, version, kind, id=f"noop-{kind}", registry=registry)(on_event)


def main() -> None:
    """Run one of them until it is killed."""
    kind, namespace, *kinds = sys.argv[1:]
    registry = kopf.OperatorRegistry()
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    if kind == "noop":
        noop(registry, *kinds)
    else:
        handlers(registry, namespace)
    kopf.on.login(registry=registry)(kopf.login_with_kubeconfig)
    kopf.run(registry=registry, settings=settings, standalone=True, namespaces=[namespace])


if __name__ == "__main__":
    main()
