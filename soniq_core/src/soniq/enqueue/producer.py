"""One call of enqueue, from the arguments to the row: bind, around_enqueue, dedup_key, serialize,
insert.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import msgspec

from soniq.checks import check_headers, check_text
from soniq.enqueue import headers
from soniq.enqueue.adapting import as_transaction
from soniq.enqueue.copying import YIELD_EVERY
from soniq.enqueue.naming import Target, bind, check_call, name_of, refuse_ambiguous
from soniq.enqueue.new_jobs import NewJobs
from soniq.enqueue.outbox import Outbox
from soniq.enqueue.untyped import check_untyped
from soniq.errors import (
    InvalidArguments,
    InvalidOption,
    PayloadTooLarge,
    PluginError,
    SerializationError,
)
from soniq.hooks.dispatch import Exit, FirstResult, Manager, leave
from soniq.hooks.hooks import Hooks
from soniq.hooks.values import EnqueueBatch, Serializer, bound
from soniq.ids import IdFactory, JobId
from soniq.job.job import INCLUDE, App, Call, Job
from soniq.job.new import NewJob
from soniq.job.options import OPTION_NAMES, EffectiveOptions, EnqueueOptions, enqueue_options
from soniq.registry import CompiledJob, Registry
from soniq.settings import Settings
from soniq.transaction import TransactionConnection
from soniq.unique import NO_DEDUP, Dedup

OWN_KEYS = "dedup"
"""The plugin whose keys are those of `unique=`, and of nothing else."""

MANY = 1_000
"""Jobs of one call from which they are made while the first of them are written already."""


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
        self._without_options: dict[str, NewJobs] = {}
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
        if OPTION_NAMES.isdisjoint(keywords):  # as nearly always
            return await self._call(name, job, args, keywords, {}, later)

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
        options = enqueue_options(given)
        if options.args is not None and (args or arguments):
            raise InvalidArguments(
                f"{name}: give the arguments in args= or directly, not both", job=name
            )

        named = bind(name, job, args, options.args if options.args is not None else arguments)
        new = self._new_jobs(name, job, given, options).of(self._new_id(), named)
        if later is not None and options.connection is not None:
            raise InvalidOption(
                "a child belongs to the transaction of its parent; leave connection= out",
                option="connection",
            )

        await self._enqueue([new], options, bulk=False, later=later)
        return new.id

    def _new_jobs(
        self,
        name: str,
        job: CompiledJob | None,
        given: Mapping[str, object],
        options: EnqueueOptions,
    ) -> NewJobs:
        """What makes the jobs of a call; the same one for all calls of a job without options."""
        if given or job is None:
            return NewJobs(name, job, given, options, self._defaults)
        if name not in self._without_options:
            self._without_options[name] = NewJobs(name, job, given, options, self._defaults)
        return self._without_options[name]

    async def enqueue_many(
        self, target: Target, many: Sequence[Mapping[str, object]], keywords: Mapping[str, object]
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

        options = enqueue_options(keywords)
        jobs = self._new_jobs(name, job, keywords, options)
        if len(many) >= MANY and self._is_plain(job, jobs, options):
            ids: list[JobId] = []
            made = self._made(name, job, jobs, many, ids)
            await self._outbox.insert_as_made(made, jobs.lane, notify=options.notify)
            return ids

        new = []
        for arguments in many:
            new.append(jobs.of(self._new_id(), bind(name, job, (), arguments)))
            if len(new) % YIELD_EVERY == 0:
                await asyncio.sleep(0)

        if new:
            await self._enqueue(new, options, bulk=True)
        return [each.id for each in new]

    def _is_plain(self, job: CompiledJob | None, jobs: NewJobs, options: EnqueueOptions) -> bool:
        """Whether the jobs of a call may be written while they are made: nobody sees them first."""
        keys = job.dedup_key if job is not None else self._dedup_key
        asked = any(plugin != OWN_KEYS for plugin, _ in keys.calls)
        seen = self._around or asked or options.connection is not None or self._outbox.enqueue_tx
        return jobs.plain and not seen and self._outbox.spares_connection

    def _made(
        self,
        name: str,
        job: CompiledJob | None,
        jobs: NewJobs,
        many: Sequence[Mapping[str, object]],
        ids: list[JobId],
    ) -> Iterator[NewJob]:
        """The jobs of a call, each made when its turn comes, and its id added to `ids`."""
        for arguments in many:
            new = jobs.of(self._new_id(), bind(name, job, (), arguments))
            self._finish(job, new)
            ids.append(new.id)
            yield new

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
            jobs = self._new_jobs(name, job, each.options, own)
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
        """Insert jobs, or add them to `later`, ready to be inserted."""
        await self._prepare(jobs)
        if later is not None:
            later += jobs
        else:
            await self._outbox.insert(jobs, options.connection, notify=options.notify, atomic=bulk)

    async def _prepare(self, jobs: Sequence[NewJob]) -> None:
        """Ask for the dedup keys of jobs, and encode what is stored of them."""
        for number, job in enumerate(jobs, 1):
            if number % YIELD_EVERY == 0:
                await asyncio.sleep(0)
            known = self._registry.get(job.name)
            if job.dedup is None:
                job.dedup = await self._ask_dedup_key(known, job)
            self._finish(known, job)

    def _finish(self, known: CompiledJob | None, job: NewJob) -> None:
        """Set what is stored of a job in an encoded form. Raises for what cannot be."""
        job.payload = self._serialize(known, job)
        job.encoded_headers = headers.encoded(job)

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
        return as_transaction(await self._adapt_connection(given), given)

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
            check_untyped(serializer, job, payload)
        return payload
