"""Workers that fell silent, shared by the pages that tell of them."""

from collections.abc import Sequence
from uuid import UUID

from soniq.plugin import WorkerStatus
from soniq_dashboard import silent
from soniq_dashboard.figures import number
from soniq_dashboard.web.view import View

from .series import collector, counted

SOON = 1.0
"""Seconds for which they are shown again."""


async def silent_of(
    view: View, worker_id: UUID | None = None
) -> tuple[Sequence[WorkerStatus], str]:
    """The workers that fell silent lately, or one of them; where they cannot be read, why."""
    if collector(view) is None:
        return (), ""
    key = ("silent", worker_id)
    return await counted(view, key, lambda: silent.read(view.app, worker_id), (), SOON)


def in_words(gone: Sequence[WorkerStatus]) -> str:
    """How many there are."""
    many = f"{number(len(gone))} worker{'' if len(gone) == 1 else 's'}"
    return f"{many} fell silent within the last hour"
