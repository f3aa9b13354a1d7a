"""Where a worker looks for jobs: a lane for each queue and priority, with a cursor that steps over what was claimed.

The entries of claimed jobs stay in the index until PostgreSQL has cleaned up, which an old transaction can hold up for
hours. A look from the start walks them all; a look from the cursor walks none of them.
"""

import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from uuid import UUID

START = datetime(1970, 1, 1, tzinfo=UTC)
FIRST_ID = UUID(int=0)

LOOK_BACK = timedelta(seconds=2)
"""How far behind the cursor a look begins once a second: for jobs whose transaction committed late."""
GLANCE_BACK = timedelta(milliseconds=50)
"""The same for each look, while there is no backlog."""
MOST = 40
"""The most lanes that one claim looks into."""

_order = attrgetter("priority", "turn")

Arrays = tuple[list[str], list[int], list[datetime], list[UUID]]


class Lane:
    """One queue and priority. `hot` while it may hold jobs; `full` while it gave as many as were asked for.

    `woken`: jobs may have come since it was last asked, too late for that look to see them. `turn`: when it last gave.
    """

    __slots__ = ("full", "hot", "id", "looked_back", "priority", "queue", "time", "turn", "woken")

    def __init__(self, queue: str, priority: int) -> None:
        self.queue = queue
        self.priority = priority
        self.time = START
        self.id = FIRST_ID
        self.hot = True
        self.full = False
        self.woken = False
        self.turn = 0
        self.looked_back = 0.0

    def begin(self, now: float) -> tuple[datetime, UUID]:
        """The place after which the next look begins; `now` is a monotonic time in seconds."""
        if self.time == START:
            return START, FIRST_ID
        if now - self.looked_back > 1.0:
            self.looked_back = now
            return self.time - LOOK_BACK, FIRST_ID
        if self.full:
            return self.time, self.id
        return self.time - GLANCE_BACK, FIRST_ID


class Lanes:
    """All lanes that a worker serves."""

    def __init__(self) -> None:
        self._lanes: dict[tuple[str, int], Lane] = {}
        self._turn = 0
        self._asked: list[Lane] = []
        self._paused: frozenset[str] = frozenset()

    def add(self, lanes: Iterable[tuple[str, int]]) -> None:
        """Learn lanes; those that are new are hot."""
        for key in lanes:
            if key not in self._lanes:
                self._lanes[key] = Lane(*key)

    def pause(self, queues: Iterable[str]) -> frozenset[str]:
        """Look into no lane of these queues, and into all others; which of them were not paused before."""
        before, self._paused = self._paused, frozenset(queues)
        return self._paused - before

    def wake(self, queues: Iterable[str] | None = None) -> bool:
        """Jobs may have come to these queues, or to any. False if one of them is unknown."""
        known = set()
        wanted = None if queues is None else set(queues)
        for lane in self._lanes.values():
            if wanted is None or lane.queue in wanted:
                lane.hot = lane.woken = True
                known.add(lane.queue)
        return wanted is None or wanted <= known

    @property
    def hot(self) -> bool:
        return any(lane.hot for lane in self._lanes.values() if lane.queue not in self._paused)

    def ask(self) -> Arrays:
        """The lanes to look into now: urgent ones first, and of one priority the queue that has waited longest."""
        hot = [lane for lane in self._lanes.values() if lane.hot and lane.queue not in self._paused]
        if len(hot) > 1:
            hot.sort(key=_order)
            del hot[MOST:]
        self._asked = hot
        for lane in hot:
            lane.woken = False
        now = time.monotonic()
        begins = [lane.begin(now) for lane in hot]
        return [x.queue for x in hot], [x.priority for x in hot], [t for t, _ in begins], [i for _, i in begins]

    def answer(self, found: Sequence[tuple[str, int, datetime, UUID]], limit: int) -> None:
        """Note what the last look found: (queue, priority, scheduled_at, id), in the order of the lanes asked."""
        last = {}
        self._turn += 1
        for queue, priority, scheduled_at, id_ in found:
            lane = self._lanes[queue, priority]
            last[lane] = True
            lane.turn = self._turn
            if (scheduled_at, id_) > (lane.time, lane.id):
                lane.time, lane.id = scheduled_at, id_
        filled = len(found) >= limit
        for lane in self._asked:
            if filled and lane in last:
                last.pop(lane)
                if not last:  # the lane that filled the claim; those after it were not looked into
                    lane.full = True
                    return
            lane.hot, lane.full = lane.woken, False

    def rewind(self) -> None:
        """Begin the next look into each lane at its start: dear, and misses nothing that has been committed."""
        for lane in self._lanes.values():
            lane.time, lane.id = START, FIRST_ID

    def passed(self) -> list[tuple[str, int, datetime]]:
        """For each lane with a cursor, the time before which no look begins, so that nothing should be left there."""
        return [(x.queue, x.priority, x.time - LOOK_BACK) for x in self._lanes.values() if x.time != START]
