"""The port through which services learn policies.

An adapter (a watched directory, later the Kubernetes API) resolves or receives policies and swaps
them one tenant at a time, whole. Readers call `get` on every request: it is a dictionary look-up,
never input or output, and what it returns is immutable.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from meshkit.errors import StartError
from meshkit.tenancy.policy import TenantPolicy


@dataclass(frozen=True, slots=True)
class TenantProblem:
    """Something declared that does not hold: the object, where in it, and why.

    `kept` says that the last good policy of the tenant stays in force.
    """

    source: str
    name: str
    path: str
    message: str
    kept: bool = False


class TenantSource(Protocol):
    """The policies in force in this process."""

    def get(self, tenant_id: str) -> TenantPolicy | None:
        """Return the policy of the tenant called `tenant_id`, or None where there is none."""

    def policies(self) -> Mapping[str, TenantPolicy]:
        """Return all policies by tenant id: a snapshot that later changes do not touch."""

    def problems(self) -> Sequence[TenantProblem]:
        """Return what is declared but not in force, and why."""

    async def start(self) -> None:
        """Load all there is, then keep watching in the background until `close`.

        Raises TenantSourceError where nothing can be loaded at all.
        """

    async def loaded(self) -> None:
        """Return once everything that is there has been loaded: before that, a tenant that is not
        known may only not be known yet."""

    async def check(self) -> str | None:
        """Return why nothing has been loaded yet, None from then on, for `/readyz`."""

    def freshness(self) -> str:
        """Return how fresh what is in force is, in a few words, as a detail of `/readyz`."""

    async def close(self) -> None:
        """Stop watching. The last policies stay readable."""


class TenantSourceError(StartError):
    """The source as a whole cannot be read (no such directory, no API server)."""


__all__ = ["TenantProblem", "TenantSource", "TenantSourceError"]
