"""All declared tenants and plans, resolved: what is in force and what is not, and why.

Holds on to what was good: an object that broke keeps its last valid form, a tenant that does not
resolve keeps its last policy, and a policy that came out the same stays the same object. It knows
nothing of folders or servers beyond a name for where each object came from.

Two tenants never share a uid, since they would share their data; `claims` has the rules.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from meshkit.tenancy.claims import Declared, uid_owners
from meshkit.tenancy.policy import TenantPolicy
from meshkit.tenancy.resolve import ResolutionError, own_uid, plan_name, resolve, tenant_uid
from meshkit.tenancy.source import TenantProblem
from meshkit.tenancy.spec import Tenant, TenantPlan
from meshkit.tenancy.yaml_files import TenantFile

T = TypeVar("T", Tenant, TenantPlan)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The policies in force by tenant id, what is declared but not in force, and the names of the
    files that all of it came from."""

    policies: Mapping[str, TenantPolicy]
    problems: tuple[TenantProblem, ...]
    files: Collection[str] = ()


@dataclass(frozen=True, slots=True)
class _Resolved:
    """What a policy in force was resolved from."""

    tenant: Tenant
    plan: TenantPlan | None


class Catalogue:
    """Resolves what a set of files declares, again and again as they change."""

    def __init__(self) -> None:
        self._good: dict[str, TenantFile] = {}
        self._plans: dict[str, tuple[TenantPlan, str]] = {}
        self._tenants: dict[str, tuple[Tenant, str]] = {}
        self._declared: dict[str, Declared] = {}
        self._declared_by: dict[str, Tenant] = {}
        self._resolved: dict[str, _Resolved] = {}
        self._policies: dict[str, TenantPolicy] = {}

    def update(self, files: Mapping[str, TenantFile]) -> Outcome:
        """Return what is in force now that `files` (by name, in order) is all there is."""
        self._good = {
            name: with_last_good(file, self._good.get(name)) for name, file in files.items()
        }
        problems = [problem for file in files.values() for problem in file.problems]
        self._plans = self._chosen("TenantPlan", lambda file: file.plans, self._plans, problems)
        self._tenants = self._chosen("Tenant", lambda file: file.tenants, self._tenants, problems)
        self._declare()
        self._resolve_all(problems)
        told = tuple(replace(problem, kept=self._keeps(problem)) for problem in problems)
        return Outcome(self._policies, told, files.keys())

    def _chosen(
        self,
        kind: str,
        objects_of: Callable[[TenantFile], Mapping[str, T]],
        before: Mapping[str, tuple[T, str]],
        problems: list[TenantProblem],
    ) -> dict[str, tuple[T, str]]:
        """Return one object and its file for each name, whoever had the name before keeping it."""
        chosen: dict[str, tuple[T, str]] = {}
        for source, file in self._good.items():
            for name, one in objects_of(file).items():
                last = before.get(name)
                # Nothing new is made for what stayed: garbage of ten thousand tenants for each
                # edit would have the collector stop the process for a third of a second.
                same = last is not None and last[0] is one and last[1] == source
                candidate = last if last is not None and same else (one, source)
                held = chosen.setdefault(name, candidate)[1]
                if held == source:
                    continue
                loser = source
                if last is not None and last[1] == source:
                    chosen[name], loser, held = candidate, held, source
                message = f"{kind} {name} is in {loser} and in {held}; the one in {held} holds"
                problems.append(TenantProblem(loser, name, "metadata.name", message))
        return chosen

    def _declare(self) -> None:
        declared: dict[str, Declared] = {}
        for name, (tenant, _) in self._tenants.items():
            same = self._declared_by.get(name) is tenant
            declared[name] = (
                self._declared[name] if same else Declared(own_uid(tenant), tenant_uid(tenant))
            )
        self._declared = declared
        self._declared_by = {name: tenant for name, (tenant, _) in self._tenants.items()}

    def _resolve_all(self, problems: list[TenantProblem]) -> None:
        policies: dict[str, TenantPolicy] = {}
        resolved: dict[str, _Resolved] = {}
        owners = uid_owners(self._declared, self._policies)
        for name, (tenant, source) in self._tenants.items():
            plan = self._plans.get(plan_name(tenant))
            try:
                self._check_uid(name, owners)
                given = self._given(name, tenant, plan[0] if plan else None)
                policies[name] = self._policy(name, given)
                resolved[name] = given
            except ResolutionError as error:
                problems.append(TenantProblem(source, name, error.path, error.message))
                kept = self._policies.get(name)
                if kept is not None and owners.get(kept.tenant_uid, name) == name:
                    policies[name] = kept
        self._policies, self._resolved = policies, resolved

    def _check_uid(self, name: str, owners: Mapping[str, str]) -> None:
        claim = self._declared[name]
        owner = owners[claim.wanted]
        if owner != name:
            path = "spec.adoptUid" if claim.wanted != claim.own else "metadata.uid"
            raise ResolutionError(path, f"the uid {claim.wanted} is that of tenant {owner}")

    def _given(self, name: str, tenant: Tenant, plan: TenantPlan | None) -> _Resolved:
        known = self._resolved.get(name)
        same = known is not None and known.tenant is tenant and known.plan is plan
        return known if known is not None and same else _Resolved(tenant, plan)

    def _policy(self, name: str, given: _Resolved) -> TenantPolicy:
        before = self._policies.get(name)
        if before is not None and self._resolved.get(name) is given:
            return before
        policy = resolve(given.tenant, given.plan)
        return before if before is not None and before.revision == policy.revision else policy

    def _keeps(self, problem: TenantProblem) -> bool:
        file = self._good[problem.source]
        if file.unreadable:
            return bool(file.tenants or file.plans)
        return problem.name in self._policies or problem.name in self._plans


def with_last_good(file: TenantFile, before: TenantFile | None) -> TenantFile:
    """Return `file` with its broken objects as they were when they were last valid."""
    if before is None or file is before or not file.problems:
        return file
    meant = {("Tenant", name) for name in before.tenants}
    meant |= {("TenantPlan", name) for name in before.plans}
    # What is broken and cannot be told by name may be any object that was here before.
    broken = file.broken if file.broken <= meant and not file.unreadable else meant
    tenants = {name: t for name, t in before.tenants.items() if ("Tenant", name) in broken}
    plans = {name: p for name, p in before.plans.items() if ("TenantPlan", name) in broken}
    return replace(file, tenants=tenants | file.tenants, plans=plans | file.plans)


__all__ = ["Catalogue", "Outcome", "with_last_good"]
