"""Spans, for those who look at requests through OpenTelemetry.

`MESH_TRACES=otlp` sends them to where the standard variables say (`OTEL_EXPORTER_OTLP_ENDPOINT`,
`OTEL_SERVICE_NAME`, …). Otherwise they cost nothing and go nowhere, unless
`opentelemetry-instrument` has set up something of its own.
"""

import sys
from pathlib import Path
from typing import Literal

from meshkit.errors import StartError

Target = Literal["none", "otlp"]


def configure_tracing(target: Target) -> None:
    """Send spans to `target` from now on. Raises StartError where the exporter is missing."""
    if target == "none":
        return
    try:
        from opentelemetry import trace
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import OTELResourceDetector, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        raise StartError(
            "MESH_TRACES=otlp needs the exporter: pip install 'meshkit[otlp]'"
        ) from None
    named = {"service.name": Path(sys.argv[0]).name}
    # OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES go before the command's name.
    resource = Resource(named).merge(OTELResourceDetector().detect())
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)


__all__ = ["Target", "configure_tracing"]
