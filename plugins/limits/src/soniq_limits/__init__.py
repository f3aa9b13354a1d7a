"""Limits: how many jobs run at once, for each customer or whatever they share, in all workers."""

from .errors import LimitNotFound
from .limit import AllOf, Fair, Limit, Rate, Sequence
from .plugin import Limits
from .state import LimitState

__all__ = ["AllOf", "Fair", "Limit", "LimitNotFound", "LimitState", "Limits", "Rate", "Sequence"]
