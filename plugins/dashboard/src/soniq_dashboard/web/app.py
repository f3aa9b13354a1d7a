"""The dashboard as an ASGI application: its pages, their answers, and what goes wrong."""

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping
from functools import partial

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp

from soniq import Soniq
from soniq.errors import (
    DatabaseError,
    DatabaseUnavailable,
    InvalidJobId,
    SchemaMissing,
    SchemaTooNew,
)
from soniq_dashboard.database import CannotRead, lacks_right

from .actions import ACTIONS
from .assets import Assets
from .completion import completion
from .downloads import FILES, File, download
from .extensions import Extensions
from .forms import Action
from .gate import Authorize, Gate, Headed
from .pages import (
    Page,
    audit,
    brought,
    facets,
    failures,
    job,
    jobs,
    names,
    operations,
    overview,
    queues,
    running,
    system,
    workers,
)
from .render import environment, tag
from .shared import Shared
from .view import BadRequest, View

log = logging.getLogger("soniq.dashboard")

PAGES = (
    overview.PAGE,
    queues.PAGE,
    jobs.PAGE,
    running.PAGE,
    failures.PAGE,
    names.PAGE,
    workers.PAGE,
    operations.PAGE,
    audit.PAGE,
    system.PAGE,
    facets.PAGE,
    job.PAGE,
    names.ONE,
    workers.ONE,
    operations.ONE,
    operations.NEW,
    brought.PAGE,
)
WORDS = "/words"
"""Where a script of the pages gets what the search box knows."""
LONGEST = 10.0
"""Seconds that a page may take."""


def dashboard(app: Soniq, *, authorize: Authorize) -> ASGIApp:
    """The dashboard of an app, as an ASGI application to serve or to mount.

    `authorize`: a function, `def` or `async def`, that is called with each request (Starlette's)
    and says who makes it, a `User` with what they may do, or None for somebody who may not see the
    dashboard; `anyone(...)` lets everybody in who reaches it. The app is started with the first
    request, if need be, and not closed.
    """
    return Site(app, authorize).application


class Site:
    """Answers requests for pages and actions."""

    def __init__(self, app: Soniq, authorize: Authorize) -> None:
        self._app = app
        self._shared = Shared()
        self._extensions = Extensions(app, self._shared)
        self._assets = Assets()
        self._templates = environment()

        inside = Starlette(
            routes=[
                *(Route(each.path, partial(self._page, each), name=each.path) for each in PAGES),
                *(Route(f"/jobs/{{id}}/{each}", partial(self._file, each)) for each in FILES),
                Route(WORDS, self._words),
                *(
                    Route(each.path, partial(self._action, each), methods=["POST"])
                    for each in ACTIONS
                ),
            ],
            exception_handlers={HTTPException: self._refused},
        )
        inside.router.redirect_slashes = False  # it would name the host, as the request has it

        routes = [
            Route("/static/{hash}/{name}", self._assets.answer),
            Mount("", Gate(inside, authorize)),
        ]
        self.application: ASGIApp = Headed(Starlette(routes=routes))

    def _view(self, request: Request) -> View:
        return View(request, self._app, self._shared, self._extensions)

    # --- one for each kind of route --------------------------------------------------------------

    async def _page(self, page: Page, request: Request) -> Response:
        return await self._guarded(request, partial(self._read, page))

    async def _file(self, what: File, request: Request) -> Response:
        return await self._guarded(request, partial(download, what))

    async def _words(self, request: Request) -> Response:
        return await self._guarded(request, self._complete)

    async def _action(self, act: Action, request: Request) -> Response:
        return await self._guarded(request, partial(self._act, act))

    # --- what they answer ------------------------------------------------------------------------

    async def _complete(self, view: View) -> Response:
        await self._app.start()
        return await completion(view)

    async def _read(self, page: Page, view: View) -> Response:
        await self._app.start()
        view.brought = await self._extensions.pages()
        shown = await page.read(view)
        if goto := shown.get("goto"):
            return RedirectResponse(str(goto), 303)
        return self._rendered(view, page.template, page, shown)

    async def _act(self, act: Action, view: View) -> Response:
        await self._app.start()
        then = await act(view)
        self._shared.forget()
        return RedirectResponse(then, 303)

    # --- what goes wrong -------------------------------------------------------------------------

    async def _guarded(
        self, request: Request, answer: Callable[[View], Awaitable[Response]]
    ) -> Response:
        """The answer to a request, or a page that says what went wrong."""
        view = self._view(request)
        try:
            async with asyncio.timeout(LONGEST):
                return await answer(view)
        except BadRequest as error:
            return self._error(view, 400, str(error))
        except InvalidJobId:
            return self._error(view, 400, "this is no id of a job")
        except HTTPException:
            raise
        except TimeoutError:
            return self._error(view, 504, "The database took too long to answer")
        except (SchemaMissing, SchemaTooNew):
            text = "The tables are not those of this Soniq: soniq setup --check says more"
            return self._error(view, 503, text)
        except CannotRead as error:
            return self._error(view, 403 if lacks_right(error) else 503, str(error))
        except Exception as error:
            return self._failed(view, error)

    def _failed(self, view: View, error: Exception) -> Response:
        """A page that says what failed, and by which number the log has the cause."""
        path, number = view.request.url.path, secrets.token_hex(4)
        if lacks_right(error):
            log.warning("page %s: the database refused (%s): %s", path, number, error)
            text = "The database refused: the dashboard's role may not do this"
            return self._error(view, 403, f"{text} ({number} in the log)")
        if isinstance(error, DatabaseUnavailable):
            log.warning("page %s: the database could not be asked (%s): %s", path, number, error)
            return self._error(view, 503, f"The database cannot be asked ({number} in the log)")
        if isinstance(error, DatabaseError):
            log.warning("page %s: the database refused (%s): %s", path, number, error)
            return self._error(view, 503, f"The database refused this ({number} in the log)")
        log.error("page %s failed (%s)", path, number, exc_info=error)
        return self._error(view, 500, f"This page failed ({number} in the log)")

    def _refused(self, request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        text = {404: "There is no such page, or no such job any more", 403: "You may not do this"}
        view = self._view(request)
        return self._error(view, status, text.get(status, "This cannot be done"))

    def _error(self, view: View, status: int, text: str) -> Response:
        return self._rendered(view, "error.html", None, {"text": text, "status": status}, status)

    def _rendered(
        self,
        view: View,
        template: str,
        page: Page | None,
        shown: Mapping[str, object],
        status: int = 200,
    ) -> Response:
        html = self._templates.get_template(template).render(
            shown,
            view=view,
            url=view.url,
            asset=lambda name: view.url(self._assets.path(name)),
            page=page,
            menu=[*(each for each in PAGES if each.key), *view.plugin_pages],
        )

        name = tag(html)
        if status == 200 and view.request.headers.get("if-none-match") == name:
            return Response(status_code=304)  # it is shown there already
        return HTMLResponse(html, status, {"ETag": name})
