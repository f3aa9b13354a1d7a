"""`soniq retry`: queue dead jobs again."""

from collections.abc import Sequence

import click

from soniq.app import Soniq
from soniq.cli.options import EXIT_CODES, job_ids, json_option, takes_app, use
from soniq.cli.output import Done, tell
from soniq.errors import DuplicateJob, JobNotDead, JobNotFound


@click.command(epilog=EXIT_CODES)
@takes_app
@click.argument("job_ids", callback=job_ids, metavar="ID...", nargs=-1, required=True)
@json_option
def retry(app: Soniq, job_ids: Sequence[str], as_json_: bool) -> None:
    """Queue dead jobs again, with all their attempts.

    One that is not dead stays as it is: exit code 3, and the others are queued.
    """
    tell(use(app, lambda: _retry(app, job_ids)), as_json_)


async def _retry(app: Soniq, job_ids: Sequence[str]) -> list[Done]:
    done = []
    for job_id in job_ids:
        try:
            await app.retry(job_id)
            done.append(Done(job_id, True, "queued"))
        except JobNotFound as error:
            done.append(Done(job_id, False, None, str(error)))
        except JobNotDead as error:
            done.append(Done(job_id, False, error.status, str(error)))
        except DuplicateJob as error:
            done.append(Done(job_id, False, "dead", str(error)))
    return done
