"""The core's own behaviour, as plugins over the same hooks as everyone's; they are asked last."""

from collections.abc import Callable

from soniq.defaults.backoff import BackoffPlugin
from soniq.defaults.connections import ConnectionsPlugin
from soniq.defaults.dedup import DedupPlugin
from soniq.defaults.injection import InjectionPlugin
from soniq.defaults.json import JsonPlugin
from soniq.defaults.masking import MaskingPlugin
from soniq.defaults.results import RowResultsPlugin
from soniq.hooks.hooks import Hooks
from soniq.postgres.database import Database


def default_plugins(database: Callable[[], Database], hooks: Hooks) -> list[object]:
    """The default plugins for one app; `database` is that of the app, once it has started, and
    `hooks` has its plugins.
    """
    return [
        JsonPlugin(), ConnectionsPlugin(), DedupPlugin(), BackoffPlugin(), RowResultsPlugin(),
        MaskingPlugin(), InjectionPlugin(database, hooks),
    ]  # fmt: skip
