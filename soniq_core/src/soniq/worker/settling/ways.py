"""Which way the settlements of an exchange are written, and which error leads to which way."""

import time
from collections.abc import Callable, Sequence
from enum import Enum, auto
from typing import TYPE_CHECKING, NamedTuple

import asyncpg

from soniq.errors import DatabaseError, PluginError
from soniq.postgres.away import causes
from soniq.postgres.driver_errors import CONNECTION_ERRORS, LOCK_ERRORS, RETRYABLE_ERRORS
from soniq.worker.settling.settlement import Settlement

if TYPE_CHECKING:
    from soniq.postgres.connections import Connection

LOSSES = 4
"""How often a statement may lose a connection that had just answered, or be ended, before that is
put down to one of its settlements.
"""

FIRST_PAUSE, LONGEST_PAUSE = 0.05, 5.0
"""Seconds before the same way is tried again; twice as many each time."""


class Way(Enum):
    """How settlements are written."""

    PLAIN = auto()
    """All in one statement, with the claim."""
    AROUND_LOCKS = auto()
    """All but those whose rows another session has locked, which are left for the next exchange."""
    AROUND_KEYS = auto()
    """First those with children, one by one, up to one whose dedup key a transaction holds; then
    the rest around locks.
    """
    ASIDE = auto()
    """All but those that a plugin hears of, which go one by one after the claim."""
    ONE_BY_ONE = auto()
    """Each in an exchange of its own: one of them ends each connection."""
    HALVED = auto()
    """Each half in an exchange of its own, down to the one that is refused."""
    NOT_AT_ALL = auto()
    """The error goes to the caller."""


class Failure(Enum):
    """What kind of error ended a try."""

    LOCK = auto()
    """A lock timeout, or a deadlock."""
    INTERRUPTED = auto()
    """A serialization failure, or a statement that an administrator cancelled."""
    LOST = auto()
    """The connection was lost, or there is none."""
    IN_THE_WAY = auto()
    """The `settle_tx` of a plugin met what somebody else has locked: that is no refusal."""
    REFUSED = auto()
    """PostgreSQL, or the `settle_tx` of a plugin, does not take what was to be written."""


FAILURES: tuple[tuple[tuple[type[Exception], ...], Failure], ...] = (
    ((asyncpg.DeadlockDetectedError, asyncpg.LockNotAvailableError), Failure.LOCK),
    ((asyncpg.SerializationError, asyncpg.QueryCanceledError), Failure.INTERRUPTED),
    ((*CONNECTION_ERRORS, DatabaseError), Failure.LOST),
    ((asyncpg.PostgresError, PluginError), Failure.REFUSED),
)
"""The kinds of error, the narrower ones first."""

ERRORS = tuple(error for errors, _ in FAILURES for error in errors)


def is_in_the_way(error: BaseException) -> bool:
    """Whether a plugin's statement met a lock, a deadlock or a serialization failure."""
    return isinstance(error, PluginError) and any(
        isinstance(each, LOCK_ERRORS) for each in causes(error)
    )


class ExchangeState:
    """An exchange under way: which way it goes now, and what it has met so far."""

    def __init__(
        self,
        settlements: Sequence[Settlement],
        way: Way,
        patience: float,
        *,
        in_sql: bool = True,
    ) -> None:
        # Each claim once, whatever happened before: the statement would write it twice, and fail.
        once = {(each.id, each.claim): each for each in settlements if not each.written}.values()
        self.settlements = [each for each in once if not each.aside]
        self.aside = [each for each in once if each.aside]
        self.way = way
        self.in_sql = in_sql
        """Whether plugins are told by their functions in the database."""
        self.pause = FIRST_PAUSE

        self._losses = 0
        self._passing = False
        self._connection: Connection | None = None
        self._unavailable = False
        self._waits_until = time.monotonic() + patience

    def met(
        self, error: Exception, connection: "Connection | None", *, unavailable: bool
    ) -> tuple[Failure, Way | None]:
        """Note an error; its kind, and the way that follows: None is the same way after a pause.

        `connection`: the one on which it was met, None where there was none. `unavailable`: whether
        the worker has no time for a database that is away.
        """
        self._connection, self._unavailable = connection, unavailable
        self._passing = isinstance(error.__cause__, RETRYABLE_ERRORS)
        failure = next(kind for errors, kind in FAILURES if isinstance(error, errors))
        if failure is Failure.REFUSED and is_in_the_way(error):
            failure = Failure.IN_THE_WAY
        if failure is Failure.INTERRUPTED or (
            failure is Failure.LOST
            and connection is not None
            and isinstance(error, CONNECTION_ERRORS)
        ):
            self._losses += 1

        return failure, next(
            rule.way for rule in RULES if rule.failure is failure and rule.where(self)
        )

    # --- what the rules ask ----------------------------------------------------------------------

    def is_plain(self) -> bool:
        """Whether it waits for the locks of others, as it does at first."""
        return self.way is Way.PLAIN

    def may_meet_held_keys(self) -> bool:
        """Whether children are inserted together, of whose dedup keys one may be held."""
        return self.way is not Way.AROUND_KEYS and any(each.children for each in self.settlements)

    def may_hold_the_cause(self) -> bool:
        """Whether so much was lost that one of the settlements may be what ends a connection."""
        return self._losses >= LOSSES and bool(self.settlements)

    def is_not_worth_waiting(self) -> bool:
        """Whether the worker has no time for a database that is away."""
        return self._unavailable

    def only_claims(self) -> bool:
        """Whether there is nothing to settle."""
        return not self.settlements

    def has_no_connection(self) -> bool:
        """Whether the connection was closed, because it did not answer to the rollback either."""
        return self._connection is not None and self._connection.is_closed()

    def may_pass(self) -> bool:
        """Whether a plugin met what it may not meet again, and there is still time to try."""
        return self._passing and time.monotonic() < self._waits_until

    def always(self) -> bool:
        """In any other case."""
        return True


class Rule(NamedTuple):
    """Which way follows from an error."""

    failure: Failure
    where: Callable[[ExchangeState], bool]
    way: Way | None
    """None: the same way again, after a pause."""


RULES = (
    Rule(Failure.LOCK, ExchangeState.is_plain, Way.AROUND_LOCKS),
    Rule(Failure.LOCK, ExchangeState.may_meet_held_keys, Way.AROUND_KEYS),
    Rule(Failure.LOCK, ExchangeState.always, None),
    Rule(Failure.INTERRUPTED, ExchangeState.may_hold_the_cause, Way.ONE_BY_ONE),
    Rule(Failure.INTERRUPTED, ExchangeState.always, None),
    Rule(Failure.LOST, ExchangeState.is_not_worth_waiting, Way.NOT_AT_ALL),
    Rule(Failure.LOST, ExchangeState.may_hold_the_cause, Way.ONE_BY_ONE),
    Rule(Failure.LOST, ExchangeState.always, None),
    Rule(Failure.IN_THE_WAY, ExchangeState.always, Way.ASIDE),
    Rule(Failure.REFUSED, ExchangeState.only_claims, Way.NOT_AT_ALL),
    Rule(Failure.REFUSED, ExchangeState.has_no_connection, None),
    Rule(Failure.REFUSED, ExchangeState.may_pass, None),
    Rule(Failure.REFUSED, ExchangeState.always, Way.HALVED),
)
"""The first rule that applies counts."""
