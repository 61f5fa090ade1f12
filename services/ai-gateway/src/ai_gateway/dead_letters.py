"""Putting a record into the dead letters, however long the log takes to take it."""

import asyncio

import structlog

from meshkit.errors import LogUnavailable
from meshkit.events.dead_letters import to_dead_letter
from meshkit.events.log import USER_EVENTS_DLQ, EventLog, Record

log = structlog.get_logger()

_RETRY_SECONDS = 1.0


async def dead_letter(event_log: EventLog, record: Record, reason: str, attempts: int) -> None:
    """Publish `record` to the dead-letter topic; waits for the log, however long that takes."""
    letter = to_dead_letter(record, reason, attempts)
    while True:
        try:
            await event_log.publish(USER_EVENTS_DLQ, letter)
        except LogUnavailable as error:
            log.warning("dead_letter_waits", reason=error.detail)
            await asyncio.sleep(_RETRY_SECONDS)
        else:
            return
