"""What a service composes to keep accounts."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from meshkit.events.log import EventLog
from meshkit.membership.identity import own_identity
from meshkit.settings import MeshSettings
from meshkit.tenancy.source import TenantSource
from meshkit.tenancy.terminating import TerminatingTenants
from meshkit.usage.accounts import Accounts


@asynccontextmanager
async def keeping_accounts(
    settings: MeshSettings,
    service: str,
    admin: socket.socket,
    event_log: EventLog,
    tenants: TenantSource,
) -> AsyncIterator[Accounts]:
    """Keep accounts of the tenants' usage for as long as the block lasts."""
    identity = own_identity(settings, admin.getsockname()[1], socket.gethostname())
    accounts = Accounts(event_log, f"{service}.{identity}", TerminatingTenants(tenants))
    async with accounts.running():
        yield accounts


__all__ = ["keeping_accounts"]
