"""The command `soniq`: one file for each of its commands."""

from soniq.cli.commands import main

__all__ = ["main"]
