"""All declared tenants and plans, resolved: what is in force and what is not, and why.

Holds on to what was good: an object that broke keeps its last valid form, a tenant that does not
resolve keeps its last policy, and a policy that came out the same stays the same object. It knows
nothing of folders or servers beyond a name for where each object came from.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from meshkit.tenancy.policy import TenantPolicy
from meshkit.tenancy.resolve import ResolutionError, plan_name, resolve, tenant_uid
from meshkit.tenancy.source import TenantProblem
from meshkit.tenancy.spec import Tenant, TenantPlan
from meshkit.tenancy.yaml_files import TenantFile


@dataclass(frozen=True, slots=True)
class Outcome:
    """The policies in force by tenant id, and what is declared but not in force."""

    policies: Mapping[str, TenantPolicy]
    problems: tuple[TenantProblem, ...]


@dataclass(frozen=True, slots=True)
class _Declared:
    tenant: Tenant
    source: str


class Catalogue:
    """Resolves what a set of files declares, again and again as they change."""

    def __init__(self) -> None:
        self._good: dict[Path, TenantFile] = {}
        self._inputs: dict[str, tuple[Tenant, TenantPlan | None]] = {}
        self._policies: dict[str, TenantPolicy] = {}

    def update(self, files: Mapping[Path, TenantFile]) -> Outcome:
        """Return what is in force now that `files` is all there is."""
        self._good = {
            path: _with_last_good(file, self._good.get(path)) for path, file in files.items()
        }
        problems: list[TenantProblem] = []
        plans: dict[str, TenantPlan] = {}
        tenants: dict[str, _Declared] = {}
        for path in sorted(self._good):
            file = self._good[path]
            for name, plan in file.plans.items():
                if _taken(name, name in plans, path, "TenantPlan", problems):
                    plans[name] = plan
            for name, tenant in file.tenants.items():
                if _taken(name, name in tenants, path, "Tenant", problems):
                    tenants[name] = _Declared(tenant, path.name)
        self._resolve_all(tenants, plans, problems)
        for file in files.values():
            problems += (
                replace(p, kept=file.unreadable or p.name in self._policies) for p in file.problems
            )
        return Outcome(self._policies, tuple(problems))

    def _resolve_all(
        self,
        tenants: Mapping[str, _Declared],
        plans: Mapping[str, TenantPlan],
        problems: list[TenantProblem],
    ) -> None:
        policies: dict[str, TenantPolicy] = {}
        inputs: dict[str, tuple[Tenant, TenantPlan | None]] = {}
        uids: dict[str, str] = {}
        for name, declared in tenants.items():
            given = (declared.tenant, plans.get(plan_name(declared.tenant)))
            try:
                _claim_uid(uids, declared.tenant)
                policy = self._resolve(name, given)
            except ResolutionError as error:
                kept = self._policies.get(name)
                problem = TenantProblem(
                    declared.source, name, error.path, error.message, kept=kept is not None
                )
                problems.append(problem)
                if kept is not None:
                    policies[name] = kept
                continue
            policies[name] = policy
            inputs[name] = given
        self._policies, self._inputs = policies, inputs

    def _resolve(self, name: str, given: tuple[Tenant, TenantPlan | None]) -> TenantPolicy:
        before = self._policies.get(name)
        known = self._inputs.get(name)
        if before is not None and known is not None and all(map(_same, known, given)):
            return before
        policy = resolve(*given)
        return before if before is not None and before.revision == policy.revision else policy


def _same(one: object, other: object) -> bool:
    return one is other


def _claim_uid(uids: dict[str, str], tenant: Tenant) -> None:
    """Note whose uid it is: two tenants with one uid would share their data."""
    uid = tenant_uid(tenant)
    owner = uids.setdefault(uid, tenant.metadata.name)
    if owner != tenant.metadata.name:
        raise ResolutionError("metadata.uid", f"the uid is that of tenant {owner}")


def _taken(name: str, twice: bool, path: Path, kind: str, problems: list[TenantProblem]) -> bool:
    if twice:
        message = f"{kind} {name} is declared in another file, too; the first file holds"
        problems.append(TenantProblem(path.name, name, "metadata.name", message))
    return not twice


def _with_last_good(file: TenantFile, before: TenantFile | None) -> TenantFile:
    """Return `file` with its broken objects as they were when they were last valid."""
    if before is None or file is before:
        return file
    meant = {("Tenant", name) for name in before.tenants}
    meant |= {("TenantPlan", name) for name in before.plans}
    # What is broken and cannot be told by name may be any object that was here before.
    broken = file.broken if file.broken <= meant and not file.unreadable else meant
    tenants = {name: t for name, t in before.tenants.items() if ("Tenant", name) in broken}
    plans = {name: p for name, p in before.plans.items() if ("TenantPlan", name) in broken}
    return replace(file, tenants=tenants | file.tenants, plans=plans | file.plans)


__all__ = ["Catalogue", "Outcome"]
