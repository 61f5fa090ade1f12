"""Who this replica is among the members: its pod where it runs in one, else a process of a host."""

from typing import Any

from meshkit.membership.lease import Member
from meshkit.settings import MeshSettings

_ANY_ADDRESS = ("0.0.0.0", "::")  # noqa: S104 - compared with, not listened on


def own_identity(settings: MeshSettings, admin_port: int, hostname: str) -> str:
    """Return who this replica is: the same after a restart, and nobody else's meanwhile."""
    return settings.pod_name or f"{hostname}-{admin_port}"


def own_member(
    settings: MeshSettings, service: str, admin_port: int, *, hostname: str, with_owner: bool = True
) -> Member:
    """Return this replica as a member of `service`, before it has applied anything.

    With `with_owner` its Lease belongs to its pod, and goes with it.
    """
    owner: dict[str, Any] = {}
    if with_owner and settings.pod_name and settings.pod_uid:
        owner = {
            "apiVersion": "v1",
            "kind": "Pod",
            "name": settings.pod_name,
            "uid": settings.pod_uid,
        }
    host = settings.pod_ip or (hostname if settings.host in _ANY_ADDRESS else settings.host)
    return Member(
        service=service,
        identity=own_identity(settings, admin_port, hostname),
        admin_url=f"http://{f'[{host}]' if ':' in host else host}:{admin_port}",
        lease_seconds=settings.member_lease_seconds,
        owner=owner,
    )


__all__ = ["own_identity", "own_member"]
