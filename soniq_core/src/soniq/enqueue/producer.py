"""One call of enqueue, from the arguments to the row: bind, around_enqueue, dedup_key, serialize,
insert.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from soniq.checks import check_headers, check_text
from soniq.enqueue import headers
from soniq.enqueue.naming import Target, bind, check_call, name_of, refuse_ambiguous
from soniq.enqueue.new_jobs import NewJobs
from soniq.enqueue.outbox import Outbox
from soniq.errors import (
    InvalidArguments,
    InvalidOption,
    PayloadTooLarge,
    PluginError,
    SerializationError,
)
from soniq.faithful import difference
from soniq.hooks.dispatch import Exit, FirstResult, Manager, leave
from soniq.hooks.hooks import Hooks
from soniq.hooks.values import EnqueueBatch, Serializer, bound
from soniq.ids import IdFactory, JobId
from soniq.job.job import INCLUDE, App, Call, Job
from soniq.job.new import NewJob
from soniq.job.options import (
    OPTION_NAMES,
    EffectiveOptions,
    EnqueueOptions,
    enqueue_options,
)
from soniq.registry import CompiledJob, Registry
from soniq.settings import Settings
from soniq.transaction import TransactionConnection
from soniq.unique import NO_DEDUP, Dedup

YIELD_EVERY = 500
"""Jobs of one call that are prepared before the event loop may do something else."""


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
        self._defaults = EffectiveOptions(max_attempts=settings.max_attempts, keep=settings.keep)
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
        name, job = self._found(target)
        given = {key: value for key, value in keywords.items() if key in OPTION_NAMES}
        arguments = {key: value for key, value in keywords.items() if key not in OPTION_NAMES}
        if job is not None:
            refuse_ambiguous(job, given)

        return await self._call(name, job, args, arguments, given, later)

    async def call(
        self,
        target: Target,
        args: tuple[object, ...],
        arguments: Mapping[str, object],
        given: Mapping[str, object],
    ) -> JobId:
        """`enqueue`, with the options apart from the job's arguments."""
        name, job = self._found(target)
        return await self._call(name, job, args, arguments, given)

    async def _call(
        self,
        name: str,
        job: CompiledJob | None,
        args: tuple[object, ...],
        arguments: Mapping[str, object],
        given: Mapping[str, object],
        later: list[NewJob] | None = None,
    ) -> JobId:
        call = enqueue_options(given)
        if call.args is not None and (args or arguments):
            raise InvalidArguments(
                f"{name}: give the arguments in args= or directly, not both", job=name
            )

        named = bind(name, job, args, call.args if call.args is not None else arguments)
        new = NewJobs(name, job, given, call, self._defaults).of(self._new_id(), named)
        if later is not None and call.connection is not None:
            raise InvalidOption(
                "a child belongs to the transaction of its parent; leave connection= out",
                option="connection",
            )

        await self._enqueue([new], call, bulk=False, later=later)
        return new.id

    async def enqueue_many(
        self, target: Target, calls: Sequence[Mapping[str, object]], keywords: Mapping[str, object]
    ) -> list[JobId]:
        """Enqueue one job for each mapping of arguments, all or none; their ids, in order."""
        name, job = self._found(target)
        unknown = sorted(set(keywords) - OPTION_NAMES)
        if unknown or "args" in keywords:
            raise InvalidOption(
                "enqueue_many takes the arguments of each job in a list;"
                f" {(unknown or ['args'])[0]}= is no option",
                option=(unknown or ["args"])[0],
            )

        call = enqueue_options(keywords)
        jobs = NewJobs(name, job, keywords, call, self._defaults)
        new = []
        for arguments in calls:
            new.append(jobs.of(self._new_id(), bind(name, job, (), arguments)))
            if len(new) % YIELD_EVERY == 0:
                await asyncio.sleep(0)

        if new:
            await self._enqueue(new, call, bulk=True)
        return [each.id for each in new]

    async def enqueue_all(
        self, calls: Sequence[Call], keywords: Mapping[str, object], app: App
    ) -> list[JobId]:
        """Enqueue one job for each call, all or none; their ids, in order."""
        options, new = enqueue_options(keywords), []
        for each in calls:
            check_call(each, app)
            name, job = self._found(each.job)
            own = enqueue_options(each.options)
            named = bind(name, job, each.args, each.arguments)
            jobs = NewJobs(name, job, each.options, own, self._defaults)
            new.append(jobs.of(self._new_id(), named))
            if len(new) % YIELD_EVERY == 0:
                await asyncio.sleep(0)

        if new:
            await self._enqueue(new, options, bulk=True)
        return [each.id for each in new]

    def dump_arguments(self, target: Target, arguments: Mapping[str, object]) -> bytes:
        """The arguments of a job as its serializer writes them, checked as those of an enqueue."""
        name, job = self._found(target)
        named = bind(name, job, (), arguments)
        given = {key: named[key] for key in arguments}
        new = NewJobs(name, job, {}, EnqueueOptions(), self._defaults).of(self._new_id(), given)
        return self._serialize(job, new, "template")

    def load_arguments(
        self, target: Target, data: bytes, serializer: str | None
    ) -> Mapping[str, object]:
        """Serialized arguments as what the job declares, where this app knows it."""
        name, job = self._found(target)
        reader = self._serializer(
            serializer or (job.options.serializer if job else self._defaults.serializer)
        )
        reader = bound(reader, name, None, "template")

        try:
            given: Mapping[str, object] = reader.loads(data, dict[str, Any])
            if job is None:
                return given
            arguments = reader.loads(data, job.signature.arguments)
            job.signature.check_fields(given)
            return {key: getattr(arguments, key) for key in given}
        except InvalidArguments:
            raise
        except Exception as error:
            raise InvalidArguments(
                f"{name}: these are not its arguments: {error}", job=name
            ) from error

    def _found(self, target: Target) -> tuple[str, CompiledJob | None]:
        """The name of the job, and the job; None where this app need not know it. Raises
        `UnknownJob`.
        """
        name = name_of(target)
        job = self._registry.get(name)
        if job is None and self._settings.unknown_jobs != "allow":
            raise self._registry.unknown(name, INCLUDE if isinstance(target, Job) else None)
        if job is None:
            check_text("name", name, 500)
        return name, job

    async def _enqueue(
        self,
        jobs: list[NewJob],
        options: EnqueueOptions,
        *,
        bulk: bool,
        later: list[NewJob] | None = None,
    ) -> None:
        if options.connection is not None:
            options = msgspec.structs.replace(
                options, connection=await self.adapted(options.connection)
            )
        if not self._around:
            await self._insert(jobs, options, bulk=bulk, later=later)
            return

        batch = EnqueueBatch(jobs=jobs, connection=options.connection, bulk=bulk)
        entered: list[Exit] = []
        given = list(map(id, jobs))
        failure: BaseException | None = None
        try:
            for manager in self._around:
                leaving = await manager.enter(batch)
                if leaving is not None:
                    entered.append(leaving)
                if list(map(id, batch.jobs)) != given:
                    raise PluginError(
                        f"around_enqueue of {manager.plugin} changed which jobs are enqueued; it"
                        " may change their headers, or refuse them all with an error",
                        plugin=manager.plugin,
                    )
            for job in jobs:
                check_headers(job.headers)
            await self._insert(jobs, options, bulk=bulk, later=later)
        except BaseException as error:
            failure = error

        for leaving in reversed(entered):
            try:
                await leave(leaving, failure)
            except BaseException as error:
                failure = error

        try:
            if failure is not None:
                # Also where a hook swallowed it: the caller must not take the jobs for enqueued
                raise failure
        finally:
            del failure  # breaks the cycle: error, traceback, this frame, error

    async def _insert(
        self,
        jobs: list[NewJob],
        options: EnqueueOptions,
        *,
        bulk: bool,
        later: list[NewJob] | None,
    ) -> None:
        for number, job in enumerate(jobs, 1):
            if number % YIELD_EVERY == 0:
                await asyncio.sleep(0)
            known = self._registry.get(job.name)
            if job.dedup is None:
                job.dedup = await self._ask_dedup_key(known, job)
            job.payload = self._serialize(known, job)
            job.encoded_headers = headers.encoded(job)

        if later is not None:
            later += jobs
        else:
            await self._outbox.insert(jobs, options.connection, notify=options.notify, atomic=bulk)

    def _serializer(self, name: str) -> Serializer:
        found = self._serializers.get(name)
        if found is None:
            names = ", ".join(sorted(self._serializers))
            raise InvalidOption(
                f"no serializer is named {name!r}; there are {names}", option="serializer"
            )
        return found

    async def adapted(self, given: object) -> TransactionConnection:
        """What the caller gave as `connection=`, as what statements can be sent through."""
        connection = await self._adapt_connection(given)
        if connection is None:
            raise InvalidOption(_not_adapted(type(given)), option="connection")
        if not isinstance(connection, TransactionConnection):
            raise PluginError(
                f"adapt_connection returned {connection!r:.100}; it returns a TransactionConnection"
                " or None",
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
                f"dedup_key returned {key!r} for {job.name}; it returns a string, a Dedup, NO_DEDUP"
                " or None",
                plugin="dedup_key",
            )
        check_text("dedup_key", key.key, 2_000)
        return key

    def _serialize(
        self,
        known: CompiledJob | None,
        job: NewJob,
        purpose: Literal["arguments", "template"] = "arguments",
    ) -> bytes:
        """The payload, checked as the worker will read it: encoded, then decoded into the types of
        the signature.
        """
        serializer = self._serializer(job.serializer)
        may_replace = job.dedup is not None and job.dedup.on_conflict == "replace"
        of_a_row = purpose == "arguments" and not may_replace
        try:
            serializer = bound(serializer, job.name, job.id if of_a_row else None, purpose)
            payload = serializer.dumps(job.args)
        except Exception as error:
            raise SerializationError(
                f"{job.name}: the arguments cannot be serialized ({job.serializer}): {error}",
                job=job.name,
            ) from error
        if len(payload) > self._settings.max_payload:
            raise PayloadTooLarge(
                job=job.name, what="arguments", size=len(payload), limit=self._settings.max_payload
            )

        if known is not None:
            try:
                arrived = serializer.loads(payload, known.signature.arguments)
            except Exception as error:
                raise known.signature.explain(error, job.args) from error
            known.signature.check_arrival(job.args, arrived)
            if known.signature.has_sets:
                known.signature.check_fields(serializer.loads(payload, Any))
        else:
            self._check_untyped(serializer, job, payload)
        return payload

    def _check_untyped(self, serializer: Serializer, job: NewJob, payload: bytes) -> None:
        """Refuse what would be nothing where another app reads it: JSON has no NaN."""
        found = difference(job.args, serializer.loads(payload, Any), loose=True)
        if found is not None:
            raise InvalidArguments(
                f"{job.name}: the argument {found.place.lstrip('.')!r:.200}: {found.words}",
                job=job.name,
            )


def _not_adapted(kind: type) -> str:
    """Why a connection of this type cannot be used, and what would help."""
    libraries = {each.__module__.partition(".")[0] for each in kind.__mro__}
    if "sqlalchemy" in libraries:
        way = (
            "the plugin soniq-sqlalchemy takes sessions and connections: pip install"
            " soniq-sqlalchemy"
        )
    elif "psycopg" in libraries:
        way = "the plugin soniq-psycopg takes its connections: pip install soniq-psycopg"
    else:
        way = "a plugin's hook adapt_connection can take others"
    return (
        f"connection= takes an asyncpg connection, not {kind.__module__}.{kind.__qualname__}; {way}"
    )
