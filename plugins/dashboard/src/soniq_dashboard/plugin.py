"""The plugin: what is collected, and the command that shows it."""

from typing import TYPE_CHECKING

from soniq.plugin import hookimpl

from .collector import Collector

if TYPE_CHECKING:
    import click


class Dashboard(Collector):
    """What jobs did, minute by minute: `dashboard = eq.plugin(Dashboard)`.

    `keep_1m`, `keep_10m`, `keep_1h`: seconds for which rows of a minute, ten, and an hour are kept
    (two days, eight, and ninety); `interval`: seconds between two writings of a worker (60). Each
    else from SONIQ_DASHBOARD_KEEP_1M and so on. Raises `ConfigurationError`; its methods
    `AppNotStarted` while the app is not in use, `InvalidOption`, and `DatabaseError`.
    """

    @hookimpl
    def register_commands(self, cli: "click.Group") -> None:
        """Add `soniq dashboard` and `soniq top`."""
        from .commands import dashboard  # all that enqueues has no need of them
        from .top.command import top

        cli.add_command(dashboard)
        cli.add_command(top)
