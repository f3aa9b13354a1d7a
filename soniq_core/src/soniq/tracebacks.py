"""Errors without their tracebacks, which hold the frames, and with them all that the functions had
in their hands.

An error that is kept, by what caught it or by who hears of it later, would keep those until the
garbage collector comes by. They are cut, not cleared: another task that met the same error may
still wait in one of the frames.
"""

from typing import Any, TypeVar

E = TypeVar("E", bound=BaseException)

CAUSE: Any = vars(BaseException)["__cause__"].__get__
CONTEXT: Any = vars(BaseException)["__context__"].__get__
TRACEBACK: Any = vars(BaseException)["__traceback__"].__get__
EXCEPTIONS: Any = vars(BaseExceptionGroup)["exceptions"].__get__
"""What an error holds, whatever its own class makes of these names."""


def without_traceback(error: E) -> E:
    """The error; it, what caused it and what it groups have no traceback any more."""
    seen: set[int] = set()
    left: list[BaseException | None] = [error]
    while left:
        each = left.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        BaseException.with_traceback(each, None)
        left += [CAUSE(each), CONTEXT(each)]
        if issubclass(type(each), BaseExceptionGroup):  # isinstance would ask the error itself
            left += EXCEPTIONS(each)
    return error


def text_of(error: BaseException) -> str:
    """What an error says, also where it cannot say it."""
    try:
        return str(error)
    except BaseException as failure:
        return f"(its text cannot be made: {type(failure).__qualname__})"


def shown(error: BaseException) -> str:
    """The error as `repr` shows it, also where it cannot be shown."""
    try:
        return repr(error)
    except BaseException as failure:
        return f"{type(error).__qualname__} (which cannot be shown: {type(failure).__qualname__})"
