"""A request's trace goes on to where its event becomes searchable."""

import asyncio
import json
import subprocess
import sys

import pytest

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

# A process of its own: a tracer provider can be set once only.
_PROGRAM = """
import asyncio, json, structlog
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

exporter = InMemorySpanExporter()
trace.set_tracer_provider(TracerProvider())
trace.get_tracer_provider().add_span_processor(SimpleSpanProcessor(exporter))

from structlog.testing import capture_logs
from apps import running_mesh

async def main():
    async with running_mesh() as mesh:
        headers = {"X-Tenant-Id": "tenant-a"}
        user = {"name": "Alice Doe", "email": "alice@example.com"}
        await mesh.users.post("/users", headers=headers, json=user)
        await mesh.users.post("/users", headers=headers | {"traceparent": TRACEPARENT}, json=user)
        for _ in range(1000):
            if exporter.get_finished_spans():
                break
            await asyncio.sleep(0.005)

with capture_logs() as logs:
    asyncio.run(main())
spans = [
    {
        "trace": f"{s.context.trace_id:032x}", "parent": f"{s.parent.span_id:016x}",
        "name": s.name, "attributes": dict(s.attributes), "length": s.end_time - s.start_time,
    }
    for s in exporter.get_finished_spans()
]
lines = [line for line in logs if line["event"] == "event_indexed"]
print(json.dumps({"spans": spans, "lines": lines}))
"""


async def test_span_and_log_line_belong_to_the_callers_trace(pytestconfig: pytest.Config) -> None:
    program = _PROGRAM.replace("TRACEPARENT", repr(TRACEPARENT))
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", program],
        cwd=pytestconfig.rootpath / "tests",
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    (span,) = told["spans"]
    assert (span["trace"], span["parent"]) == tuple(TRACEPARENT.split("-")[1:3])
    assert span["name"] == "process user.events"
    assert span["attributes"]["mesh.tenant.id"] == "tenant-a"
    assert span["length"] > 0
    (line,) = told["lines"]
    assert line["traceparent"] == TRACEPARENT
    assert line["log_level"] == "debug"
