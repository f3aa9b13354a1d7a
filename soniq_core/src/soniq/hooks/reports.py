"""What plugins add to what a command shows: fields of their own, under their names."""

import inspect
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from soniq.hooks.dispatch import cancels_task, within_limit
from soniq.hooks.hooks import Hooks
from soniq.secret import Secret
from soniq.tracebacks import shown


class Report(msgspec.Struct, frozen=True):
    """What the plugins say, by their names, and what went wrong in those that say nothing."""

    plugins: dict[str, dict[str, Any]]
    warnings: list[str]


async def report(hooks: Hooks, hook: str, limit: float, *values: object) -> Report:
    """Ask the plugins, each within `limit` seconds where it waits. What fails is a warning."""
    found = Report({}, [])
    for each in hooks.implementations(hook):
        try:
            fields = each.call(*values)
            if inspect.isawaitable(fields):
                fields = await within_limit(fields, limit)
            if fields:
                found.plugins[each.plugin] = _plain(fields)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            if cancels_task(error):
                raise
            found.warnings.append(f"{hook} of {each.plugin} failed: {shown(error)}")
    return found


def _plain(fields: object) -> dict[str, Any]:
    """Fields as JSON knows them, times as they are. Raises `TypeError` for what are no fields."""
    if not isinstance(fields, Mapping) or not all(isinstance(name, str) for name in fields):
        raise TypeError(f"it returned {fields!r}; fields are a mapping by name")
    plain: dict[str, Any] = msgspec.to_builtins(
        dict(fields), builtin_types=(datetime,), str_keys=True, enc_hook=_text
    )
    return plain


def _text(value: object) -> str:
    return repr(value) if isinstance(value, Secret) else str(value)
