"""One meaning of a tenant file: what `kubectl apply` accepts and stores, a folder does, too.

Where a folder is stricter on purpose, `tenant_files` says why, docs/tenancy.md has it in its list,
and both sides are checked, so that the list stays as short as it is.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from kube_api import KubeApi
from meshkit.tenancy.documents import parse_plan, parse_tenant
from meshkit.tenancy.folder import look
from meshkit.tenancy.spec import Tenant, TenantPlan
from tenant_file_builder import TenantFileCase
from tenant_files import cases

pytestmark = pytest.mark.timeout(300)

_NAMESPACE = "tenant-files"
_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


def test_folder_and_cluster_read_every_file_alike(kube_api: KubeApi, tmp_path: Path) -> None:
    given = cases()
    for case in given:
        text = case.text if isinstance(case.text, bytes) else case.text.encode()
        (tmp_path / case.file).write_bytes(text)
    assert kube_api.kubectl("create", "namespace", _NAMESPACE).returncode == 0
    told = kube_api.kubectl("apply", "-n", _NAMESPACE, "-f", str(tmp_path)).stderr
    stored = in_cluster(kube_api)
    read = look(tmp_path, {})
    wrong: list[Any] = []
    owned: set[tuple[str, str]] = set()
    for case in given:
        names = {f"case-{number}" for number in numbers_in(case)} or set(read[case.file].tenants)
        cluster = {name: one for name, one in stored.items() if name[1] in names}
        file = read[case.file]
        folder: dict[tuple[str, str], Tenant | TenantPlan] = {
            **{("Tenant", name): tenant for name, tenant in file.tenants.items()},
            **{("TenantPlan", name): plan for name, plan in file.plans.items()},
        }
        owned |= cluster.keys()
        if case.stricter:
            alike = bool(cluster) and not folder.keys() & cluster.keys() and bool(file.problems)
        else:
            alike = {key: meant(one) for key, one in cluster.items()} == {
                key: meant(one) for key, one in folder.items()
            }
        if not alike:
            said = [line for line in told.splitlines() if case.file in line]
            wrong.append((case, cluster, folder, file.problems, said))
    assert not wrong, f"{len(wrong)} of {len(given)}:\n" + "\n".join(map(shown, wrong))
    assert owned == stored.keys()


def in_cluster(api: KubeApi) -> dict[tuple[str, str], Tenant | TenantPlan]:
    """What the API server has stored, by kind and name."""
    found = api.kubectl("get", "tenants,tenantplans", "-n", _NAMESPACE, "-o", "json")
    objects: list[dict[str, Any]] = json.loads(found.stdout)["items"]
    return {
        (one["kind"], one["metadata"]["name"]): (
            parse_tenant(one) if one["kind"] == "Tenant" else parse_plan(one)
        )
        for one in objects
    }


def meant(one: Tenant | TenantPlan) -> Mapping[str, Any]:
    """What an object says, without what only an API server adds."""
    annotations = {k: v for k, v in one.metadata.annotations.items() if k != _APPLIED}
    return {"spec": one.spec.model_dump(by_alias=True), "annotations": annotations}


def numbers_in(case: TenantFileCase) -> list[int]:
    """The numbers of the objects in a file."""
    text = case.text if isinstance(case.text, str) else case.text.decode("utf-8-sig")
    return [int("".join(filter(str.isdigit, part[:5]))) for part in text.split("case-")[1:]]


def shown(found: Any) -> str:
    """One disagreement."""
    case, cluster, folder, problems, said = found
    return (
        f"{case.file}: {case.text!r}\n    stricter: {case.stricter!r}\n"
        f"    cluster: {cluster or said}\n    folder:  {folder or problems}"
    )
