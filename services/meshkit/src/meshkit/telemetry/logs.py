"""Logs are events with fields: JSON lines for machines, colours on a terminal.

`MESH_LOG_FORMAT` chooses, `MESH_LOG_LEVEL` filters. Values are never personal data, prompts or
tokens. Records of libraries that use the standard logging module take the same way out.
"""

import logging
import sys
from typing import Literal, TextIO, cast

import structlog
from structlog.typing import Processor

LogFormat = Literal["console", "json"]


class _Stderr:
    """Standard error as it is when something is written, not as it was when a logger was made."""

    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


def configure_logging(log_format: LogFormat | None, level: str, *, for_good: bool = True) -> None:
    """Set logging up for this process. `log_format` None: console on a terminal, else JSON.

    For good it is quicker: each logger looks at this once. Commands that end soon need not.
    """
    console = log_format == "console" or (log_format is None and sys.stderr.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="%H:%M:%S" if console else "iso", utc=not console),
    ]
    renderer: list[Processor] = (
        # Not the default's pretty tracebacks: these print local variables, which are people's data.
        [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
        if console
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    )
    number = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[*shared, *renderer],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(cast(TextIO, _Stderr())),
        cache_logger_on_first_use=for_good,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
        )
    )
    # Libraries speak up from warnings on; their informational lines are about themselves.
    logging.basicConfig(handlers=[handler], level=max(number, logging.WARNING), force=True)


__all__ = ["LogFormat", "configure_logging"]
