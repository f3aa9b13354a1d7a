"""Limits, for each customer or whatever jobs share, in all workers: how many run at once (`Limit`),
how many start in a time (`Rate`), strictly one after the other (`Sequence`), taking turns (`Fair`).
"""

from .errors import LimitNotFound
from .limit import AllOf, Fair, Limit, Rate, Sequence
from .plugin import Limits
from .state import LimitState

__all__ = ["AllOf", "Fair", "Limit", "LimitNotFound", "LimitState", "Limits", "Rate", "Sequence"]
