"""The statements on the plugin's tables."""

from functools import cache
from importlib.resources import files

NAME = "limits"
"""The plugin's name, under which it holds jobs."""


@cache
def statement(schema: str, name: str) -> str:
    """A statement of queries/, for the plugin's schema."""
    text = (files(__package__) / "queries" / f"{name}.sql").read_text(encoding="utf-8")
    return text.replace("{schema}", schema)


def migration(name: str) -> str:
    """A file of migrations/."""
    return (files(__package__) / "migrations" / f"{name}.sql").read_text(encoding="utf-8")
