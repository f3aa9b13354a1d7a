"""The core's own behaviour, as plugins over the same hooks as everyone's; they are asked last."""

from typing import TYPE_CHECKING

from soniq.defaults.backoff import BackoffPlugin
from soniq.defaults.connections import ConnectionsPlugin
from soniq.defaults.dedup import DedupPlugin
from soniq.defaults.injection import InjectionPlugin
from soniq.defaults.json import JsonPlugin
from soniq.defaults.results import RowResultsPlugin

if TYPE_CHECKING:
    from soniq.app import Soniq


def default_plugins(app: "Soniq") -> list[object]:
    """The default plugins for one app."""
    return [
        JsonPlugin(), ConnectionsPlugin(), DedupPlugin(), BackoffPlugin(), RowResultsPlugin(), InjectionPlugin(app),
    ]  # fmt: skip
