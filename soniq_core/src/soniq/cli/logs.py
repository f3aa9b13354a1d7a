"""What `soniq worker` logs to stderr, a line for each event, unless the app set up logging."""

import logging
import time
from functools import lru_cache
from pathlib import Path

from soniq.cli.output import clean

LEVELS = ("debug", "info", "warning", "error")


def set_up_logging(level: str | None) -> None:
    """Let what Soniq logs, and what the app and its libraries log, be seen on stderr.

    Where the app has set up logging it stays as it is, and `level` is that of what Soniq logs.
    """
    root, own = logging.getLogger(), logging.getLogger("soniq")
    if not root.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(Lines(tracebacks=level == "debug"))
        handler.addFilter(_is_unhandled)
        root.addHandler(handler)
        if level is not None or root.level == logging.WARNING:  # which is how Python leaves it
            root.setLevel((level or "info").upper())
    if level is not None:
        own.setLevel(level.upper())


def _is_unhandled(record: logging.LogRecord) -> bool:
    """Whether no logger below the root has a handler for this record, which shows it already."""
    logger: logging.Logger | None = logging.getLogger(record.name)
    while logger is not None and logger.parent is not None:
        if logger.handlers:
            return False
        logger = logger.parent
    return True


class Lines(logging.Formatter):
    """One line for each event: time, level, message, and where an exception came from.

    A line that is not Soniq's own begins with the name of its logger, and has the whole traceback.
    """

    def __init__(self, *, tracebacks: bool) -> None:
        super().__init__()
        self._tracebacks = tracebacks

    def format(self, record: logging.LogRecord) -> str:
        own = record.name == "soniq" or record.name.startswith("soniq.")
        text = " ".join(record.getMessage().split())
        if not own and record.name != "root":
            text = f"{record.name}: {text}"
        second, zone = _second(int(record.created))
        line = f"{second}.{int(record.msecs):03d}{zone} {record.levelname.lower():7} {clean(text)}"

        error = record.exc_info[1] if record.exc_info else None
        if error is None:
            return line
        if self._tracebacks or not own:
            return f"{line}\n{self.formatException(record.exc_info)}"  # type: ignore[arg-type]

        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        where = ""
        if trace:
            where = f", {Path(trace.tb_frame.f_code.co_filename).name} line {trace.tb_lineno}"
        return f"{line} ({clean(type(error).__name__)}{where})"


@lru_cache(maxsize=4)
def _second(seconds: int) -> tuple[str, str]:
    """A second in local time, and its offset: made once for all the lines of that second."""
    local = time.localtime(seconds)
    offset = time.strftime("%z", local)
    return time.strftime("%Y-%m-%d %H:%M:%S", local), f"{offset[:3]}:{offset[3:]}"
