"""The dashboard: pages that show queues, jobs and workers, and what may be done with them.

`app.mount("/jobs", dashboard(eq, authorize=...))` in an ASGI application, or `soniq dashboard`.
"""

from soniq_dashboard.permissions import PERMISSIONS, Permission

from .app import dashboard
from .gate import Authorize, User, anyone

__all__ = ["PERMISSIONS", "Authorize", "Permission", "User", "anyone", "dashboard"]
