"""SQLAlchemy for Soniq: sessions and connections for `connection=`, sessions for handlers."""

from .plugin import SQLAlchemyPlugin

__all__ = ["SQLAlchemyPlugin"]
