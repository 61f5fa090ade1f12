"""Tenants from the Kubernetes API: the TenantPolicy objects that the operator writes.

List once, then watch: a change is in force as soon as its line is read, and then followers are told
(`follow`). The watch starts again where it ended; where the server has forgotten that, all is
listed anew and only what differs is swapped. While the API server is away the last policies stay in
force, and `staleness` says for how long nothing was heard. The API server sends a bookmark at least
once a minute, so a watch that goes silent is noticed soon after one is missing. A process that
starts without an API server knows nobody and refuses everybody until it has listed once (ADR 0012).
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Self

import structlog
from pydantic import ValidationError

from meshkit.clock import Clock, monotonic
from meshkit.kube.client import WATCH_SILENCE_SECONDS, KubeClient
from meshkit.kube.objects import Object, WatchEvent
from meshkit.kube.reflector import reflect
from meshkit.tasks import end
from meshkit.telemetry import metrics
from meshkit.tenancy.directory import OnChange
from meshkit.tenancy.policy import TenantPolicy
from meshkit.tenancy.resources import POLICIES
from meshkit.tenancy.source import TenantProblem

log = structlog.get_logger()

# The watch itself ends a little sooner; this holds whatever keeps it from doing so.
_SILENT_SECONDS = WATCH_SILENCE_SECONDS + 5


class KubernetesTenantSource:
    """The policies of the TenantPolicy objects in the client's namespace."""

    def __init__(
        self, client: KubeClient, on_change: OnChange | None = None, clock: Clock = monotonic
    ) -> None:
        self._client = client
        self._on_change = on_change
        self._clock = clock
        self._policies: dict[str, TenantPolicy] = {}
        self._snapshot: Mapping[str, TenantPolicy] | None = None
        self._problems: dict[str, TenantProblem] = {}
        self._version = ""
        self._listed = asyncio.Event()
        self._heard_at = clock()
        self._trouble = "the policies have not been listed yet"
        self._followers: list[Callable[[], None]] = []
        self._watching: asyncio.Task[None] | None = None

    def follow(self, follower: Callable[[], None]) -> None:
        """Call `follower` whenever `applied_version` has moved by an event or a list, also where no
        policy is another one by that. Bookmarks move it without a call."""
        self._followers.append(follower)

    @property
    def applied_version(self) -> str:
        """The newest resource version whose policies are in force here; empty before the first."""
        return self._version

    @property
    def staleness(self) -> float:
        """For how many seconds nothing was heard from the API server; 0 while it is watched and
        says something at least as often as bookmarks come."""
        silent = self._clock() - self._heard_at
        return silent if self._trouble or silent > _SILENT_SECONDS else 0.0

    def freshness(self) -> str:
        """Return when something was last heard, and what is in the way where it is."""
        heard = f"last heard {self._clock() - self._heard_at:.0f} s ago"
        if not self._listed.is_set():
            heard = "never heard"
        trouble = self._trouble or ("bookmarks stay away" if self.staleness else "")
        return f"{heard}; not watched: {trouble}" if trouble else f"watched, {heard}"

    def get(self, tenant_id: str) -> TenantPolicy | None:
        """Return the policy of the tenant called `tenant_id`, or None where there is none."""
        return self._policies.get(tenant_id)

    def policies(self) -> Mapping[str, TenantPolicy]:
        """Return all policies by tenant id: a snapshot that later changes do not touch."""
        if self._snapshot is None:
            self._snapshot = dict(self._policies)
        return self._snapshot

    def problems(self) -> Sequence[TenantProblem]:
        """Return the policies that cannot be read; their last good form stays in force."""
        return tuple(self._problems.values())

    async def check(self) -> str | None:
        """Return why no tenant is known yet, None from the first list on."""
        return None if self._listed.is_set() else self._trouble

    async def start(self) -> None:
        """Keep listing and watching in the background until `close`."""
        metrics.POLICIES_STALENESS.set_function(lambda: self.staleness)
        self._watching = asyncio.create_task(self._keep_up(), name="policy-watch")

    async def loaded(self) -> None:
        """Return once all policies have been listed."""
        await self._listed.wait()

    async def close(self) -> None:
        """Stop watching. The last policies stay readable."""
        await end(self._watching)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _keep_up(self) -> None:
        """List and watch; whatever goes wrong, policies stay and so do we."""
        await reflect(
            self._client,
            POLICIES,
            listed=self._list,
            heard=self._apply,
            opened=self._opened,
            troubled=lambda error: self._note(str(error) or type(error).__name__),
        )

    def _opened(self) -> None:
        self._heard_at = self._clock()
        self._note("")

    async def _list(self) -> str:
        objects, version = await self._client.list(POLICIES)
        names = {found["metadata"]["name"] for found in objects}
        changed = {name for name in self._policies.keys() - names if self._remove(name)}
        changed |= {found["metadata"]["name"] for found in objects if self._put(found)}
        self._version = version
        self._heard_at = self._clock()
        self._note("")
        self._listed.set()
        self._settled(changed)
        return version

    def _apply(self, event: WatchEvent) -> None:
        self._heard_at = self._clock()
        metadata = event.object["metadata"]
        changed = False
        if event.type in ("ADDED", "MODIFIED"):
            changed = self._put(event.object)
        elif event.type == "DELETED":
            changed = self._remove(metadata["name"])
        # Only now: whoever reads it is told that this version is in force.
        self._version = metadata["resourceVersion"]
        if event.type != "BOOKMARK":
            self._settled({metadata["name"]} if changed else set())

    def _put(self, found: Object) -> bool:
        """Take a policy in; return whether anything is different by that."""
        name = found["metadata"]["name"]
        try:
            policy = TenantPolicy.model_validate(found["spec"])
            if policy.tenant_id != name:
                raise ValueError(f"is about {policy.tenant_id}")
        except (ValidationError, ValueError, KeyError) as error:
            reason = f"the policy cannot be read: {type(error).__name__}"
            kept = name in self._policies
            self._problems[name] = TenantProblem("kubernetes", name, "spec", reason, kept)
            log.error("policy_not_readable", tenant=name, kept=kept)
            return False
        self._problems.pop(name, None)
        before = self._policies.get(name)
        if before is not None and before.revision == policy.revision and before == policy:
            return False
        self._policies[name] = policy
        return True

    def _remove(self, name: str) -> bool:
        self._problems.pop(name, None)
        return self._policies.pop(name, None) is not None

    def _settled(self, changed: set[str]) -> None:
        """Tell of a version that is in force, and of the tenants that are different by it."""
        metrics.TENANT_PROBLEMS.set(len(self._problems))
        if changed:
            self._snapshot = None
            metrics.POLICIES.set(len(self._policies))
            if self._on_change is not None:
                self._on_change(frozenset(changed))
        for follower in self._followers:
            follower()

    def _note(self, trouble: str) -> None:
        if trouble != self._trouble:
            if trouble:
                log.warning("policies_not_watched", reason=trouble)
            else:
                log.info("policies_watched", tenants=len(self._policies))
        self._trouble = trouble


__all__ = ["KubernetesTenantSource"]
