"""Which jobs a command is about: some, by their ids, or all that match, after a question."""

import contextlib
import functools
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click
import msgspec

from soniq.app import Soniq
from soniq.cli.options import job_ids
from soniq.cli.output import somebody_answers
from soniq.postgres.bulk import MOST

T = TypeVar("T")


class Choice(msgspec.Struct, frozen=True):
    """The jobs that were chosen: by `ids`, or, where there are none, all that match the rest."""

    ids: Sequence[str]
    status: Any
    """One of the statuses that the command's `--status` offers, or None."""
    name: str | None
    queue: str | None
    tag: str | None
    limit: int | None
    yes: bool

    @property
    def filters(self) -> dict[str, Any]:
        """What all that are meant have in common, beside the status; and how many at most."""
        return {"name": self.name, "queue": self.queue, "tag": self.tag, "limit": self.limit}

    async def confirmed(self, app: Soniq, what: str, *, later: bool = False) -> bool:
        """Whether any job matches, and the person at the terminal wants it done.

        A "no" ends the command.
        `later`: of those that are not finished, only those that are due later are meant.
        """
        (row,) = await app._database.fetch(
            "count", self.status, self.name, self.queue, self.tag, later
        )
        count = row["jobs"]
        if count and not self.yes:
            kind = f"{self.status} " if self.status else ""
            jobs = f"{count:,} {kind}{'job' if count == 1 else 'jobs'}"
            if self.limit is not None and self.limit < count:
                jobs = f"the newest {self.limit:,} of {jobs}"
            with contextlib.redirect_stdout(sys.stderr):  # click before 8.4 ends a question there
                click.confirm(f"{what} {jobs}?", abort=True)
        return bool(count)


def takes_choice(
    *statuses: str, any_status: bool = False
) -> Callable[[Callable[..., T]], Callable[..., T]]:
    """Gives a command ids, or --all with what narrows it down, and passes it the choice.

    `any_status`: where none is said it is not the first of `statuses` but any, and something else
    must narrow it down.
    """
    usual = None if any_status else statuses[0]

    def decorate(command: Callable[..., T]) -> Callable[..., T]:
        @click.argument("job_ids", callback=job_ids, metavar="[ID...]", nargs=-1)
        @click.option(
            "--all", "every", is_flag=True, help="All that match, after a count and a question."
        )
        @click.option(
            "--status",
            type=click.Choice(statuses),
            help=f"With --all: their status. Default: {usual or 'any'}.",
        )
        @click.option("--name", help="With --all: only those of the job of this name.")
        @click.option("--queue", help="With --all: only those of this queue.")
        @click.option("--tag", help="With --all: only those that have this tag.")
        @click.option(
            "--limit",
            type=click.IntRange(1, MOST),
            metavar="COUNT",
            help="With --all: the newest, so many at most.",
        )
        @click.option("--yes", is_flag=True, help="With --all: do not ask.")
        @functools.wraps(command)
        def with_choice(
            app: Soniq,
            *,
            job_ids: Sequence[str],
            every: bool,
            status: str | None,
            name: str | None,
            queue: str | None,
            tag: str | None,
            limit: int | None,
            yes: bool,
            **others: Any,
        ) -> T:
            if every == bool(job_ids):
                raise click.UsageError("name the jobs by their ids, or say --all")
            if not every and (status or name or queue or tag or limit or yes):
                raise click.UsageError(
                    "--status, --name, --queue, --tag, --limit and --yes go with --all"
                )

            if every and any_status and not (status or name or queue or tag):
                raise click.UsageError(
                    "--all takes at least one of --status, --name, --queue and --tag here"
                )
            if every and not yes and not somebody_answers():
                raise click.UsageError(
                    "--all asks before anything is done; where no one can answer, add --yes"
                )

            choice = Choice(job_ids, status or usual, name, queue, tag, limit, yes)
            return command(app, choice=choice, **others)

        return with_choice

    return decorate
