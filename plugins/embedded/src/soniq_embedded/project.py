"""Which folder the data of a project lie in."""

import hashlib
import os
import re
from pathlib import Path

import platformdirs

MARKERS = ("pyproject.toml", ".git")


def project_root(start: Path) -> Path:
    """The nearest folder, from `start` upwards, with a pyproject.toml or a .git; else `start`."""
    start = start.resolve()
    for folder in (start, *start.parents):
        if any((folder / marker).exists() for marker in MARKERS):
            return folder
    return start


def project_folder(start: Path) -> Path:
    """Where the server of the project around `start` lives: in the user's data directory.

    Not in the project itself, which may be on a path too long for a socket, or be synchronised, or
    be deleted by `git clean` under a running server.
    """
    root = project_root(start)
    slug = re.sub(r"[^a-z0-9]+", "-", root.name.lower()).strip("-")[:24].strip("-") or "project"
    digest = hashlib.sha256(os.fsencode(root)).hexdigest()[:10]
    return platformdirs.user_data_path("soniq", appauthor=False) / f"{slug}-{digest}"
