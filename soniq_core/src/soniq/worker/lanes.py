"""Where a worker looks for jobs: a lane for each queue and priority, with a cursor that steps over
what was claimed.

The entries of claimed jobs stay in the index until PostgreSQL has cleaned up, which an old
transaction can hold up for hours. A look from the start walks them all; a look from the cursor
walks none of them.
"""

import time
from bisect import insort
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from heapq import nlargest
from itertools import islice
from uuid import UUID

START = datetime(1970, 1, 1, tzinfo=UTC)
FIRST_ID = UUID(int=0)

LOOK_BACK = timedelta(seconds=2)
"""How far behind the cursor a look begins once a second: for jobs whose transaction committed late.
"""
GLANCE_BACK = timedelta(milliseconds=50)
"""The same for each look, while there is no backlog."""
FARTHEST_BACK = timedelta(minutes=1)
"""How far behind the cursor a look begins at most, where a notification says that jobs came in
there.
"""
LANES_PER_CLAIM, MOST_LANES = 40, 250
"""The most lanes that one claim looks into; and where those give little, twice as many each time,
up to the second.
"""
FORGET_INTERVAL = 60.0
"""Seconds between two looks for lanes to forget."""
FORGET_AFTER = 600.0
"""Seconds without a job or the hope of one after which a worker forgets a lane."""

Arrays = tuple[list[str], list[int], list[datetime], list[UUID]]
"""Lanes as the statement takes them: queues, priorities, and the places after which to look."""

NO_LANES: Arrays = ([], [], [], [])


class Lane:
    """One queue and priority. `hot` while it may hold jobs; `full` while it gave as many as were
    asked for.

    `woken`: jobs may have come since it was last asked, too late for that look to see them. `used`:
    when that was, or when it last gave. `first`: when the first job is due that was seen in the
    index since. `back`: the place from which to look, where jobs came in behind the cursor; `came`:
    how often they did.
    """

    __slots__ = (
        "back",
        "came",
        "first",
        "full",
        "hot",
        "id",
        "looked_back",
        "priority",
        "queue",
        "time",
        "used",
        "woken",
    )

    def __init__(self, queue: str, priority: int) -> None:
        self.queue = queue
        self.priority = priority
        self.time = START
        self.id = FIRST_ID
        self.first: datetime | None = None
        self.back: tuple[datetime, UUID] | None = None
        self.came = 0
        self.hot = False
        self.full = False
        self.woken = False
        self.used = 0.0
        self.looked_back = 0.0

    def begin(self, now: float) -> tuple[datetime, UUID]:
        """The place after which the next look begins; `now` is a monotonic time in seconds."""
        usual = self._usual(now)
        return usual if self.back is None else min(usual, self.back)

    def _usual(self, now: float) -> tuple[datetime, UUID]:
        if self.time == START:
            return START, FIRST_ID
        if now - self.looked_back > 1.0:
            self.looked_back = now
            return self.time - LOOK_BACK, FIRST_ID
        if self.full:
            return self.time, self.id
        return self.time - GLANCE_BACK, FIRST_ID


class Lanes:
    """The lanes that a worker has to do with: those that gave jobs lately, or where there may be
    some.

    The hot ones of each priority are in a row from whose front they are asked; a lane that gave
    goes behind the others.
    """

    def __init__(self) -> None:
        self._lanes: dict[tuple[str, int], Lane] = {}
        self._queues: dict[str, dict[int, Lane]] = {}
        self._hot: dict[int, deque[Lane]] = {}  # by priority, none empty
        self._priorities: list[int] = []  # those of the hot lanes, sorted
        self._asked: list[tuple[Lane, datetime, int]] = []  # began where, and its `came`
        self._most = LANES_PER_CLAIM
        self._paused: frozenset[str] = frozenset()
        self._swept = time.monotonic()
        self.count = 0
        """How many lanes are hot, those of paused queues left out."""

    def add(self, lanes: Iterable[tuple[str, int]]) -> None:
        """Learn lanes; those that are new are hot."""
        self.heat(key for key in lanes if key not in self._lanes)

    def heat(self, lanes: Iterable[tuple[str, int]]) -> None:
        """Jobs may have come to these lanes, known or not."""
        now = time.monotonic()
        for key in lanes:
            lane = self._lanes.get(key)
            if lane is None:
                lane = self._lanes[key] = Lane(*key)
                self._queues.setdefault(lane.queue, {})[lane.priority] = lane
            lane.used = now
            lane.woken = True
            if not lane.hot:
                lane.hot = True
                if lane.queue not in self._paused:
                    self._put(lane)

    def look_from(self, queue: str, priority: int, place: datetime) -> None:
        """Jobs came into a lane at this place, which may be behind its cursor: look from there."""
        self.heat([(queue, priority)])
        lane = self._lanes[queue, priority]
        if lane.time != START:
            place = max(place, lane.time - FARTHEST_BACK)
        back = (place, FIRST_ID)
        lane.back = back if lane.back is None else min(lane.back, back)
        lane.came += 1

    def see(self, lanes: Iterable[tuple[str, int, datetime]]) -> None:
        """A look at the index saw a job that is due in these lanes: (queue, priority, scheduled_at
        of the first).
        """
        for queue, priority, first in lanes:
            self.heat([(queue, priority)])
            self._lanes[queue, priority].first = first

    def pause(self, queues: Iterable[str]) -> frozenset[str]:
        """Look into no lane of these queues, and into all others; which of them were not paused
        before.
        """
        before, self._paused = self._paused, frozenset(queues)
        for queue in self._paused - before:
            for lane in self._queues.get(queue, {}).values():
                if lane.hot:
                    self._take(lane)
        for queue in before - self._paused:
            for lane in self._queues.get(queue, {}).values():
                if lane.hot:
                    self._put(lane)
        return self._paused - before

    def wake(self, queues: Iterable[str] | None = None) -> bool:
        """Jobs may have come to the known lanes of these queues, or of all. False if one of them is
        unknown.
        """
        wanted = self._queues if queues is None else set(queues)
        for queue in wanted:
            self.heat([(queue, priority) for priority in self._queues.get(queue, ())])
        return all(queue in self._queues for queue in wanted)

    @property
    def hot(self) -> bool:
        return bool(self._priorities)

    def ask(self) -> Arrays:
        """The lanes to look into now: urgent ones first, and of one priority the queue that has
        waited longest.
        """
        asked: list[Lane] = []
        for priority in self._priorities:
            asked += islice(self._hot[priority], self._most - len(asked))
            if len(asked) == self._most:
                break
        for lane in asked:
            lane.woken = False

        now = time.monotonic()
        begins = [lane.begin(now) for lane in asked]
        self._asked = [
            (lane, began, lane.came) for lane, (began, _) in zip(asked, begins, strict=True)
        ]
        return (
            [x.queue for x in asked],
            [x.priority for x in asked],
            [t for t, _ in begins],
            [i for _, i in begins],
        )

    def answer(self, found: Sequence[tuple[str, int, datetime, UUID]], limit: int) -> None:
        """Note what the last look found: (queue, priority, scheduled_at, id)."""
        gave = self._advance(found)
        filled = len(found) >= limit
        self._cool(gave, filled)
        self._most = (
            max(LANES_PER_CLAIM, self._most // 2)
            if filled
            else min(MOST_LANES, self._most * 2 if self.hot else LANES_PER_CLAIM)
        )

    def _advance(
        self, found: Sequence[tuple[str, int, datetime, UUID]]
    ) -> dict[Lane, tuple[datetime, UUID]]:
        """Let the cursors step over what was found; the lanes that gave, each with the last
        place.
        """
        # Of each lane the last: a claim returns what it found in this order
        last = {(queue, priority): (time, id_) for queue, priority, time, id_ in found}
        gave = {}
        for name, place in last.items():
            lane = self._lanes[name]
            gave[lane] = place
            if place > (lane.time, lane.id):
                lane.time, lane.id = place
        return gave

    def _cool(self, gave: Mapping[Lane, tuple[datetime, UUID]], filled: bool) -> None:
        """What was looked into and gave all that it had is not hot any more; `filled`: whether the
        claim was filled, by the last lane that gave.
        """
        now, left = time.monotonic(), len(gave)
        for lane, began, came in self._asked:
            lane.full = False
            if lane in gave:
                lane.used = now
                left -= 1
                if filled and not left:  # those after it were not looked into
                    lane.full = True
                    self._behind(lane)
                    if lane.came == came:  # else more has come in behind the cursor
                        seen = gave[lane]
                        lane.back = seen if seen < (lane.time, lane.id) else None
                    break

            if lane.came == came:  # all that had come in behind the cursor was seen
                lane.back = None
            self._emptied(lane, began, lane in gave)

    def _emptied(self, lane: Lane, began: datetime, gave: bool) -> None:
        """A lane gave all that is after `began`, where the look into it began."""
        first, lane.first = lane.first, None
        if not gave and first is not None and first < began:
            lane.time, lane.id = first, FIRST_ID  # where no look would have come again
        elif lane.woken:
            if gave:
                self._behind(lane)
        elif lane.hot:
            lane.hot = False
            if lane.queue not in self._paused:
                self._take(lane)

    def rewind(self) -> None:
        """Begin the next look into each lane at its start: costly, and misses nothing that has been
        committed.
        """
        for lane in self._lanes.values():
            lane.time, lane.id = START, FIRST_ID

    def forget(self, now: float) -> None:
        """Once a minute, forget the lanes that were of no use for long. One that is used again
        begins at its start.
        """
        if now - self._swept < FORGET_INTERVAL:
            return
        self._swept = now
        for key, lane in list(self._lanes.items()):
            if not lane.hot and now - lane.used > FORGET_AFTER:
                del self._lanes[key], self._queues[lane.queue][lane.priority]
                if not self._queues[lane.queue]:
                    del self._queues[lane.queue]

    def cursors(self) -> Arrays:
        """What was passed of the lanes that were used last, so many at most: for what is put into
        one of them.
        """
        used = [lane for lane in self._lanes.values() if lane.time != START]
        if len(used) > MOST_LANES:
            used = nlargest(MOST_LANES, used, key=lambda lane: lane.used)
        return (
            [x.queue for x in used],
            [x.priority for x in used],
            [x.time for x in used],
            [x.id for x in used],
        )

    def passed(self) -> list[tuple[str, int, datetime]]:
        """For each lane with a cursor, the time before which no look begins, so that nothing should
        be left there.
        """
        return [
            (x.queue, x.priority, x.time - LOOK_BACK)
            for x in self._lanes.values()
            if x.time != START
        ]

    # --- the rows --------------------------------------------------------------------------------

    def _put(self, lane: Lane) -> None:
        row = self._hot.get(lane.priority)
        if row is None:
            row = self._hot[lane.priority] = deque()
            insort(self._priorities, lane.priority)
        row.append(lane)
        self.count += 1

    def _take(self, lane: Lane) -> None:
        row = self._hot[lane.priority]
        if row[0] is lane:
            row.popleft()
        else:
            row.remove(lane)
        self.count -= 1
        if not row:
            del self._hot[lane.priority]
            self._priorities.remove(lane.priority)

    def _behind(self, lane: Lane) -> None:
        """A lane that gave goes behind the others of its priority."""
        if lane.queue not in self._paused:
            self._take(lane)
            self._put(lane)
