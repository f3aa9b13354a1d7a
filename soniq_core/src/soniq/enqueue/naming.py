"""What a call of enqueue names: a job, and its arguments; what cannot be is refused."""

from collections.abc import Mapping
from typing import Any

from soniq.errors import InvalidArguments, InvalidOption
from soniq.job.job import App, Call, Job
from soniq.registry import CompiledJob

Target = Job[..., Any] | str


def check_call(call: object, app: App) -> None:
    """Raise for what `enqueue_all` cannot take."""
    if not isinstance(call, Call):
        raise InvalidArguments(
            f"enqueue_all takes calls, as job.call(...) makes them; got {call!r:.100}",
            job=repr(call)[:100],
        )
    if call.app is not None and call.app is not app:
        raise InvalidOption(
            f"{call.job.name}: using(app=...) names another app than this one", option="app"
        )
    for option in ("connection", "notify"):
        if option in call.options:
            raise InvalidOption(
                f"{option}= is for all jobs of enqueue_all: give it there", option=option
            )


def name_of(target: Target) -> str:
    """The name of a job that is to be enqueued."""
    if isinstance(target, Job):
        return target.name
    if isinstance(target, str):
        return target
    raise InvalidArguments(
        "enqueue takes a job (a function decorated with @app.job()) or a job's name; got"
        f" {target!r}",
        job=getattr(target, "__name__", repr(target)),
    )


def bind(
    name: str, job: CompiledJob | None, args: tuple[object, ...], arguments: Mapping[str, object]
) -> dict[str, object]:
    """The arguments by name, as the job takes them."""
    if type(arguments) is not dict and not isinstance(arguments, Mapping):
        raise InvalidArguments(
            f"{name}: enqueue_many takes a mapping for each job; got {arguments!r:.100}", job=name
        )
    if job is not None:
        return job.signature.bind(args, arguments)
    if args:
        raise InvalidArguments(
            f"{name}: this app does not know its parameters; pass args={{...}} by name", job=name
        )
    return dict(arguments)


def refuse_ambiguous(job: CompiledJob, given: Mapping[str, object]) -> None:
    """Refuse a keyword that is both a parameter of the job and an option of enqueue."""
    for name in given:
        if name in job.signature.names and name != "args":
            raise InvalidArguments(
                f"{job.name}: {name}= is a parameter of the job and an option of enqueue; "
                f"pass the job's in args={{{name!r}: ...}}",
                job=job.name,
            )
