"""What Soniq and its plugins log is one line for each record, whatever was written by users: a line
break in a reason, an error or a name must not look like a record of its own. And an application's
filter or handler that raises does not end what logs.
"""

import logging
from collections.abc import Callable
from functools import partial

from soniq.text import one_line

OWN = ("soniq", "soniq.database", "soniq.enqueue", "soniq.hooks", "soniq.worker")
"""The core's own loggers. What handlers log through `ctx.logger` (`soniq.job`) stays as it is."""
NUMBERS = frozenset({int, float, bool, type(None)})
LONGEST = 4_000
"""Characters of one argument of a log line, where it has to be made one line."""


class OneLine(logging.Filter):
    """Makes each argument of a record one line, where it is not."""

    def filter(self, record: logging.LogRecord) -> bool:
        args = record.args
        if isinstance(args, tuple):
            for each in args:
                if not (each.isprintable() if type(each) is str else type(each) in NUMBERS):
                    record.args = tuple(each if _fits(each) else _InLine(each) for each in args)
                    break
        return True


ONE_LINE = OneLine()
_ERRORS = logging.Handler()


def set_up(*names: str) -> None:
    """Let the records of these loggers be one line each, and their errors harmless; once is enough,
    more does no harm.
    """
    for name in names:
        logger = logging.getLogger(name)
        logger.addFilter(ONE_LINE)
        if "handle" not in vars(logger):
            vars(logger)["handle"] = partial(_handle, logger)


def _handle(logger: logging.Logger, record: logging.LogRecord) -> None:
    """Do with a record what the logger does. An error of a filter or a handler is told on stderr,
    as logging tells those it catches.
    """
    try:
        type(logger).handle(logger, record)
    except Exception:
        _ERRORS.handleError(record)


class _InLine:
    """An argument of a record, shown in one line."""

    __slots__ = ("_value",)

    def __init__(self, value: object) -> None:
        self._value = value

    def __str__(self) -> str:
        return self._shown(str)

    def __repr__(self) -> str:
        return self._shown(repr)

    def _shown(self, make: Callable[[object], str]) -> str:
        try:
            return one_line(make(self._value), LONGEST)
        except BaseException as failure:  # of the value's own: nobody logs to be ended by it
            kind, why = type(self._value).__qualname__, type(failure).__qualname__
            return f"{kind} (which cannot be shown: {why})"


def _fits(value: object) -> bool:
    return type(value) in NUMBERS or (isinstance(value, str) and value.isprintable())


set_up(*OWN)
