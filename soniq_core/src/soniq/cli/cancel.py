"""`soniq cancel`: cancel jobs."""

from collections.abc import Sequence

import click

from soniq.app import Soniq
from soniq.cli.choice import Choice, takes_choice
from soniq.cli.options import EXIT_CODES, json_option, takes_app, use
from soniq.cli.output import Done, as_json, tell
from soniq.cli.person import this_person
from soniq.text import counted


@click.command(epilog=EXIT_CODES)
@takes_app
@takes_choice("queued", "held")
@click.option("--reason", help="Why; kept with the job.")
@json_option
def cancel(app: Soniq, choice: Choice, reason: str | None, as_json_: bool) -> None:
    """Cancel jobs that wait or run.

    A job that runs is cancelled by its worker, which may take a moment. A finished job stays as it
    is: exit code 3, and the others are cancelled. With --all only jobs that wait are cancelled.
    """
    if choice.ids:
        tell(use(app, lambda: _cancel(app, choice.ids, reason)), as_json_)
        return
    count = use(app, lambda: _cancel_all(app, choice, reason))
    said = f"cancelled {counted(count, 'job')}"
    click.echo(as_json({"cancelled": count}) if as_json_ else said)


async def _cancel_all(app: Soniq, choice: Choice, reason: str | None) -> int:
    if not await choice.confirmed(app, "cancel"):
        return 0
    return await app.cancel_all(
        status=choice.status, **choice.filters, reason=reason, by=this_person()
    )


async def _cancel(app: Soniq, job_ids: Sequence[str], reason: str | None) -> list[Done]:
    done = []
    for job_id in job_ids:
        cancelled = await app.cancel(job_id, reason, by=this_person())
        job = await app.get_job_status(job_id, result=False)
        status = job["status"] if job else None

        if cancelled:
            done.append(Done(job_id, True, status))
        elif status:
            error = f"job {job_id} is {status}, and cannot be cancelled"
            done.append(Done(job_id, False, status, error))
        else:
            done.append(Done(job_id, False, None, f"no job has the id {job_id}"))
    return done
