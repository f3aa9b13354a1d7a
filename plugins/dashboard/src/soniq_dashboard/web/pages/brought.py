"""A page that a plugin brings."""

from collections.abc import Mapping
from urllib.parse import quote

from starlette.exceptions import HTTPException

from soniq_dashboard.extending import Visit
from soniq_dashboard.web.extensions import Trouble
from soniq_dashboard.web.view import MOST_TEXT, BadRequest, View, checked

from . import Page

MOST_PARAMETERS = 20


async def read(view: View) -> Mapping[str, object]:
    path = quote("/pages/" + view.request.path_params["path"].rstrip("/"))
    page = next((each for each in view.brought[0] if each.path == path), None)
    if page is None:
        raise HTTPException(404)
    if page not in view.plugin_pages:
        raise HTTPException(403)

    visit = Visit(view.app, _parameters(view), view.user.may)
    content = await view.extensions.content(page, visit)
    trouble = content if isinstance(content, Trouble) else None
    return {"brought": page, "content": content, "trouble": trouble}


def _parameters(view: View) -> Mapping[str, str]:
    given = view.request.query_params
    if len(given) > MOST_PARAMETERS:
        raise BadRequest(f"these are more than {MOST_PARAMETERS} parameters")
    return {
        checked("a parameter", name, MOST_TEXT): checked("a parameter", each, MOST_TEXT)
        for name, each in given.items()
    }


PAGE = Page("/pages/{path:path}", "brought.html", read, "Page")
