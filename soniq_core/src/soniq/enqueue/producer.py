"""One call of enqueue, from the arguments to the row: bind, around_enqueue, dedup_key, serialize, insert."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from soniq.definition import CompiledJob, Registry
from soniq.enqueue.options import (
    OPTION_NAMES,
    EnqueueOptions,
    check_expiry,
    check_headers,
    check_text,
    enqueue_options,
)
from soniq.enqueue.outbox import Outbox
from soniq.errors import InvalidArguments, InvalidOption, PayloadTooLarge, PluginError, SerializationError
from soniq.hooks.dispatch import Entered, FirstResult, Manager, leave
from soniq.hooks.manager import Hooks
from soniq.hooks.values import EnqueueBatch, NewJob, Serializer, TransactionConnection
from soniq.ids import IdFactory, JobId
from soniq.job import INCLUDE, Job
from soniq.settings import Settings
from soniq.unique import NO_DEDUP, Dedup, dedup_of

BREATH = 500
"""Jobs of one call that are prepared before the event loop may do something else."""

Target = Job[..., Any] | str


class Producer:
    """Turns calls of enqueue into rows."""

    def __init__(
        self,
        settings: Settings,
        registry: Registry,
        hooks: Hooks,
        serializers: Mapping[str, Serializer],
        outbox: Outbox,
    ) -> None:
        self._settings = settings
        self._registry = registry
        self._serializers = serializers
        self._outbox = outbox
        self._new_id = IdFactory()
        self._around = tuple(Manager(each) for each in hooks.implementations("around_enqueue"))
        self._dedup_key = FirstResult(hooks.implementations("dedup_key"))
        self._adapt_connection = FirstResult(hooks.implementations("adapt_connection"))

    async def enqueue(
        self,
        target: Target,
        args: tuple[object, ...],
        keywords: Mapping[str, object],
        later: list[NewJob] | None = None,
    ) -> JobId:
        """Enqueue one job; its id once it is committed, or is part of the caller's transaction.

        With `later` it is added to that list, ready to be inserted, and is no row yet.
        """
        known = self._registry.get(_name(target))
        given = {key: value for key, value in keywords.items() if key in OPTION_NAMES}
        arguments = {key: value for key, value in keywords.items() if key not in OPTION_NAMES}
        if known is not None:
            _refuse_ambiguous(known, given)
        return await self.call(target, args, arguments, given, later)

    async def call(
        self,
        target: Target,
        args: tuple[object, ...],
        arguments: Mapping[str, object],
        given: Mapping[str, object],
        later: list[NewJob] | None = None,
    ) -> JobId:
        """`enqueue`, with the options apart from the job's arguments."""
        name = _name(target)
        job = self._known(target)
        options = enqueue_options(given)
        if options.args is not None and (args or arguments):
            raise InvalidArguments(f"{name}: give the arguments in args= or directly, not both", job=name)
        bound = _bind(name, job, args, options.args if options.args is not None else arguments)
        new = self._new_job(name, job, bound, options)
        if later is not None and options.connection is not None:
            raise InvalidOption(
                "a child belongs to the transaction of its parent; leave connection= out", option="connection"
            )
        await self._enqueue([new], options, bulk=False, later=later)
        return new.id

    async def enqueue_many(
        self, target: Target, calls: Sequence[Mapping[str, object]], keywords: Mapping[str, object]
    ) -> list[JobId]:
        """Enqueue one job for each mapping of arguments, all or none; their ids, in order."""
        name = _name(target)
        job = self._known(target)
        unknown = sorted(set(keywords) - OPTION_NAMES)
        if unknown or "args" in keywords:
            raise InvalidOption(
                f"enqueue_many takes the arguments of each job in a list; {(unknown or ['args'])[0]}= is no option",
                option=(unknown or ["args"])[0],
            )
        options = enqueue_options(keywords)
        new = []
        for arguments in calls:
            new.append(self._new_job(name, job, _bind(name, job, (), arguments), options))
            if len(new) % BREATH == 0:
                await asyncio.sleep(0)
        if new:
            await self._enqueue(new, options, bulk=True)
        return [each.id for each in new]

    def _known(self, target: Target) -> CompiledJob | None:
        """The job; None where this app need not know it. Raises `UnknownJob`."""
        name = _name(target)
        job = self._registry.get(name)
        if job is None and self._settings.unknown_jobs != "allow":
            raise self._registry.unknown(name, INCLUDE if isinstance(target, Job) else None)
        if job is None:
            check_text("name", name, 500)
        return job

    def _new_job(
        self, name: str, job: CompiledJob | None, args: Mapping[str, object], options: EnqueueOptions
    ) -> NewJob:
        settings = self._settings
        serializer = options.serializer or (job.serializer.name if job else "json")
        tags = options.tags if options.tags is not None else (job.tags if job else ())
        expires = options.expires if options.expires is not None else (job.expires if job else None)
        unique = options.unique if options.unique is not None else (job.unique if job else False)
        check_expiry(name, options, expires)
        extra: dict[str, object] = {}
        if options.delay:
            extra["delay"] = options.delay
        if options.scheduled_at is not None:
            extra["at"] = options.scheduled_at
        if options.timeout is not None:
            extra["timeout"] = options.timeout
        if expires is not None:
            extra["expires_at" if isinstance(expires, datetime) else "expires"] = expires
        if tags:
            extra["tags"] = list(tags)
        return NewJob(
            id=JobId(self._new_id()),
            name=name,
            args=args,
            queue=options.queue or (job.queue if job else "default"),
            priority=options.priority if options.priority is not None else (job.priority if job else 0),
            max_attempts=options.max_attempts or (job.max_attempts if job else settings.max_attempts),
            keep=options.keep if options.keep is not None else (job.keep if job else settings.keep),
            unique=unique,
            serializer=serializer,
            headers=dict(options.headers) if options.headers else {},
            dedup=dedup_of(unique, options.dedup_key) if options.dedup_key is not None else None,
            extra=extra or None,
            types=job.signature.types if job else {},
        )

    async def _enqueue(
        self, jobs: list[NewJob], options: EnqueueOptions, *, bulk: bool, later: list[NewJob] | None = None
    ) -> None:
        if options.connection is not None:
            options = msgspec.structs.replace(options, connection=await self._adapted(options.connection))
        if not self._around:
            await self._insert(jobs, options, bulk=bulk, later=later)
            return
        batch = EnqueueBatch(jobs=jobs, connection=options.connection, bulk=bulk)
        entered: list[Entered] = []
        failure: BaseException | None = None
        try:
            for manager in self._around:
                leaving = await manager.enter(batch)
                if leaving is not None:
                    entered.append(leaving)
            await self._insert(jobs, options, bulk=bulk, later=later)
        except BaseException as error:
            failure = error
        for leaving in reversed(entered):
            try:
                await leave(leaving, failure)
            except BaseException as error:
                failure = error
        if failure is not None:
            raise failure  # also where a hook swallowed it: the caller must not take the jobs for enqueued

    async def _insert(
        self, jobs: list[NewJob], options: EnqueueOptions, *, bulk: bool, later: list[NewJob] | None
    ) -> None:
        for number, job in enumerate(jobs, 1):
            if number % BREATH == 0:
                await asyncio.sleep(0)
            known = self._registry.get(job.name)
            if job.dedup is None:
                job.dedup = await self._ask_dedup_key(known, job)
            job.payload = self._serialize(known, job)
        if later is not None:
            later += jobs
        else:
            await self._outbox.insert(jobs, options.connection, notify=options.notify, atomic=bulk)

    async def _adapted(self, given: object) -> TransactionConnection:
        """What the caller gave as `connection=`, as what jobs can be inserted through."""
        connection = await self._adapt_connection(given)
        if connection is None:
            raise InvalidOption(_not_adapted(type(given)), option="connection")
        if not isinstance(connection, TransactionConnection):
            raise PluginError(
                f"adapt_connection returned {connection!r:.100}; it returns a TransactionConnection or None",
                plugin="adapt_connection",
            )
        return connection

    async def _ask_dedup_key(self, known: CompiledJob | None, job: NewJob) -> Dedup | None:
        chain = known.dedup_key if known else self._dedup_key
        key = await chain(job)
        if key is None or key is NO_DEDUP:
            return None
        if isinstance(key, str):
            key = Dedup(key)
        if not isinstance(key, Dedup):
            raise PluginError(
                f"dedup_key returned {key!r} for {job.name}; it returns a string, a Dedup, NO_DEDUP or None",
                plugin="dedup_key",
            )
        check_text("dedup_key", key.key, 2_000)
        return key

    def _serialize(self, known: CompiledJob | None, job: NewJob) -> bytes:
        """The payload, checked as the worker will read it: encoded, then decoded into the types of the signature."""
        serializer = self._serializers.get(job.serializer)
        if serializer is None:
            names = ", ".join(sorted(self._serializers))
            raise InvalidOption(f"no serializer is named {job.serializer!r}; there are {names}", option="serializer")
        check_headers(job.headers)
        try:
            payload = serializer.dumps(job.args)
        except Exception as error:
            raise SerializationError(
                f"{job.name}: the arguments cannot be serialized ({serializer.name}): {error}", job=job.name
            ) from error
        if len(payload) > self._settings.max_payload:
            raise PayloadTooLarge(job=job.name, what="arguments", size=len(payload), limit=self._settings.max_payload)
        if known is not None:
            try:
                serializer.loads(payload, known.signature.arguments)
            except Exception as error:
                raise known.signature.explain(error, job.args) from error
        return payload


def _name(target: Target) -> str:
    if isinstance(target, Job):
        return target.name
    if isinstance(target, str):
        return target
    raise InvalidArguments(
        f"enqueue takes a job (a function decorated with @app.job()) or a job's name; got {target!r}",
        job=getattr(target, "__name__", repr(target)),
    )


def _bind(
    name: str, job: CompiledJob | None, args: tuple[object, ...], arguments: Mapping[str, object]
) -> dict[str, object]:
    if not isinstance(arguments, Mapping):
        raise InvalidArguments(f"{name}: enqueue_many takes a mapping for each job; got {arguments!r:.100}", job=name)
    if job is not None:
        return job.signature.bind(args, arguments)
    if args:
        raise InvalidArguments(f"{name}: this app does not know its parameters; pass args={{...}} by name", job=name)
    return dict(arguments)


def _not_adapted(kind: type) -> str:
    """Why a connection of this type cannot be used, and what would help."""
    libraries = {each.__module__.partition(".")[0] for each in kind.__mro__}
    if "sqlalchemy" in libraries:
        way = "the plugin soniq-sqlalchemy takes sessions and connections: pip install soniq-sqlalchemy"
    elif "psycopg" in libraries:
        way = "soniq-sqlalchemy takes SQLAlchemy's sessions on psycopg; a plugin's hook adapt_connection can take this"
    else:
        way = "a plugin's hook adapt_connection can take others"
    return f"connection= takes an asyncpg connection, not {kind.__module__}.{kind.__qualname__}; {way}"


def _refuse_ambiguous(job: CompiledJob, given: Mapping[str, object]) -> None:
    """Refuse a keyword that is both a parameter of the job and an option of enqueue."""
    for name in given:
        if name in job.signature.names and name != "args":
            raise InvalidArguments(
                f"{job.name}: {name}= is a parameter of the job and an option of enqueue; "
                f"pass the job's in args={{{name!r}: ...}}",
                job=job.name,
            )
