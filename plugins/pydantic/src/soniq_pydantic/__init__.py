"""Pydantic for Soniq: models as arguments and results of jobs."""

from .plugin import PydanticPlugin

__all__ = ["PydanticPlugin"]
