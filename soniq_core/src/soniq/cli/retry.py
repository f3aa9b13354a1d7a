"""`soniq retry`: queue dead jobs again."""

from collections.abc import Sequence

import click

from soniq.app import Soniq
from soniq.cli.choice import Choice, takes_choice
from soniq.cli.options import EXIT_CODES, json_option, takes_app, use
from soniq.cli.output import Done, NotFound, as_json, tell
from soniq.errors import DuplicateJob, JobNotDead, JobNotFound
from soniq.many import Retried


@click.command(epilog=EXIT_CODES)
@takes_app
@takes_choice("dead")
@json_option
def retry(app: Soniq, choice: Choice, as_json_: bool) -> None:
    """Queue dead jobs again, with all their attempts.

    One that is not dead, or whose dedup key another job holds, stays as it is: exit code 3, and the others are queued.
    """
    if choice.ids:
        tell(use(app, lambda: _retry(app, choice.ids)), as_json_)
        return
    done = use(app, lambda: _retry_all(app, choice))
    count = done["queued"]
    click.echo(as_json(done) if as_json_ else f"queued {count} {'job' if count == 1 else 'jobs'} again")
    for job_id, holder in done["left"].items():
        click.echo(f"error: job {job_id} stays dead: {holder} holds its dedup key and is not finished", err=True)
    if done["left"]:
        click.get_current_context().exit(NotFound.exit_code)


async def _retry_all(app: Soniq, choice: Choice) -> Retried:
    if not await choice.confirmed(app, "queue again"):
        return {"queued": 0, "left": {}}
    return await app.retry_all(**choice.filters)


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
