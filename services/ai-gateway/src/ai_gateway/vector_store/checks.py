"""What both stores check: at the start what the points were made with, and on the way out whose
each of them is."""

from collections.abc import Sequence
from typing import Protocol

import structlog

from meshkit.telemetry import metrics
from meshkit.tenancy.identity import TenantContext

log = structlog.get_logger()

_COMPARED = ("layout", "embedder", "dimension", "event log")


def mismatch(where: str, stored: Sequence[object], wanted: Sequence[object]) -> str | None:
    """Return what differs and the way out, None where nothing does.

    Both are layout, embedder, dimension and event log.
    """
    for what, has, wants in zip(_COMPARED, stored, wanted, strict=True):
        if has != wants:
            return (
                f"the points in {where} were made with {what} {has}, this process has {wants}: run"
                " `mesh reindex` to make them again from the event log; searches go on meanwhile"
            )
    return None


class _Found(Protocol):
    @property
    def tenant_uid(self) -> str:
        """Whose point it is, as it is stored."""


def belongs(found: _Found, tenant: TenantContext) -> bool:
    """Return whether a found point is the tenant's; one that is not is counted and logged."""
    if found.tenant_uid == tenant.tenant_uid:
        return True
    metrics.FOREIGN_POINTS.inc()
    log.error("foreign_point_dropped", tenant=tenant.tenant_id)
    return False
