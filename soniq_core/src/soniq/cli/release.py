"""`soniq release`: let held jobs go."""

from collections.abc import Sequence

import click

from soniq.app import Soniq
from soniq.cli.options import EXIT_CODES, job_ids, json_option, takes_app, use
from soniq.cli.output import Done, as_json, tell
from soniq.text import counted


@click.command(epilog=EXIT_CODES)
@takes_app
@click.argument("job_ids", callback=job_ids, metavar="[ID...]", nargs=-1)
@click.option(
    "--held-by",
    metavar="NAME",
    help="Release only this holder's hold. Without IDs: on all jobs that it holds.",
)
@click.option(
    "--forget",
    is_flag=True,
    help="With --held-by, for a plugin that is gone: drop its marks and what it is owed, too.",
)
@json_option
def release(
    app: Soniq, job_ids: Sequence[str], held_by: str | None, forget: bool, as_json_: bool
) -> None:
    """Release held jobs, whichever plugin holds them.

    A job is queued once nobody holds it any more; `soniq inspect` shows its holders. A job that is
    not held stays as it is: exit code 3, and the others are released. The reason for which a plugin
    holds a job, such as a limit, is ignored.
    """
    if forget and (job_ids or held_by is None):
        raise click.UsageError("--forget is for all jobs of a plugin: say --held-by, and no ids")
    if job_ids:
        tell(use(app, lambda: _release(app, job_ids, held_by)), as_json_)
        return
    if held_by is None:
        raise click.UsageError("name the jobs by their ids, or say --held-by")
    count = use(app, lambda: app.release_all(held_by=held_by, forget=forget))
    said = f"released {counted(count, 'job')}"
    click.echo(as_json({"released": count}) if as_json_ else said)


async def _release(app: Soniq, job_ids: Sequence[str], holder: str | None) -> list[Done]:
    done = []
    for job_id in job_ids:
        before = await app.get_job_status(job_id, result=False)
        holders = before["held_by"] if before else []
        if before is None:
            done.append(Done(job_id, False, None, f"no job has the id {job_id}"))
        elif not holders:
            error = f"job {job_id} is {before['status']}, and not held"
            done.append(Done(job_id, False, before["status"], error))
        elif holder is not None and holder not in holders:
            error = f"job {job_id} is not held by {holder}, but by {', '.join(holders)}"
            done.append(Done(job_id, False, before["status"], error))
        else:
            await app.release(job_id, holder=holder)
            after = await app.get_job_status(job_id, result=False)
            done.append(Done(job_id, True, after["status"] if after else None))
    return done
