"""Several schedules of one job."""

from collections.abc import Mapping

from soniq import InvalidOption

from .when import When


class Several:
    """Several schedules of one job, each with a name: `Several(mondays=Cron("0 8 * * mon"),
    first=Cron("0 6 1 * *", args={"days": 30}))`.

    Each is named after the job and its own name, such as `shop.report:mondays`. Raises
    `InvalidOption`.
    """

    def __init__(self, **schedules: When) -> None:
        for name, when in schedules.items():
            if not isinstance(when, When):
                raise InvalidOption(
                    f"Several: {name}= is a Cron or an Every; got {when!r:.100}", option=name
                )
        if not schedules:
            raise InvalidOption("Several: there is no schedule in it", option="schedules")
        self.schedules: Mapping[str, When] = schedules

    def __repr__(self) -> str:
        return f"Several({', '.join(f'{name}={when!r}' for name, when in self.schedules.items())})"
