"""What jobs did, minute by minute, and the pages that show it; plugins add pages of theirs."""

from .content import Block, Cell, Facts, Link, Size, Table, Text
from .durations import BOUNDS, Durations
from .extending import (
    Alert,
    Page,
    Panel,
    Visit,
    dashboard_alerts,
    dashboard_job_panels,
    dashboard_links,
    dashboard_pages,
    dashboard_queue_panels,
    dashboard_system_panels,
)
from .permissions import Permission
from .plugin import Dashboard
from .reading import Gauge, Point

__all__ = [
    "BOUNDS",
    "Alert",
    "Block",
    "Cell",
    "Dashboard",
    "Durations",
    "Facts",
    "Gauge",
    "Link",
    "Page",
    "Panel",
    "Permission",
    "Point",
    "Size",
    "Table",
    "Text",
    "Visit",
    "dashboard_alerts",
    "dashboard_job_panels",
    "dashboard_links",
    "dashboard_pages",
    "dashboard_queue_panels",
    "dashboard_system_panels",
]
