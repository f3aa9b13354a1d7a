"""What can be wrong with a schedule."""

from soniq import SoniqError


class ScheduleNotFound(SoniqError):
    """No schedule has this name; `schedule` is that name."""

    def __init__(self, schedule: str) -> None:
        super().__init__(
            f"no schedule is named {schedule!r}; `soniq schedules` lists them, those of the code"
            " since a worker with it has run"
        )
        self.schedule = schedule


class ScheduleInCode(SoniqError):
    """A schedule is defined in the code of live workers, and is changed there; `schedule` is its
    name.
    """

    def __init__(self, schedule: str, way: str) -> None:
        super().__init__(f"the schedule {schedule!r} is defined in the code: {way}")
        self.schedule = schedule


class ScheduleUnreadable(SoniqError):
    """This version of soniq-schedules cannot read what a schedule is; `schedule` is its name."""

    def __init__(self, schedule: str, reason: str) -> None:
        super().__init__(
            f"the schedule {schedule!r} cannot be read by this version of soniq-schedules:"
            f" {reason}; add it again, or use the version that wrote it"
        )
        self.schedule = schedule
