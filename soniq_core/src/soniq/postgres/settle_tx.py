"""The calls of `settle_tx`, wherever jobs are settled: which plugin hears of which outcomes, and
with what.
"""

from collections.abc import Collection, Sequence

import msgspec

from soniq.hooks.in_transaction import InTransaction
from soniq.job.outcome import Outcome
from soniq.postgres.database import Database
from soniq.postgres.holds import Freed, TxHolds
from soniq.postgres.release import NO_CURSORS, Cursors
from soniq.postgres.schema import plugin_function
from soniq.transaction import TransactionConnection


class SettleTx:
    """Tells plugins of outcomes, in the transaction that settles."""

    def __init__(self, database: Database, hook: InTransaction) -> None:
        self._database = database
        self._hook = hook
        schema = database.settings.schema
        self._functions = {
            plugin: (plugin, plugin_function(schema, plugin, function))
            for plugin, function in hook.functions.items()
            if not hook.hears_all
        }

    def __bool__(self) -> bool:
        """Whether a plugin implements it."""
        return bool(self._hook)

    @property
    def hears_all(self) -> bool:
        """Whether a plugin hears of all outcomes, not only of those of jobs that it has marked."""
        return self._hook.hears_all

    def hears(self, plugin: str, outcome: Outcome) -> bool:
        """Whether a plugin here hears of an outcome."""
        return self._hook.hears(plugin, outcome)

    def in_sql(self, outcome: Outcome) -> tuple[str, str] | None:
        """The plugin that alone hears of an outcome, and the function in the database that does
        what it would, if it has one.
        """
        return self._functions.get(outcome.marks[0]) if len(outcome.marks) == 1 else None

    async def __call__(
        self,
        tx: TransactionConnection,
        told: Sequence[tuple[Outcome, Collection[str]]],
        cursors: Cursors = NO_CURSORS,
    ) -> Freed:
        """Tell the plugins, each outcome with the names of those that do not hear of it; which jobs
        are to be looked for after the commit.

        `cursors`: what the caller's lanes have passed. Raises `PluginError`.
        """
        freed = Freed()
        await self._owe(tx, told, freed)
        await self._hook(
            tx, told, lambda plugin: (TxHolds(self._database, tx, plugin, cursors, freed),)
        )
        return freed

    async def _owe(
        self,
        tx: TransactionConnection,
        told: Sequence[tuple[Outcome, Collection[str]]],
        freed: Freed,
    ) -> None:
        """Keep outcomes for plugins that must hear of them and cannot here: they are not loaded in
        this process, or have refused too often.
        """
        owed = [
            (plugin, outcome)
            for outcome, without in told
            for plugin in outcome.marks
            if plugin in without or plugin not in self._hook.plugins
        ]
        if not owed:
            return

        freed.owes = True
        await tx.execute(
            self._database.sql["owe"],
            [plugin for plugin, _ in owed],
            [outcome.job_id for _, outcome in owed],
            ["settled"] * len(owed),
            [_stored(outcome) for _, outcome in owed],
        )


def _stored(outcome: Outcome) -> str:
    """An outcome as JSON, without its result, which may be large."""
    kept = msgspec.structs.replace(outcome, result_reference=None)
    return msgspec.json.encode(kept.to_dict()).decode()
