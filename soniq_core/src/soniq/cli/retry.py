"""`soniq retry`: run jobs again."""

from collections.abc import Mapping, Sequence
from typing import Any

import click

from soniq.app import Soniq
from soniq.cli.choice import Choice, takes_choice
from soniq.cli.options import EXIT_CODES, duration, json_option, takes_app, use
from soniq.cli.output import Done, NotFound, as_json, tell
from soniq.cli.person import this_person
from soniq.errors import DuplicateJob, JobNotFound, JobNotRetryable
from soniq.postgres.bulk import Retried
from soniq.text import counted


@click.command(epilog=EXIT_CODES)
@takes_app
@takes_choice("dead", "cancelled", "queued")
@click.option("--to-queue", help="In this queue, instead of its own.")
@click.option("--priority", type=int, help="With this priority.")
@click.option("--max-attempts", type=int, help="With this many attempts.")
@click.option(
    "--timeout",
    callback=duration,
    metavar="DURATION",
    help="With this limit for each attempt: 30s, 15m.",
)
@click.option(
    "--delay",
    callback=duration,
    metavar="DURATION",
    help="Due after this time instead of now: 30s, 15m, 12h.",
)
@json_option
def retry(app: Soniq, choice: Choice, as_json_: bool, to_queue: str | None, **others: Any) -> None:
    """Run jobs again now.

    Dead and cancelled jobs are queued with all their attempts, or held as they were at first. A job
    that is queued for later, as for its next attempt, is due now, and does not change otherwise. A
    job of another status, or whose dedup key another job holds, stays as it is: exit code 3, and
    the others are queued. Options that change a job need its ID, and do not go with --all.
    """
    changes = {"queue": to_queue, **others}
    if choice.ids:
        tell(use(app, lambda: _retry(app, choice.ids, changes)), as_json_)
        return
    if any(change is not None for change in changes.values()):
        raise click.UsageError(
            "--to-queue, --priority, --max-attempts, --timeout and --delay go with ids"
        )
    done = use(app, lambda: _retry_all(app, choice))
    click.echo(as_json(done) if as_json_ else _said(done["queued"], str(choice.status)))
    for job_id, why in done["left"].items():
        click.echo(f"error: job {job_id} is still {choice.status}: {why}", err=True)
    if done["left"]:
        click.get_current_context().exit(NotFound.exit_code)


def _said(count: int, status: str) -> str:
    jobs = f"{counted(count, 'job')}"
    return f"made {jobs} due now" if status == "queued" else f"queued {jobs} again"


async def _retry_all(app: Soniq, choice: Choice) -> Retried:
    later = choice.status == "queued"
    if not await choice.confirmed(app, "make due now" if later else "queue again", later=later):
        return {"queued": 0, "left": {}}
    return await app.retry_all(status=choice.status, **choice.filters, by=this_person())


async def _retry(app: Soniq, job_ids: Sequence[str], changes: Mapping[str, Any]) -> list[Done]:
    done = []
    for job_id in job_ids:
        try:
            await app.retry(job_id, **changes, by=this_person())
            job = await app.get_job_status(job_id, result=False)
            held = job is not None and job["status"] == "held"
            done.append(Done(job_id, True, "held" if held else "queued"))
        except JobNotFound as error:
            done.append(Done(job_id, False, None, str(error)))
        except JobNotRetryable as error:
            done.append(Done(job_id, False, error.status, str(error)))
        except DuplicateJob as error:
            job = await app.get_job_status(job_id, result=False)
            done.append(Done(job_id, False, job and job["status"], str(error)))
    return done
