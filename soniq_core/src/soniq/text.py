"""Text that comes from outside, made fit to be shown: cut, in one line, or a value as text whatever
it is.
"""

import re

LONGEST = 10_000
"""Characters that are kept of an error's message, a reason, and the like."""

NUL = re.compile(r"(?<!\\)((?:\\\\)*)(?:\\u0000)+")
"""The character NUL as JSON writes it, and not a backslash that is followed by u0000."""
NOT_ASCII = re.compile(r"[^\x00-\x7f]")


def cut(text: str, longest: int = LONGEST) -> str:
    """A text, or its beginning and its end where it is longer, and how much is left out between
    them.
    """
    if len(text) <= longest:
        return text
    begin, end = longest * 2 // 3, longest // 3 - 60  # so that it is not cut again
    return (
        f"{text[:begin]}\n... {len(text) - begin - end:,} characters are left out"
        f" ...\n{text[-end:]}"
    )


def storable(text: str) -> str:
    """A text without what UTF-8 cannot hold: escapes stand for it, as in Python."""
    return text.encode("utf-8", "backslashreplace").decode()


def one_line(text: str, longest: int = 500) -> str:
    """A text in one line of a log, whatever breaks or control characters are in it."""
    line = " ".join(text[: 4 * longest].split())
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in line[:longest])


def counted(number: int, noun: str) -> str:
    """How many of something: "1 job", "2 jobs"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def shown(value: object, longest: int = 100) -> str:
    """What was given, for a message, whatever it is: an integer may have too many digits to be
    written.
    """
    try:
        return f"{value!r:.{longest}}"
    except Exception:
        return f"a value of type {type(value).__name__} that cannot be shown"


def in_ascii(json: str) -> str:
    """JSON in which Python's escapes, as text, stand for what is not ASCII."""
    return NOT_ASCII.sub(
        lambda found: "\\" + found[0].encode("ascii", "backslashreplace").decode(), json
    )
