"""`soniq cancel`: cancel jobs."""

from collections.abc import Sequence

import click

from soniq.app import Soniq
from soniq.cli.options import EXIT_CODES, job_ids, json_option, takes_app, use
from soniq.cli.output import Done, tell


@click.command(epilog=EXIT_CODES)
@takes_app
@click.argument("job_ids", callback=job_ids, metavar="ID...", nargs=-1, required=True)
@click.option("--reason", help="Kept with the job, where it had not started.")
@json_option
def cancel(app: Soniq, job_ids: Sequence[str], reason: str | None, as_json_: bool) -> None:
    """Cancel jobs that wait or run.

    A job that runs is cancelled when its worker says so, which may be a moment later. One that is finished stays as
    it is: exit code 3, and the others are cancelled.
    """
    tell(use(app, lambda: _cancel(app, job_ids, reason)), as_json_)


async def _cancel(app: Soniq, job_ids: Sequence[str], reason: str | None) -> list[Done]:
    done = []
    for job_id in job_ids:
        cancelled = await app.cancel(job_id, reason)
        job = await app.get_job_status(job_id, result=False)
        status = job["status"] if job else None
        if not cancelled:
            error = f"job {job_id} is {status}, and cannot be cancelled" if status else f"no job has the id {job_id}"
            done.append(Done(job_id, False, status, error))
        else:
            done.append(Done(job_id, True, status))
    return done
