"""Settlements that wait to be written with the next exchange."""

from collections.abc import Iterator, Sequence

from soniq.worker.settling.settlement import Settlement

STATEMENT_BYTES = 16_000_000
"""What one statement carries, in bytes: PostgreSQL takes a message of 1 GB at most, and some ten
times its memory.
"""

MOST_PENDING_BYTES = 4 * STATEMENT_BYTES
"""Bytes that wait to be written, above which no attempt is started."""


class Pending:
    """Settlements that wait to be written, in order, and how many bytes they hold."""

    __slots__ = ("_settlements", "size")

    def __init__(self) -> None:
        self._settlements: list[Settlement] = []
        self.size = 0

    @property
    def full(self) -> bool:
        """Whether so much waits that no attempt is to be started before some of it is written."""
        return self.size > MOST_PENDING_BYTES

    def add(self, settlement: Settlement) -> None:
        """Let one more wait, behind the others."""
        self._settlements.append(settlement)
        self.size += settlement.size

    def take(self) -> list[Settlement]:
        """Take out the first ones, as many as one statement carries; one at least, if any waits."""
        taken, self._settlements = self._settlements, []
        if self.size > STATEMENT_BYTES:
            size = 0
            for count, each in enumerate(taken):
                size += each.size
                if count and size > STATEMENT_BYTES:
                    taken, self._settlements = taken[:count], taken[count:]
                    break

        self.size = sum(each.size for each in self._settlements)
        return taken

    def put_back(self, settlements: Sequence[Settlement]) -> None:
        """Let some wait again, in front of the others."""
        self._settlements = [*settlements, *self._settlements]
        self.size += sum(each.size for each in settlements)

    def clear(self) -> None:
        """Forget all."""
        self._settlements, self.size = [], 0

    def __iter__(self) -> Iterator[Settlement]:
        return iter(self._settlements)

    def __len__(self) -> int:
        return len(self._settlements)
