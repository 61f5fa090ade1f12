"""Running a process: settings, logs, signals, and what a person sees when it cannot start.

The first SIGINT or SIGTERM asks for a graceful stop, a second one ends the process at once.
A StartError is told in one sentence, without a traceback, and ends with status 2.
A crash in a library of C, and SIGABRT, tell where each thread is: that is how to ask a process that
answers nothing any more.
"""

import asyncio
import faulthandler
import gc
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import structlog
import uvloop

from meshkit.errors import StartError
from meshkit.settings import MeshSettings
from meshkit.telemetry.logs import configure_logging
from meshkit.telemetry.tracing import configure_tracing
from meshkit.web.connections import raise_open_files

log = structlog.get_logger()

# Requests leave little garbage in cycles; the default of 700 spends a tenth of the time looking.
_GC_THRESHOLDS = (20_000, 20, 50)

S = TypeVar("S", bound=MeshSettings)

Serve = Callable[[S, asyncio.Event], Awaitable[None]]
"""Runs until the event is set."""


def run(serve: Serve[S], load: Callable[[], S]) -> None:
    """Run a service to its end with the settings that it loads; exits with status 2 where it cannot
    start."""
    faulthandler.enable()
    try:
        settings = load()
        configure_logging(settings.log_format, settings.log_level)
        configure_tracing(settings.traces)
        uvloop.run(_until_signalled(serve, settings))
    except StartError as error:
        sys.stderr.write(f"error: {error}\n")
        raise SystemExit(2) from None


async def until(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> None:
    """Run `work` until it ends, raises, or `stop` is set; then it is cancelled and cleans up."""
    working = asyncio.create_task(work)
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait([working, stopping], return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
        working.cancel()
        await asyncio.wait([working])
    if not working.cancelled():
        working.result()


async def _until_signalled(serve: Serve[S], settings: S) -> None:
    raise_open_files()
    stop = asyncio.Event()
    handle_signals(stop)
    tune_garbage_collection()
    await serve(settings, stop)


def handle_signals(stop: asyncio.Event) -> None:
    """Have SIGINT and SIGTERM set `stop`, and the second of them end the process at once."""
    loop = asyncio.get_running_loop()

    def on_signal(number: signal.Signals) -> None:
        if stop.is_set():
            os._exit(128 + number)
        log.info("stopping", signal=number.name)
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, on_signal, number)


def tune_garbage_collection() -> None:
    """Make the collector look less often, and not at what is alive by now: that mostly stays."""
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)


__all__ = ["Serve", "handle_signals", "run", "tune_garbage_collection", "until"]
