"""The last step of a request that wrote a user: its event is searchable.

A request's W3C trace context travels in the event. So the log line and the span written here belong
to the caller's own trace, whichever process indexed the event, and however much later.
"""

import structlog
from opentelemetry import trace
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from meshkit.events.envelope import UserEvent
from meshkit.events.log import Record

log = structlog.get_logger()

_tracer = trace.get_tracer("ai-gateway-indexer")
_propagator = TraceContextTextMapPropagator()
_NANOSECONDS = 1_000_000


def indexed(record: Record, event: UserEvent) -> None:
    """Tell that an event is searchable, where its request was traced."""
    if event.traceparent is None:
        return
    log.debug(
        "event_indexed",
        event_id=event.event_id,
        tenant=event.tenant.tenant_id,
        partition=record.partition,
        offset=record.offset,
        traceparent=event.traceparent,
    )
    # As long as the event was in the log: what its client waited for until it could be found.
    span = _tracer.start_span(
        f"process {record.topic}",
        context=_propagator.extract({"traceparent": event.traceparent}),
        kind=trace.SpanKind.CONSUMER,
        start_time=record.timestamp_ms * _NANOSECONDS,
        attributes={
            "messaging.operation.type": "process",
            "messaging.operation.name": "index",
            "messaging.destination.name": record.topic,
            "messaging.destination.partition.id": str(record.partition),
            "messaging.kafka.offset": record.offset,
            "messaging.message.id": event.event_id,
            "mesh.tenant.id": event.tenant.tenant_id,
        },
    )
    span.end()
