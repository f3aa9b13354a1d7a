"""Limits: how many jobs run at once, for each customer or whatever they share, in all workers."""

from .errors import LimitNotFound
from .limit import AllOf, Limit, Sequence
from .plugin import Limits
from .state import LimitState

__all__ = ["AllOf", "Limit", "LimitNotFound", "LimitState", "Limits", "Sequence"]
