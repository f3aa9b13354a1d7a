"""What jobs did, minute by minute: counted beside the work, and kept in PostgreSQL."""

from .durations import BOUNDS, Durations
from .plugin import Dashboard
from .reading import Gauge, Point

__all__ = ["BOUNDS", "Dashboard", "Durations", "Gauge", "Point"]
