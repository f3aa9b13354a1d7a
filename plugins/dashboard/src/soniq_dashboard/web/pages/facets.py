"""How many jobs of each status, name and queue a search finds: what narrows it down further."""

from collections.abc import Mapping
from typing import NamedTuple

from soniq import Facets, InvalidJobId, InvalidOption
from soniq_dashboard.web.query import NotUnderstood, in_words, parsed
from soniq_dashboard.web.view import MOST_SEARCH, View
from soniq_dashboard.web.words import narrowed

from . import Page
from .jobs import NOT_YOURS

MOST_VALUES = 10
"""Values of each that are shown."""
FRESH = 5.0
"""Seconds for which it is shown again what was counted: it is up to 10,000 jobs."""


class Facet(NamedTuple):
    """What the jobs of a search have of one kind, as their statuses."""

    title: str
    values: list[tuple[str, int, str]]
    """Each with how many jobs have it, and where these are searched for."""
    others: int
    """Values that are not shown."""


async def read(view: View) -> Mapping[str, object]:
    text, wrong = view.text("q", MOST_SEARCH), ""
    found = Facets(statuses={}, names={}, queues={}, exact=True)
    try:
        query = parsed(text)
        if query.secret and not view.may("see_arguments"):
            raise NotUnderstood(NOT_YOURS)
        if query.job_id is not None:
            return {"goto": view.url(f"/jobs/{query.job_id}")}
        search = query.search()
        found = await view.shared.get(
            ("facets", text), lambda: view.app.facets(search), fresh=FRESH
        )
    except NotUnderstood as error:
        wrong = str(error)
    except (InvalidOption, InvalidJobId) as error:
        wrong = in_words(error)

    return {
        "q": text,
        "wrong": wrong,
        "exact": found.exact,
        "facets": [
            _facet(view, text, title, key, counts)
            for title, key, counts in (
                ("Status", "status", found.statuses),
                ("Job", "name", found.names),
                ("Queue", "queue", found.queues),
            )
            if counts
        ],
    }


def _facet(view: View, text: str, title: str, key: str, counts: Mapping[str, int]) -> Facet:
    values = [
        (value, jobs, view.url("/jobs", q=narrowed(text, key, value)))
        for value, jobs in [*counts.items()][:MOST_VALUES]
    ]
    return Facet(title, values, len(counts) - len(values))


PAGE = Page("/jobs/facets", "facets.html", read, "Counts of jobs")
