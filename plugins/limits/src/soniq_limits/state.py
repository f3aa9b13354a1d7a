"""How a limit stands."""

import msgspec


class LimitState(msgspec.Struct, frozen=True, kw_only=True):
    """A limit as it is in the database."""

    name: str
    n: int
    """How many jobs of one key run at once, now."""
    declared: int
    """What the code said last."""
    keys: int
    """How many keys have jobs that run or wait."""
    running: int
    """Slots that are taken: by jobs that run, or are about to."""
    waiting: int
    """Jobs that wait for a slot, or to be due."""
