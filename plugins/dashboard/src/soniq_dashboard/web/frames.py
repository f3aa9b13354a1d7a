"""A traceback in parts: one's own frames, and those of libraries, which are folded between them."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

FRAME = re.compile(r'[ |+-]*File "(?P<path>.*)", line \d+')
MARGIN = " |"
"""What stands before the lines of a frame; the bars are those of a group of exceptions."""
LIBRARY = re.compile(
    r"<frozen "
    r"|[/\\](site-packages|dist-packages)[/\\]"
    r"|[/\\]lib(64)?[/\\](python|pypy)\d[\d.]*t?[/\\]"
    r"|[/\\]python[\d.-]*[/\\]lib[/\\]",
    re.IGNORECASE,
)
"""In the path of a library: what is installed, and the standard library, wherever Python is."""


@dataclass(frozen=True, slots=True)
class Part:
    """Lines of a traceback that follow each other."""

    text: str
    frames: int = 0
    """How many frames these are; 0: what stands between them."""
    own: bool = False
    """Whether they are one's own."""
    folded: bool = False


def is_library(path: str) -> bool:
    """Whether a file belongs to a library, by its path on the machine of the worker."""
    return LIBRARY.search(path) is not None


def parts(traceback: object) -> Sequence[Part]:
    """The parts of a traceback in their order. Frames of libraries are folded where there are any
    of one's own; what is no text, or has no frame, is shown as it is.
    """
    if traceback is None:
        return ()
    found = [*_joined(_read(str(traceback)))]
    if not any(part.own for part in found):
        return found
    return [replace(part, folded=bool(part.frames and not part.own)) for part in found]


def _read(traceback: str) -> Iterator[Part]:
    """Each line as a part of its own."""
    frame, deep = Part(""), -1
    for line in traceback.splitlines(keepends=True):
        begins = FRAME.match(line)
        indent = len(line) - len(line.lstrip(MARGIN))
        if begins:
            frame, deep = Part("", 0, own=not is_library(begins["path"])), indent
            yield replace(frame, text=line, frames=1)
        elif deep >= 0 and (indent > deep or line.lstrip(MARGIN).startswith("[Previous line")):
            yield replace(frame, text=line, frames=-1)
        else:
            deep = -1
            yield Part(line)


def _joined(lines: Iterator[Part]) -> Iterator[Part]:
    """Lines of the same kind as one part."""
    last: Part | None = None
    for line in lines:
        same = last is not None and bool(last.frames) == bool(line.frames) and last.own == line.own
        count = max(line.frames, 0)
        if last is not None and same:
            last = replace(last, text=last.text + line.text, frames=last.frames + count)
        else:
            if last is not None:
                yield last
            last = replace(line, frames=count)
    if last is not None:
        yield last
