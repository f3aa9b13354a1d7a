"""One request for a page: who asks, for what, and where the other pages are."""

from collections.abc import Mapping, Sequence
from urllib.parse import urlencode

from starlette.requests import Request

from soniq import Soniq
from soniq_dashboard.permissions import Permission

from .extensions import Extensions, Found, PluginPage
from .gate import USER, User
from .shared import Shared
from .written import Value

MOST_TEXT = 500
"""Characters of a parameter."""
MOST_SEARCH = 2_000
"""Those of a search, which may have a whole name and more in it."""


class BadRequest(Exception):
    """A parameter that cannot be; its text, which says nothing of what was given, is for the
    user.
    """


class View:
    """What a page is made with."""

    def __init__(
        self, request: Request, app: Soniq, shared: Shared, extensions: Extensions
    ) -> None:
        self.app = app
        self.shared = shared
        self.extensions = extensions
        self.brought: Found[PluginPage] = ((), ())
        """The pages of plugins, and what went wrong with those."""
        self.request = request
        self.user: User = request.scope[USER]
        self._root: str = request.scope.get("root_path", "").rstrip("/")

    def url(self, path: str, **parameters: object) -> str:
        """The address of a page or a file, on this host; parameters that are None or empty are left
        out. All addresses of the dashboard are made here.
        """
        given = {name: each for name, each in parameters.items() if each not in (None, "")}
        return self._root + path + (f"?{urlencode(given, doseq=True)}" if given else "")

    def address(self, link: Value) -> str:
        """Where a link of a plugin leads."""
        return str(link.to) if link.elsewhere else self.url(str(link.to))

    def may(self, permission: Permission) -> bool:
        """Whether the user may do this."""
        return permission in self.user.may

    @property
    def plugin_pages(self) -> Sequence[PluginPage]:
        """The pages of plugins that the user may see."""
        return [
            each
            for each in self.brought[0]
            if each.page.permission is None or self.may(each.page.permission)
        ]

    def text(self, name: str, most: int = MOST_TEXT) -> str:
        """A parameter of the address; empty where it is not there. Raises `BadRequest`."""
        return checked(name, self.request.query_params.get(name, ""), most)

    def count(self, name: str) -> int:
        """A parameter that is a number; 0 where it is not there. Raises `BadRequest`."""
        given = self.request.query_params.get(name, "0")
        if not (given.isascii() and given.isdecimal() and len(given) < 10):
            raise BadRequest(f"{name} is a number")
        return int(given)

    def choice(self, name: str, among: Mapping[str, object], default: str) -> str:
        """A parameter that is one of several. Raises `BadRequest`."""
        given = self.request.query_params.get(name, default)
        if given not in among:
            raise BadRequest(f"{name} is one of {', '.join(among)}")
        return given


def checked(name: str, text: str, most: int) -> str:
    """A text from outside that may be searched for. Raises `BadRequest`."""
    if len(text) > most:
        raise BadRequest(f"{name} is longer than {most} characters")
    if "\x00" in text or any("\ud800" <= letter <= "\udfff" for letter in text):
        raise BadRequest(f"{name} has a character that no text in the database has")
    return text
