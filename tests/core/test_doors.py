"""What is public: `soniq` for applications, `soniq.plugin` for authors of plugins, and all errors in
`soniq.errors`.
"""

import inspect

import soniq
from soniq import Soniq, errors, plugin

OF_APPLICATIONS = {
    "PROVIDED", "Backoff", "Call", "Cancel", "Cancelled", "Count", "Deleted", "Facets", "FoundJob", "Job", "JobContext", "JobDetail", "JobError", "JobId",
    "JobStatus", "Jobs", "LaneStatus", "Overview", "Page", "QueueBacklog", "QueueStatus", "Retried", "Retry", "Search", "Settings", "Signal",
    "Snooze", "Soniq", "Unique", "hookimpl",
}  # fmt: skip
ERRORS_OF_CALLS = {
    "ConfigurationError", "DatabaseError", "DatabaseUnavailable", "DuplicateJob",
    "InvalidArguments", "InvalidJobId", "InvalidOption", "JobCancelled", "JobChanged", "JobFailed",
    "JobNotFound", "JobNotRetryable", "JobRunning", "PayloadTooLarge", "SerializationError",
    "SoniqError", "UnknownJob", "WaitTimeout",
}  # fmt: skip
OF_PLUGINS = {
    "Action", "ActionKind", "CONTRACT_VERSION", "NO_DEDUP", "PROVIDED", "App", "BindingSerializer", "Dedup", "EnqueueBatch",
    "ForgottenJob", "Holds", "Hooks", "Implementation", "IncomingJob", "JobDefinition", "LoadedPlugin",
    "Migration", "NewJob", "Outcome", "OutcomeKind", "OutcomeStatus", "OwedEvent", "OwedKind",
    "Payload", "Presentable", "ResultStore", "Secret",
    "Serializer", "Stash", "StashKey", "StreamingResultStore", "Task", "TransactionConnection",
    "WorkerStatus",
    "hookimpl", "hookspec", "is_lost", "load_plugins", "presented", "resident_memory",
}  # fmt: skip
OF_COMMANDS = {
    "ListByDefault", "NotFound", "as_json", "duration", "iso_time", "json_option", "plain", "table",
    "takes_app", "use",
}  # fmt: skip


def test_what_is_public_is_what_was_decided() -> None:
    assert set(soniq.__all__) == OF_APPLICATIONS | ERRORS_OF_CALLS
    assert set(plugin.__all__) == OF_PLUGINS | OF_COMMANDS
    assert {"PROVIDED", "hookimpl"} == OF_APPLICATIONS & OF_PLUGINS  # needed on both sides


def test_every_public_name_is_there() -> None:
    assert all(hasattr(soniq, name) for name in soniq.__all__)
    assert all(hasattr(plugin, name) for name in plugin.__all__)


def test_an_error_is_the_same_wherever_it_is_imported_from() -> None:
    assert all(getattr(soniq, name) is getattr(errors, name) for name in ERRORS_OF_CALLS)


def test_no_error_of_soniqs_is_anywhere_else() -> None:
    kinds = [
        kind
        for kind in vars(errors).values()
        if inspect.isclass(kind) and issubclass(kind, Exception)
    ]
    assert {kind.__module__ for kind in kinds} == {"soniq.errors"}
    assert set(vars(soniq)) & {kind.__name__ for kind in kinds} == ERRORS_OF_CALLS


def test_what_an_app_is_to_a_plugin_is_all_there() -> None:
    promised = {name for name in dir(plugin.App) if not name.startswith("_")}
    assert promised <= {name for name in dir(Soniq(discover=False)) if not name.startswith("_")}
