"""The jobs of one call of enqueue, with the options that hold for them."""

from collections.abc import Iterable, Mapping

from soniq.ids import JobId
from soniq.job.new import NewJob
from soniq.job.options import EffectiveOptions, EnqueueOptions, check_expiry, extras, for_enqueue
from soniq.registry import CompiledJob
from soniq.unique import dedup_of


class NewJobs:
    """The jobs of one call: what they have in common is decided once.

    `given` are the names of the options in `call` that the caller said; `defaults` hold where the
    app does not know the job.
    """

    __slots__ = ("_dedup", "_extra", "_headers", "_name", "_options", "_types")

    def __init__(
        self,
        name: str,
        job: CompiledJob | None,
        given: Iterable[str],
        call: EnqueueOptions,
        defaults: EffectiveOptions,
    ) -> None:
        self._name = name
        self._types = job.signature.types if job is not None else {}
        options = for_enqueue(given, call, job.options if job is not None else defaults)
        check_expiry(name, call, options.expires)
        self._options = options
        self._extra = extras(call, options)
        if job is not None and job.holders:
            self._extra["held_by"] = job.holders
        if job is not None and job.marks:
            self._extra["marks"] = job.marks
        self._headers = call.headers or {}
        self._dedup = None if call.dedup_key is None else dedup_of(options.unique, call.dedup_key)

    @property
    def plain(self) -> bool:
        """Whether they are not unique, and have none of what few jobs have."""
        return self._dedup is None and not self._options.unique and not self._extra

    @property
    def lane(self) -> tuple[str, int]:
        """Where those that are due come in: queue and priority."""
        return self._options.queue, self._options.priority

    def of(self, id_: str, args: Mapping[str, object]) -> NewJob:
        """The job with this id and these arguments."""
        options = self._options
        return NewJob(
            id=JobId(id_),
            made_id=id_,
            name=self._name,
            args=args,
            queue=options.queue,
            priority=options.priority,
            max_attempts=options.max_attempts,
            keep=options.keep,
            unique=options.unique,
            serializer=options.serializer,
            headers=dict(self._headers),
            dedup=self._dedup,
            extra=dict(self._extra) or None,
            types=self._types,
        )
