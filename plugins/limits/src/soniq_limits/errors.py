"""What can be wrong with a limit."""

from soniq import SoniqError


class LimitNotFound(SoniqError):
    """No limit has this name; `limit` is that name."""

    def __init__(self, limit: str) -> None:
        super().__init__(f"no limit is named {limit!r}; `soniq limits` lists them")
        self.limit = limit
