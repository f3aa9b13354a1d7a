"""What commands print: tables for people, JSON for scripts, errors."""

import io
import os
import sys
import traceback
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import IO, Any
from uuid import UUID

import click
import msgspec

from soniq.status import Count


class Failure(click.ClickException):
    """Ends a command with a message and exit code 1."""

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(f"error: {clean(self.message)}", file=file or sys.stderr)


class NotFound(Failure):
    """Ends a command with exit code 3: there is no such job, or it is in no state for this."""

    exit_code = 3


def warn(message: str) -> None:
    """Print a warning to stderr."""
    click.echo(f"warning: {clean(message)}", err=True)


def somebody_answers() -> bool:
    """Whether stdin leads to a terminal; it may be closed, as in a service."""
    return sys.stdin is not None and sys.stdin.isatty()


def write_all_characters() -> None:
    """Let what stdout cannot encode, in a locale that is not UTF-8, be written with escapes."""
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")


def is_of_output(error: OSError) -> bool:
    """Whether it means that stdout cannot be written, as to a disk that is full. What is left to be
    written is dropped then: Python would try again, and complain, when the process ends.
    """
    frames = [frame.f_code for frame, _ in traceback.walk_tb(error.__traceback__)]
    try:
        sys.stdout.flush()
        return frames[-1] is click.echo.__code__
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True


def as_json(value: object) -> str:
    """A value as one JSON document; what JSON does not know is shown as a string."""
    return msgspec.json.format(msgspec.json.encode(value, enc_hook=str), indent=2).decode()


def plain(value: object) -> str:
    """A value in one line."""
    if value is None or value == []:
        return "-"
    if isinstance(value, Count):
        return f"{value.value}{'' if value.exact else '+'}"
    if isinstance(value, datetime):
        return value.astimezone().isoformat(" ", "seconds")
    if isinstance(value, str | UUID):
        return clean(str(value))
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return clean(", ".join(value))
    return clean(msgspec.json.encode(value, enc_hook=str).decode())


def sections(plugins: Mapping[str, Mapping[str, object]]) -> str:
    """What plugins say: the fields of each below its name."""
    parts = []
    for plugin, fields in plugins.items():
        width = max(map(len, fields))
        lines = [f"  {name:{width}}  {_indented(plain(value))}" for name, value in fields.items()]
        parts.append("\n".join([plugin, *lines]))
    return clean("\n\n".join(parts))


def _indented(text: str) -> str:
    return text.replace("\n", "\n    ")


def clean(text: str) -> str:
    """Text without what moves a terminal's cursor or changes its colours."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else "\n" if c == "\n" else ascii(c)[1:-1] for c in text)


def one_line(text: str, longest: int) -> str:
    """The beginning of a text, in one line."""
    text = " ".join(text.split())
    return text if len(text) <= longest else f"{text[: longest - 3]}..."


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Rows under a head, in columns; those that hold only numbers are set to the right."""
    rows = list(rows)
    right = [
        bool(rows) and all(isinstance(row[i], int | Count) for row in rows)
        for i in range(len(head))
    ]
    lines = [
        [name.upper() for name in head],
        *([plain(value).replace("\n", " ") for value in row] for row in rows),
    ]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]

    return "\n".join(
        "  ".join(
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(line, widths, right, strict=True)
        ).rstrip()
        for line in lines
    )


class Done(msgspec.Struct, frozen=True):
    """What became of one of the jobs that a command was given."""

    job_id: str
    ok: bool
    status: str | None
    """The job's status now; None where it does not exist."""
    error: str | None = None


def tell(done: Sequence[Done], json: bool) -> None:
    """Say what became of each job; exit code 3 unless all went well."""
    if json:
        click.echo(as_json(done))
    for each in done:
        if each.error:
            click.echo(f"error: {each.error}", err=True)
        elif not json:
            status = "is asked to end" if each.status == "running" else each.status
            click.echo(f"{each.job_id}  {status}")
    if not all(each.ok for each in done):
        click.get_current_context().exit(NotFound.exit_code)
