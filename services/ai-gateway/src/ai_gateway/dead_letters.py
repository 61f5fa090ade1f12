"""The dead-letter topic: what can never be processed, kept with all that is needed to look into it.

The record's key, value and headers are kept byte for byte; `mesh_dlq_*` headers say why, from
where, and after how many attempts.
"""

import asyncio

import structlog

from meshkit.errors import LogUnavailable
from meshkit.events.log import USER_EVENTS_DLQ, EventLog, NewRecord, Record

log = structlog.get_logger()

_RETRY_SECONDS = 1.0


async def dead_letter(event_log: EventLog, record: Record, reason: str, attempts: int) -> None:
    """Publish `record` to the dead-letter topic; waits for the log, however long that takes."""
    source = f"{record.topic}/{record.partition}/{record.offset}"
    headers = (
        *record.headers,
        ("mesh_dlq_reason", reason.encode(errors="replace")),
        ("mesh_dlq_source", source.encode()),
        ("mesh_dlq_attempts", str(attempts).encode()),
    )
    while True:
        try:
            await event_log.publish(USER_EVENTS_DLQ, NewRecord(record.key, record.value, headers))
        except LogUnavailable as error:
            log.warning("dead_letter_waits", reason=error.detail)
            await asyncio.sleep(_RETRY_SECONDS)
        else:
            return
