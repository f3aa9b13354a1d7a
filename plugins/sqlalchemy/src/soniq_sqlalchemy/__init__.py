"""SQLAlchemy for Soniq: `connection=` takes sessions and connections, and handlers are given one of their own."""

from .plugin import SQLAlchemyPlugin

__all__ = ["SQLAlchemyPlugin"]
