"""SQLAlchemy for Soniq: `connection=` takes sessions and connections, and handlers are given an `AsyncSession`."""

from .plugin import SQLAlchemyPlugin

__all__ = ["SQLAlchemyPlugin"]
