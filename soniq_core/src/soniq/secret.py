"""A text whose repr is masked: debuggers and error reporters show variables, and passwords are in
some.
"""

from collections.abc import Iterator


class Secret(str):
    """A string whose `repr` is masked, also for rich and Sentry. Other texts that are made of it
    are plain.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return "Secret('***')"

    def __rich_repr__(self) -> Iterator[str]:
        yield "***"

    def __sentry_repr__(self) -> str:
        return repr(self)


def without_frames(error: BaseException) -> BaseException:
    """The error, and those that led to it, without their tracebacks: a driver's frames hold what it
    was given.
    """
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        each = waiting.pop()
        if each is not None and id(each) not in seen:
            seen.add(id(each))
            each.__traceback__ = None
            waiting += [each.__cause__, each.__context__]
            waiting += each.exceptions if isinstance(each, BaseExceptionGroup) else ()
    return error
