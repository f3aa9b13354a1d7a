"""What an author of plugins needs beside `soniq`: the values that hooks take and return, what an
app is to its plugins, and what tools use to look at them.

The command line is loaded by what needs it alone: an app with plugins has no use for it.
"""

from collections.abc import Collection
from importlib import import_module
from typing import TYPE_CHECKING, Any

from soniq.app import Soniq
from soniq.hooks.definition import JobDefinition
from soniq.hooks.hooks import Hooks, LoadedPlugin
from soniq.hooks.implementation import Implementation
from soniq.hooks.markers import hookimpl
from soniq.hooks.own import hookspec
from soniq.hooks.specs import CONTRACT_VERSION
from soniq.hooks.values import (
    Action,
    ActionKind,
    BindingSerializer,
    EnqueueBatch,
    ForgottenJob,
    Holds,
    IncomingJob,
    Migration,
    OwedEvent,
    OwedKind,
    Payload,
    Presentable,
    ResultStore,
    Serializer,
    StreamingResultStore,
    Task,
)
from soniq.job.context import Stash, StashKey
from soniq.job.job import App
from soniq.job.new import NewJob
from soniq.job.outcome import Outcome, OutcomeKind, OutcomeStatus
from soniq.job.signature import PROVIDED
from soniq.memory import resident_memory
from soniq.postgres.driver_errors import is_lost
from soniq.secret import Secret
from soniq.status import WorkerStatus
from soniq.transaction import TransactionConnection
from soniq.unique import NO_DEDUP, Dedup

if TYPE_CHECKING:
    from soniq.cli.options import ListByDefault, duration, iso_time, json_option, takes_app, use
    from soniq.cli.output import NotFound, as_json, plain, table

__all__ = [
    "CONTRACT_VERSION",
    "NO_DEDUP",
    "PROVIDED",
    "Action",
    "ActionKind",
    "App",
    "BindingSerializer",
    "Dedup",
    "EnqueueBatch",
    "ForgottenJob",
    "Holds",
    "Hooks",
    "Implementation",
    "IncomingJob",
    "JobDefinition",
    "ListByDefault",
    "LoadedPlugin",
    "Migration",
    "NewJob",
    "NotFound",
    "Outcome",
    "OutcomeKind",
    "OutcomeStatus",
    "OwedEvent",
    "OwedKind",
    "Payload",
    "Presentable",
    "ResultStore",
    "Secret",
    "Serializer",
    "Stash",
    "StashKey",
    "StreamingResultStore",
    "Task",
    "TransactionConnection",
    "WorkerStatus",
    "as_json",
    "duration",
    "hookimpl",
    "hookspec",
    "is_lost",
    "iso_time",
    "json_option",
    "load_plugins",
    "plain",
    "presented",
    "resident_memory",
    "table",
    "takes_app",
    "use",
]

OF_COMMANDS = {
    **dict.fromkeys(
        ("ListByDefault", "duration", "iso_time", "json_option", "takes_app", "use"), "options"
    ),
    **dict.fromkeys(("NotFound", "as_json", "plain", "table"), "output"),
}


def load_plugins(app: Soniq, *, leave_out: Collection[str] = ()) -> Hooks:
    """The plugins of an app, loaded and checked afresh, as its start does it, without a database;
    those that are made of a class are made once. Raises `PluginError` or `ConfigurationError`.

    `leave_out`: names of installed plugins that are left out, as SONIQ_PLUGINS may do it.
    """
    return app._load_plugins(leave_out=leave_out)


async def presented(
    app: Soniq,
    job_name: str,
    what: Presentable,
    value: object,
    *,
    serializer: str | None = None,
) -> Any:
    """What operators may be shown of a value of a job: as JSON has it, without what the job's
    `hide`, the hook `present` or the names of keys say is secret; a text that begins with `***`
    where none of it may be shown. For whatever shows jobs to people.

    `value` may also be a function, `def` or `async def`, that reads it: it is not called where the
    serializer of this name says that its values are not to be shown. Its errors go to the caller.
    """
    return await app._present(job_name, what, value, serializer)


if not TYPE_CHECKING:  # which would take any name for one that is there

    def __getattr__(name: str) -> Any:
        """What is for commands, and needs the command line."""
        if name in OF_COMMANDS:
            return getattr(import_module(f"soniq.cli.{OF_COMMANDS[name]}"), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
