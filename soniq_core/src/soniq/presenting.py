"""What operators are shown of jobs: values as JSON has them, without what is secret."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from soniq.hooks.dispatch import answer, resolved
from soniq.hooks.implementation import Implementation
from soniq.hooks.values import Presentable, Serializer
from soniq.registry import Registry
from soniq.secret import Secret
from soniq.text import one_line

log = logging.getLogger("soniq.hooks")

MASK = "***"
"""What stands in place of what is not shown."""


class Presenter:
    """Says what may be shown, as a job's `hide` and the plugins have it."""

    def __init__(
        self,
        registry: Registry,
        serializers: Mapping[str, Serializer],
        implementations: Sequence[Implementation],
        limit: float,
    ) -> None:
        self._registry = registry
        self._serializers = serializers
        self._implementations = implementations
        self._limit = limit

    async def __call__(
        self, job_name: str, what: Presentable, value: object, serializer: str | None = None
    ) -> Any:
        """What may be shown of a value; `value` may be a function that reads it."""
        written_by = self._serializers.get(serializer) if serializer else None
        if not getattr(written_by, "readable", True):
            return f"{MASK} (what the serializer {serializer!r} has written is not shown)"

        read = await resolved(value()) if callable(value) else value
        if read is None:
            return None
        try:
            shown = _without(_plain(read), self._hidden(job_name))
        except Exception as error:
            return f"{MASK} ({type(error).__name__}: it cannot be shown)"

        for each in self._implementations:
            try:
                found = await answer("present", each, (job_name, what, shown), self._limit)
                if found is not None:
                    return _plain(found)
            except Exception as error:
                # Its message may have the value in it
                log.error(
                    "present of %s failed for the %s of %s with %s, and nothing is shown of it",
                    each.plugin,
                    what,
                    one_line(job_name),
                    type(error.__cause__ or error).__name__,
                )
                return f"{MASK} (present of {each.plugin} failed)"
        return shown

    def _hidden(self, job_name: str) -> Sequence[str]:
        job = self._registry.get(job_name)
        return job.options.hide if job is not None else ()


def _plain(value: object) -> Any:
    """A value as JSON has it; objects that JSON does not know by their public attributes."""
    return msgspec.to_builtins(value, str_keys=True, enc_hook=_attributes)


def _attributes(value: object) -> object:
    if isinstance(value, Secret):
        return MASK
    if isinstance(value, str):
        return str.__str__(value)
    public = {name: each for name, each in _vars(value).items() if not name.startswith("_")}
    return public or str(value)


def _vars(value: object) -> Mapping[str, object]:
    return getattr(value, "__dict__", {})


def _without(value: Any, paths: Sequence[str]) -> Any:
    """A value in which what lies at these paths is masked."""
    for path in paths:
        value = _masked(value, path)
    return value


def _masked(value: Any, path: str) -> Any:
    """A value in which what lies at a path of names is masked, in each element of a list."""
    if isinstance(value, list):
        return [_masked(each, path) for each in value]
    if not isinstance(value, dict):
        return value
    if path in value:
        return {**value, path: MASK}

    name, _, rest = path.partition(".")
    if not rest or name not in value:
        return value
    inner = value[name]
    # What is no object here, such as JSON in a text, may have it inside
    deeper = _masked(inner, rest) if isinstance(inner, dict | list) else MASK
    return {**value, name: deeper}
