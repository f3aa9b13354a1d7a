"""An error as text: in a line of a log, and as it is kept in a job's row."""

import traceback
from pathlib import Path
from types import TracebackType

import msgspec

from soniq.text import cut, one_line, storable
from soniq.tracebacks import TRACEBACK, text_of

OWN_CODE = str(Path(__file__).parent)
LONGEST_TRACEBACK = 20_000
"""Characters that are kept of a traceback."""


def error_json(kind: str, message: str, traceback: str | None) -> str:
    """An error as it is kept in a row: without what PostgreSQL's JSON cannot hold."""
    fields = {
        "type": cut(kind, 500),
        "message": cut(message),
        "traceback": traceback and cut(traceback, LONGEST_TRACEBACK),
    }
    clean = {name: value and storable(value.replace("\0", "")) for name, value in fields.items()}
    return msgspec.json.encode(clean).decode()


def failure_json(error: BaseException, *, traceback: bool = True) -> str:
    """The same for an error that was raised, with its traceback or without."""
    return error_json(type_name(error), text_of(error), formatted(error) if traceback else None)


def in_one_line(error: BaseException) -> str:
    """An error in one line."""
    text = one_line(text_of(error))
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def type_name(error: BaseException) -> str:
    """The qualified name of an error's type."""
    kind = type(error)
    return (
        kind.__qualname__
        if kind.__module__ == "builtins"
        else f"{kind.__module__}.{kind.__qualname__}"
    )


def formatted(error: BaseException) -> str:
    """An error's traceback, from the first line that is not Soniq's own."""
    start: TracebackType | None = TRACEBACK(error)
    while start is not None and start.tb_frame.f_code.co_filename.startswith(OWN_CODE):
        start = start.tb_next

    start = start or TRACEBACK(error)
    try:
        text = "".join(traceback.format_exception(type(error), error, start))
    except BaseException:
        text = "".join(traceback.format_tb(start))
    return cut(text, LONGEST_TRACEBACK)
