"""`soniq delete`: delete jobs with their arguments, errors and results."""

from collections.abc import Sequence

import click

from soniq.app import Soniq
from soniq.cli.choice import Choice, takes_choice
from soniq.cli.options import EXIT_CODES, json_option, takes_app, use
from soniq.cli.output import Done, NotFound, as_json, tell
from soniq.cli.person import this_person
from soniq.errors import JobRunning
from soniq.postgres.bulk import Deleted
from soniq.text import counted


@click.command(epilog=EXIT_CODES)
@takes_app
@takes_choice("queued", "held", "done", "dead", "cancelled", any_status=True)
@json_option
def delete(app: Soniq, choice: Choice, as_json_: bool) -> None:
    """Delete jobs, with their arguments, errors and results.

    A job that waits is cancelled first. A job that runs stays as it is: exit code 3, and the others
    are deleted; cancel it first, and delete it when it has ended. Results in other stores are
    deleted there: name the app with --app if it has plugins that provide such stores.
    """
    if choice.ids:
        tell(use(app, lambda: _delete(app, choice.ids)), as_json_)
        return
    done = use(app, lambda: _delete_all(app, choice))
    count = done["deleted"]
    click.echo(as_json(done) if as_json_ else f"forgot {counted(count, 'job')}")
    for job_id, why in done["left"].items():
        click.echo(f"error: job {job_id} was not deleted: {why}", err=True)
    if done["left"]:
        click.get_current_context().exit(NotFound.exit_code)


async def _delete_all(app: Soniq, choice: Choice) -> Deleted:
    if not await choice.confirmed(app, "forget"):
        return {"deleted": 0, "left": {}}
    return await app.delete_all(status=choice.status, **choice.filters, by=this_person())


async def _delete(app: Soniq, job_ids: Sequence[str]) -> list[Done]:
    done = []
    for job_id in job_ids:
        try:
            deleted = await app.delete(job_id, by=this_person())
            error = None if deleted else f"no job has the id {job_id}"
            done.append(Done(job_id, deleted, "deleted" if deleted else None, error))
        except JobRunning as running:
            done.append(Done(job_id, False, "running", str(running)))
    return done
