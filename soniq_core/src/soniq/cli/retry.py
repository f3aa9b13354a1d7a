"""`soniq retry`: run jobs again."""

from collections.abc import Sequence

import click

from soniq.app import Soniq
from soniq.cli.choice import Choice, takes_choice
from soniq.cli.options import EXIT_CODES, json_option, takes_app, use
from soniq.cli.output import Done, NotFound, as_json, tell
from soniq.errors import DuplicateJob, JobNotFound, JobNotRetryable
from soniq.many import Retried


@click.command(epilog=EXIT_CODES)
@takes_app
@takes_choice("dead", "cancelled", "queued")
@json_option
def retry(app: Soniq, choice: Choice, as_json_: bool) -> None:
    """Run jobs again now.

    Dead and cancelled ones are queued with all their attempts. One that is queued for a later time, as for its next
    attempt, is due now, and nothing else of it changes. One of another status, or whose dedup key another job holds,
    stays as it is: exit code 3, and the others are queued.
    """
    if choice.ids:
        tell(use(app, lambda: _retry(app, choice.ids)), as_json_)
        return
    done = use(app, lambda: _retry_all(app, choice))
    click.echo(as_json(done) if as_json_ else _said(done["queued"], choice.status))
    for job_id, holder in done["left"].items():
        click.echo(
            f"error: job {job_id} stays {choice.status}: {holder} holds its dedup key and is not finished", err=True
        )
    if done["left"]:
        click.get_current_context().exit(NotFound.exit_code)


def _said(count: int, status: str) -> str:
    jobs = f"{count} {'job' if count == 1 else 'jobs'}"
    return f"made {jobs} due now" if status == "queued" else f"queued {jobs} again"


async def _retry_all(app: Soniq, choice: Choice) -> Retried:
    later = choice.status == "queued"
    if not await choice.confirmed(app, "make due now" if later else "queue again", later=later):
        return {"queued": 0, "left": {}}
    return await app.retry_all(status=choice.status, **choice.filters)


async def _retry(app: Soniq, job_ids: Sequence[str]) -> list[Done]:
    done = []
    for job_id in job_ids:
        try:
            await app.retry(job_id)
            done.append(Done(job_id, True, "queued"))
        except JobNotFound as error:
            done.append(Done(job_id, False, None, str(error)))
        except JobNotRetryable as error:
            done.append(Done(job_id, False, error.status, str(error)))
        except DuplicateJob as error:
            job = await app.get_job_status(job_id, result=False)
            done.append(Done(job_id, False, job and job["status"], str(error)))
    return done
