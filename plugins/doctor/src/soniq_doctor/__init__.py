"""What makes Soniq slow in a PostgreSQL, named while it happens: what keeps it from cleaning up."""

from .horizon import HorizonHolder, old_transactions
from .plugin import DoctorPlugin

__all__ = ["DoctorPlugin", "HorizonHolder", "old_transactions"]
