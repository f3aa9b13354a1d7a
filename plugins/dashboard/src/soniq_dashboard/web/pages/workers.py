"""The live workers."""

from collections.abc import Mapping

from soniq_dashboard.web.view import View

from . import Page
from .overview import overview_of


async def read(view: View) -> Mapping[str, object]:
    now = await overview_of(view)
    return {"workers": now["workers"]}


PAGE = Page("/workers", "workers.html", read, "Workers", "w")
