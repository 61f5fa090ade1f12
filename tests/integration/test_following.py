"""What the operator's own watches say when the API server does not let them."""

from structlog.testing import capture_logs

from kube_api import KubeApi
from meshkit.kube.client import KubeClient
from meshkit.kube.objects import Resource
from meshkit.tenancy.resources import POLICIES
from operator_rig import grant, own_namespaces
from policy_objects import policy
from tenant_operator.following import following
from waiting import eventually


class CountingClient(KubeClient):
    """Counts how often it is asked for a list."""

    lists = 0

    def pages(self, resource: Resource, *, namespace: str | None = None, labels: str = ""):  # type: ignore[no-untyped-def]
        self.lists += 1
        return super().pages(resource, namespace=namespace, labels=labels)


async def test_refused_watch_says_so_once_and_goes_on_when_it_may(kube_api: KubeApi) -> None:
    (namespace,) = own_namespaces(kube_api, 1)
    told: list[str] = []
    async with (
        KubeClient(kube_api.connection(namespace)) as admin,
        CountingClient(kube_api.connection(namespace, user="member")) as client,
    ):
        await admin.apply(POLICIES, policy("tenant-a"), manager="tests")
        with capture_logs() as logs:
            async with following(
                client, lambda _, __, found: told.append(found["metadata"]["name"]), (POLICIES,)
            ):
                await eventually(lambda: client.lists >= 3)
                grant(kube_api, namespace, member="member")
                await eventually(lambda: told == ["tenant-a"])
        (interrupted,) = [one for one in logs if one["event"] == "watch_interrupted"]
    assert interrupted["resource"] == "tenantpolicies"
    assert "cannot list resource" in interrupted["reason"]
